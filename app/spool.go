package app

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector/wsprnet/cachefile"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// deliveredTo returns which blocks a sink is done with, or never had to get.
func deliveredTo(r store.Reader, sink uint32) (done func(seq uint64) bool, err error) {
	var state spool.SinkState
	if v, ok, err := r.Get(store.Sinks.K().U32(sink)); err != nil {
		return nil, err
	} else if ok {
		if err := json.Unmarshal(v, &state); err != nil {
			return nil, fault.New(fault.Corrupt, "read state of sink %d: %w", sink, err)
		}
	}
	type span struct{ first, last uint64 }
	var settled []span
	from := store.Settled.K().U32(sink)
	seq, fail := r.Scan(from, from.End())
	for k, v := range seq {
		if len(k) == 13 && len(v) == 8 {
			settled = append(settled, span{binary.BigEndian.Uint64(k[5:]), binary.BigEndian.Uint64(v)})
		}
	}
	return func(seq uint64) bool {
		return seq < state.Begin || slices.ContainsFunc(settled, func(s span) bool {
			return s.first <= seq && seq <= s.last
		})
	}, fail()
}

// Block is a block of a spool as people see it.
type Block struct {
	Seq   uint64    `json:"seq"`
	At    time.Time `json:"at"`
	Rows  uint32    `json:"rows"`
	Bytes uint32    `json:"bytes"`
	From  uint64    `json:"from,omitempty"` // keys
	To    uint64    `json:"to,omitempty"`
	// Pending are the sinks that have not got it yet.
	Pending []string `json:"pending,omitempty"`
}

// SpoolStats are the figures of a spool.
type SpoolStats struct {
	Job string `json:"job"`
	spool.Stats
	Oldest time.Time          `json:"oldest,omitzero"`
	Newest time.Time          `json:"newest,omitzero"`
	Sinks  []engine.SinkBooks `json:"sinks"`
}

// Blocks lists the blocks from sequence from on, at most max.
func (d *Desk) Blocks(ctx context.Context, job string, from uint64, max int) (out []Block,
	err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		stats, err := spool.ReadStats(r)
		if err != nil {
			return err
		}
		sinks, err := store.NamesOf(r, store.SinkName)
		if err != nil {
			return err
		}
		done := map[string]func(uint64) bool{}
		for name, id := range sinks {
			if done[name], err = deliveredTo(r, id); err != nil {
				return err
			}
		}
		heads, err := spool.Heads(r, orElse(from, stats.First), stats.Next, max)
		for _, h := range heads {
			b := Block{Seq: h.Seq, At: h.At, Rows: h.Rows, Bytes: h.Bytes, From: h.KeyLo, To: h.KeyHi}
			for name := range sinks {
				if !done[name](h.Seq) {
					b.Pending = append(b.Pending, name)
				}
			}
			slices.Sort(b.Pending)
			out = append(out, b)
		}
		return err
	})
	return out, err
}

// Stats returns the figures of a job's spool.
func (d *Desk) Stats(ctx context.Context, job string) (s SpoolStats, err error) {
	s.Job = job
	err = d.view(ctx, job, func(r store.Reader) error {
		if s.Stats, err = spool.ReadStats(r); err != nil {
			return err
		}
		books, err := engine.ReadBooks(r, job)
		if err != nil {
			return err
		}
		s.Sinks = books.Sinks
		s.Oldest, s.Newest = cameIn(r, s.First), cameIn(r, s.Next-1)
		return nil
	})
	return s, err
}

// cameIn is when a block came in, zero if it is not here.
func cameIn(r store.Reader, seq uint64) time.Time {
	h, err := spool.Heads(r, seq, seq, 1)
	if err != nil || len(h) != 1 {
		return time.Time{}
	}
	return h[0].At
}

// Cat calls row for each row of the blocks from first to last, as JSON.
func (d *Desk) Cat(ctx context.Context, job string, first, last uint64,
	row func(json.RawMessage) error) error {
	return d.view(ctx, job, func(r store.Reader) error {
		return eachBlock(ctx, r, first, last, func(_ spool.Head, rows arrow.RecordBatch) error {
			b, err := rows.MarshalJSON()
			if err != nil {
				return err
			}
			var all []json.RawMessage
			if err := json.Unmarshal(b, &all); err != nil {
				return err
			}
			for _, v := range all {
				if err := row(v); err != nil {
					return err
				}
			}
			return nil
		}, func(seq uint64, err error) error { return err })
	})
}

