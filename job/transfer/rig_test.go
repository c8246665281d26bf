package transfer

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/connector"
	"holdfast/connector/localdir"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// soon is how long anything may take here.
const soon = time.Minute

// filesKey is what the keys of all files begin with.
var filesKey = store.Key{byte(store.Job), 'f'}

// rig is a directory with files, a destination, and jobs one after the other on one store.
type rig struct {
	t      *testing.T
	dir    string // the data directory
	from   string
	to     []string
	change func(*Config)
	job    atomic.Pointer[Job] // that was built last
}

// prepared is how many files the running job has ready.
func (r *rig) prepared() (n uint64) {
	j := r.job.Load()
	if j == nil {
		return 0
	}
	err := j.env.Store.Latest(func(rd store.Reader) error {
		c, err := j.prepare.Counts(rd)
		n = c.Done
		return err
	})
	if err != nil {
		r.t.Error(err)
	}
	return n
}

func newRig(t *testing.T, destinations int) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), from: t.TempDir()}
	for range destinations {
		r.to = append(r.to, t.TempDir())
	}
	return r
}

// write makes a file below the source, as a whole.
func (r *rig) write(name string, content []byte) {
	r.t.Helper()
	full := filepath.Join(r.from, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// walker finds what there is below a directory, again and again.
type walker struct{ root string }

func (w walker) Scan(ctx context.Context, give func(context.Context, []Seen) error) error {
	var all []Seen
	err := filepath.WalkDir(w.root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name()[0] == '.' {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return nil // it is gone
		}
		rel, err := filepath.Rel(w.root, name)
		all = append(all, Seen{Identity: Identity{Name(rel), st.Dev, st.Ino, st.Size, st.Mtim.Nano()}, By: "test", Live: len(all)%2 == 0})
		return err
	})
	if err != nil {
		return err
	}
	return give(ctx, all)
}

func (w walker) Run(ctx context.Context, give func(context.Context, []Seen) error) error {
	for ctx.Err() == nil {
		if err := w.Scan(ctx, give); err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (w walker) Notes() [][2]string { return nil }

// build makes a job in an engine's hands.
func (r *rig) build(env engine.Env) (engine.Job, error) {
	cfg := Config{Root: r.from, Find: walker{r.from}, Workers: 2, Place: Placer{Layout: "2006/01/02"}, Once: true}
	for i, dir := range r.to {
		d, err := localdir.New(localdir.Config{Path: dir})
		if err != nil {
			return nil, err
		}
		cfg.Destinations = append(cfg.Destinations, Destination{Name: string(rune('a' + i)), To: d})
	}
	if r.change != nil {
		r.change(&cfg)
	}
	j, err := New(env, cfg)
	r.job.Store(j)
	return j, err
}

// run runs the job until it ends, or meanwhile, if it is not nil, returns.
func (r *rig) run(meanwhile func()) {
	r.t.Helper()
	r.job.Store(nil)
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "frames", Kind: "transfer", Once: meanwhile == nil,
		New: func(_ context.Context, env engine.Env) (engine.Job, error) { return r.build(env) }}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), soon)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil && ctx.Err() == nil {
			r.t.Error(err)
		}
		if ctx.Err() == context.DeadlineExceeded {
			r.t.Errorf("the job does not end within %v", soon)
		}
	})
	if meanwhile != nil {
		meanwhile()
		cancel()
	}
	running.Wait()
}

// open opens the store while nothing runs.
func (r *rig) open(f func(*store.Store)) {
	r.t.Helper()
	st, err := store.Open(engine.JobDir(r.dir, "frames"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	f(st)
}

// view reads the store while nothing runs.
func (r *rig) view(f func(rd store.Reader) error) {
	r.t.Helper()
	r.open(func(st *store.Store) {
		if err := st.View(r.t.Context(), f); err != nil {
			r.t.Fatal(err)
		}
	})
}

// letters are the dead letters, by path.
func (r *rig) letters() map[string]balance.DeadLetter {
	r.t.Helper()
	all := map[string]balance.DeadLetter{}
	r.view(func(rd store.Reader) error {
		return balance.EachDead(rd, func(d balance.DeadLetter) error {
			all[d.Key] = d
			return nil
		})
	})
	return all
}

// files are all that the store knows, by path; of several with one path the last.
func (r *rig) files() map[string]*file {
	r.t.Helper()
	all := map[string]*file{}
	r.view(func(rd store.Reader) error {
		entries, failed := rd.Scan(filesKey, filesKey.End())
		for k := range entries {
			var id uint64
			for _, b := range k[len(filesKey):] {
				id = id<<8 | uint64(b)
			}
			f, err := readFile(rd, id)
			if err != nil {
				return err
			}
			all[string(f.Path)] = f
		}
		return failed()
	})
	return all
}

// done is how many files are done.
func (r *rig) done() (n uint64) {
	for _, f := range r.files() {
		if f.State == Done {
			n++
		}
	}
	return n
}

// counts are those of a queue, whose books must be right.
func (r *rig) counts(name string) (c queue.Counts) {
	r.t.Helper()
	r.open(func(st *store.Store) {
		q, err := queue.Open(st, name, queue.Options{Lanes: lanes})
		if err != nil {
			r.t.Fatal(err)
		}
		err = st.View(r.t.Context(), func(rd store.Reader) error {
			faults, err := q.Verify(rd)
			for _, f := range faults {
				r.t.Errorf("queue %s: %s", name, f)
			}
			if err == nil {
				c, err = q.Counts(rd)
			}
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	})
	return c
}

// tree is what stands below a directory, by name, but what is under way.
func tree(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	all := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if connector.UnderWay(name) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		all[rel] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
