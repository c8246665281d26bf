package crawl

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/job/crawl/outfile"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// tale are logs that stand beside a store.
type tale struct {
	*testing.T
	st   *store.Store
	logs *logs
	dir  string
}

func openTale(t *testing.T, store_, dir string) *tale {
	t.Helper()
	st, err := store.Open(store_, storetest.Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := openLogs(st, outfile.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	return &tale{t, st, l, dir}
}

func (t *tale) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t *tale) commit() {
	t.Helper()
	t.must(t.logs.sync())
	t.must(t.st.Update(t.logs.commit))
	t.must(t.logs.committed())
}

func (t *tale) tell(line string) {
	t.Helper()
	t.logs.write(crawlLog, func(b []byte) []byte { return append(b, line+"\n"...) })
	t.commit()
}

func (t *tale) close() {
	t.Helper()
	t.must(t.logs.close())
	t.must(t.st.Close())
}

func (t *tale) has(name, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(t.dir, name)); err != nil || string(got) != want {
		t.Errorf("%s has %q, want %q (%v)", name, got, want, err)
	}
}

// tails are the pieces of lines in the store.
func (t *tale) tails() (n int) {
	t.Helper()
	t.must(t.st.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(tailsFrom, logsKey.End())
		for range entries {
			n++
		}
		return failed()
	}))
	return n
}

// What is logged between the rotation of a checkpoint and its snapshot is in the logs of whoever goes back to it, once, whatever
// became of the files of the other time line, and however often the start is interrupted.
func TestLogsBetweenRotationAndSnapshot(t *testing.T) {
	root := t.TempDir()
	job, dir := filepath.Join(root, "job"), filepath.Join(root, "logs")
	a := openTale(t, job, dir)
	a.tell("before")
	a.must(a.logs.rotate("cp"))
	a.commit()
	a.tell("between 1")
	a.tell("between 2")
	c, err := checkpoint.Create(t.Context(), a.st, checkpoint.Options{Name: "cp"})
	a.must(err)
	a.tell("behind")
	a.logs.checkpointed()
	a.commit()
	if n := a.tails(); n != 0 {
		t.Errorf("the store still has %d pieces of lines", n)
	}
	a.tell("later")
	a.must(a.logs.rotate("cp2")) // the lines are in another file by now
	a.commit()
	a.close()

	for _, name := range []string{"once", "twice"} {
		back := filepath.Join(root, name)
		_, err = checkpoint.Restore(t.Context(), c.Path, back, checkpoint.Work{})
		a.must(err)
		for range 3 { // it starts, and is killed before its first commit
			b := openTale(t, back, dir)
			b.has(crawlLog, "between 1\nbetween 2\n")
			b.close()
		}
		b := openTale(t, back, dir)
		b.tell("went back " + name)
		if n := b.tails(); n != 0 {
			t.Errorf("the store still has %d pieces of lines", n)
		}
		b.close()
		b = openTale(t, back, dir)
		b.has(crawlLog, "between 1\nbetween 2\nwent back "+name+"\n")
		b.has("crawl.log.cp", "before\n")
		b.has("crawl.log.cp2", "between 1\nbetween 2\nbehind\nlater\n")
		b.close()
	}
	if all, err := filepath.Glob(filepath.Join(dir, crawlLog+".before-*")); err != nil || len(all) != 1 {
		t.Errorf("set aside are %v, want one of the first that went back (%v)", all, err)
	}
}

// A checkpoint that was given up leaves nothing in the store.
func TestLogsOfACheckpointThatFailed(t *testing.T) {
	root := t.TempDir()
	a := openTale(t, filepath.Join(root, "job"), filepath.Join(root, "logs"))
	for _, name := range []string{"cp1", "cp2"} {
		a.tell("before " + name)
		a.must(a.logs.rotate(name))
		a.commit()
		a.tell("behind " + name)
	}
	if n := a.tails(); n != 1 {
		t.Errorf("the store has %d pieces of lines, want the last", n)
	}
	a.close()
	a = openTale(t, filepath.Join(root, "job"), filepath.Join(root, "logs"))
	a.tell("next")
	a.has(crawlLog, "behind cp2\nnext\n")
	if n := a.tails(); n != 0 {
		t.Errorf("the store still has %d pieces of lines behind a start", n)
	}
	a.close()
}

// A crawl that was taken back says so, and how many URLs were in flight then; only the first start does.
func TestRestoredIsTold(t *testing.T) {
	r := newRig(t, tree(20))
	r.cfg.Workers, r.cfg.PerHost = 1, 1
	fetch := r.cfg.Fetch
	var made checkpoint.Checkpoint
	var st *store.Store
	r.cfg.Fetch = hooked{fetch, func(url string) (err error) {
		if strings.HasSuffix(url, "/p7") {
			made, err = checkpoint.Create(t.Context(), st, checkpoint.Options{Name: "seventh"})
		}
		return err
	}}
	open := func(dir string) *Job {
		var err error
		if st, err = store.Open(dir, storetest.Options(t, nil)); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		room, err := engine.NewRoom(r.dir, engine.RoomLimits{Soft: 1, Hard: 1}, log)
		if err != nil {
			t.Fatal(err)
		}
		j, err := New(engine.Env{Name: "site", Dir: r.dir, Store: st, Log: log, Room: room, History: engine.HistoryOf(st, "site", log)}, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	if err := open(filepath.Join(r.dir, "store")).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	back := filepath.Join(r.dir, "back")
	if _, err := checkpoint.Restore(t.Context(), made.Path, back, checkpoint.Work{}); err != nil {
		t.Fatal(err)
	}
	r.cfg.Fetch = fetch
	if err := open(back).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(back).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var told []string
	err := st.Latest(func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 100)
		for _, e := range all {
			if e.Kind == "crawl.restored" || e.Kind == "crawl.resumed" {
				told = append(told, e.Text)
			}
		}
		return err
	})
	// How many that were depends on how far the last commit before the checkpoint lay behind.
	want := regexp.MustCompile(`^restored from checkpoint seventh of ` + made.Created.UTC().Format(time.DateTime) +
		`: (1 URL that was|[0-9]+ URLs that were) in flight then returned to the frontier$`)
	if err != nil || len(told) != 1 || !want.MatchString(told[0]) {
		t.Errorf("it told %q, want %s (%v)", told, want, err)
	}
}