// eachBlock calls f for each block from first to last (0: all), and bad for one that can't be read.
func eachBlock(ctx context.Context, r store.Reader, first, last uint64,
	f func(spool.Head, arrow.RecordBatch) error, bad func(seq uint64, err error) error) error {
	stats, err := spool.ReadStats(r)
	if err != nil {
		return err
	}
	asked := first
	first = max(first, stats.First)
	if asked > 0 && (first >= stats.Next || last > 0 && last < first) {
		return fault.New(fault.NotFound, "there are no such blocks: the spool holds %d to %d", stats.First,
			stats.Next-1)
	}
	if last == 0 || last >= stats.Next {
		last = stats.Next - 1
	}
	for seq := first; seq <= last; seq++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, rows, err := spool.Read(r, seq)
		if err != nil {
			err = bad(seq, err)
		} else {
			err = f(h, rows)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Damage is a block that can't be read.
type Damage struct {
	Seq  uint64 `json:"seq"`
	Text string `json:"text"`
}

// Verified is the answer of a verification.
type Verified struct {
	Job    string   `json:"job"`
	Blocks uint64   `json:"blocks"`
	Bad    []Damage `json:"bad"`
	// Lost counts the keys that were lost to damage before and are open or settled gaps.
	Lost int64 `json:"lost"`
}

// VerifySpool reads every block of a job's spool. What it finds is shown by status from then on.
func (d *Desk) VerifySpool(ctx context.Context, job string, tell func(Progress)) (Verified, error) {
	v := Verified{Job: job, Bad: []Damage{}}
	w := d.begin(job, "verifying the spool", tell)
	defer w.end()
	err := d.with(job, func(st *store.Store) error {
		err := st.View(ctx, func(r store.Reader) error { return v.read(ctx, r, w) })
		if err != nil {
			return err
		}
		err = engine.NoteVerified(st, job, v.found())
		if errors.Is(err, store.ErrClosed) {
			return nil // for the damage: the job is salvaged, and tells of it then
		}
		return err
	})
	return v, err
}

func (v *Verified) read(ctx context.Context, r store.Reader, w *Work) error {
	books, err := engine.ReadBooks(r, v.Job)
	if err != nil {
		return err
	}
	v.Lost = books.GapSums.Lost
	waits, err := waiting(r)
	if err != nil {
		return err
	}
	return spool.Verify(ctx, r, func(done, all uint64) {
		v.Blocks = all
		w.at(int64(done), int64(all))
	}, func(seq uint64, err error) {
		v.Bad = append(v.Bad, Damage{seq, fmt.Sprintf("%v; %s", err, waits(seq))})
	})
}

// waiting returns a function that says what the loss of a block means to the sinks.
func waiting(r store.Reader) (func(seq uint64) string, error) {
	sinks, err := store.NamesOf(r, store.SinkName)
	if err != nil {
		return nil, err
	}
	waits := map[string]func(uint64) bool{}
	for name, id := range sinks {
		if waits[name], err = spool.Waiting(r, id); err != nil {
			return nil, err
		}
	}
	return func(seq uint64) string {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(waits)) {
			if waits[name](seq) {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return "every sink is done with it, and none loses anything: but it can't be exported or delivered again"
		}
		return fmt.Sprintf("what %s did not get of it yet becomes a gap when its turn comes",
			strings.Join(names, " and "))
	}, nil
}

// found is what there is to tell of damage, "" for nothing.
func (v *Verified) found() string {
	if len(v.Bad) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d blocks of the spool can't be read, block %d first: %s", len(v.Bad), v.Blocks,
		v.Bad[0].Seq, v.Bad[0].Text)
}

// Imported is the answer of an import.
type Imported struct {
	Files     int      `json:"files"`
	Read      int64    `json:"read"`
	Accepted  int64    `json:"accepted"`
	Duplicate int64    `json:"duplicate"`
	Rejected  int64    `json:"rejected"`
	Stayed    []string `json:"stayed"` // files that could not be read, with the reason
}

// Import takes the cache files of a directory in; the files stay.
func (d *Desk) Import(ctx context.Context, job, dir string, tell func(Progress)) (Imported, error) {
	out := Imported{Stayed: []string{}}
	files, err := cachefile.In(dir)
	if err != nil {
		return out, hint(fault.As(fault.NotFound, err), "want files named %s",
			cachefile.Pattern)
	}
	if len(files) == 0 {
		return out, hint(fault.New(fault.NotFound, "there are no cache files in %s", dir),
			"want files named %s", cachefile.Pattern)
	}
	w := d.begin(job, "importing", tell)
	defer w.end()
	err = d.intake(ctx, job, func(in *collect.Intake) error {
		to := d.importer(job, in)
		for i, file := range files {
			t, _, err := importFile(ctx, to, file)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				out.Stayed = append(out.Stayed, fmt.Sprintf("%s: %v", file, err))
				continue
			}
			out.Files++
			out.Read += t.Read
			out.Accepted += t.Accepted
			out.Duplicate += t.Duplicate
			out.Rejected += t.Rejected
			w.at(int64(i+1), int64(len(files)))
		}
		return nil
	})
	return out, err
}

// importer is the running job, which also asks its sinks what they have already; while none runs that
// is found by key when the rows are delivered.
func (d *Desk) importer(job string, in *collect.Intake) importer {
	if j, ok := d.plan.running.Load(job); ok && d.eng != nil {
		return j.(*collect.Job)
	}
	return in
}

// intake runs f with the intake of a job's source.
func (d *Desk) intake(ctx context.Context, job string, f func(*collect.Intake) error) error {
	if d.eng != nil {
		j, ok := d.plan.running.Load(job)
		if !ok {
			return fault.New(fault.Transient, "job %s does not run now; try again", job)
		}
		return f(j.(*collect.Job).Intake())
	}
	c, err := d.collectConfig(job)
	if err != nil {
		return err
	}
	return d.with(job, func(st *store.Store) error {
		src, err := c.Source.open(opening{dataDir: d.plan.Place.Dir,
			jobDir: engine.JobDir(d.plan.Place.Dir, job),
			log:    d.plan.Log})
		if err != nil {
			return err
		}
		defer src.Close()
		in, err := collect.OpenIntake(st, job, c.Source.kind, src.Schema(), src.Traits(),
			collect.IntakeOptions{Window: c.DedupeWindow, Parse: src.parse})
		if err != nil {
			return err
		}
		return f(in)
	})
}

func (d *Desk) collectConfig(job string) (*collectConfig, error) {
	if j, _ := d.plan.job(job); j.work != nil {
		if c, ok := j.work.(*collectConfig); ok {
			return c, nil
		}
	}
	return nil, hint(fault.New(fault.NotFound, "the configuration of job %s is not known here", job),
		"give it with -c FILE, or ask while holdfast runs")
}

// Exported is the answer of an export.
type Exported struct {
	Files int   `json:"files"`
	Rows  int64 `json:"rows"`
	// Bad are the blocks that could not be read and are not exported.
	Bad []Damage `json:"bad"`
}

// Export writes every block of a job's spool as a cache file into dir; raw with the feed's own
// objects. A file that is there is replaced by the same.
func (d *Desk) Export(ctx context.Context, job, dir string, raw bool,
	tell func(Progress)) (Exported, error) {
	out := Exported{Bad: []Damage{}}
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return out, fmt.Errorf("make export directory: %w", err)
	}
	w := d.begin(job, "exporting", tell)
	defer w.end()
	err := d.view(ctx, job, func(r store.Reader) error {
		stats, err := spool.ReadStats(r)
		if err != nil {
			return err
		}
		names := map[string]bool{}
		return eachBlock(ctx, r, 0, 0, func(h spool.Head, rows arrow.RecordBatch) error {
			if err := exportBlock(dir, h, rows, raw, names); err != nil {
				return err
			}
			out.Files++
			out.Rows += int64(h.Rows)
			w.at(int64(h.Seq-stats.First+1), int64(stats.Next-stats.First))
			return nil
		}, func(seq uint64, err error) error {
			out.Bad = append(out.Bad, Damage{seq, err.Error()})
			return nil
		})
	})
	return out, err
}

// exportBlock writes one file. Blocks of the same millisecond are told apart by the microseconds of
// their names.
func exportBlock(dir string, h spool.Head, rows arrow.RecordBatch, raw bool,
	names map[string]bool) (err error) {
	if _, err := record.SchemaOf(rows.Schema()); err != nil {
		return err
	}
	at := h.At.Local()
	for names[cachefile.Name(at)] {
		at = at.Add(time.Microsecond)
	}
	names[cachefile.Name(at)] = true
	path := filepath.Join(dir, cachefile.Name(at))
	tmp, err := os.CreateTemp(dir, ".export.*")
	if err != nil {
		return fmt.Errorf("export block %d: %w", h.Seq, err)
	}
	defer os.Remove(tmp.Name())
	err = cachefile.Write(tmp, rows, at, raw)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("export block %d: %w", h.Seq, err)
	}
	return disk.SyncDir(dir)
}
