package desk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector/wsprnet/cachefile"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// eachBlock calls f for each block, and bad for one that can't be read.
func eachBlock(ctx context.Context, r store.Reader, f func(spool.Head, arrow.RecordBatch) error,
	bad func(seq uint64, err error) error) error {
	return spool.Range{}.Each(ctx, r, func(h spool.Head) error {
		whole, rows, err := spool.Read(r, h.Seq)
		if err != nil {
			return bad(h.Seq, err)
		}
		return f(whole, rows)
	})
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

// Loss is what a job has lost.
type Loss = engine.Loss

// Acknowledge records that a person knows of what a job has lost, as it was shown; nil is all of it.
func (d *Desk) Acknowledge(ctx context.Context, job string, shown *Loss) error {
	return d.with(ctx, job, func(st *store.Store) error { return engine.Acknowledge(st, job, shown) })
}

// VerifySpool reads every block of a job's spool. What it finds is shown by status from then on.
func (d *Desk) VerifySpool(ctx context.Context, job string, tell func(Progress)) (Verified, error) {
	v := Verified{Job: job, Bad: []Damage{}}
	w := d.begin(job, "verifying the spool", tell)
	defer w.end()
	err := d.with(ctx, job, func(st *store.Store) error {
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
	return fmt.Sprintf("%d of %s of the spool can't be read, block %d first: %s", len(v.Bad), plural.Of(v.Blocks, "block"),
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
		return out, fault.WithHint(fault.As(fault.NotFound, err), "want files named %s",
			cachefile.Pattern)
	}
	if len(files) == 0 {
		return out, fault.WithHint(fault.New(fault.NotFound, "there are no cache files in %s", dir),
			"want files named %s", cachefile.Pattern)
	}
	w := d.begin(job, "importing", tell)
	defer w.end()
	err = d.intake(ctx, job, func(in *collect.Intake) error {
		to := d.importer(job, in)
		for i, file := range files {
			t, _, err := app.ImportFile(ctx, to, file)
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
func (d *Desk) importer(job string, in *collect.Intake) app.Importer {
	if j, ok := d.plan.Running(job); ok && d.eng != nil {
		return j
	}
	return in
}

// intake runs f with the intake of a job's source.
func (d *Desk) intake(ctx context.Context, job string, f func(*collect.Intake) error) error {
	if d.eng != nil {
		j, ok := d.plan.Running(job)
		if !ok {
			return fault.New(fault.Transient, "job %s does not run now; try again", job)
		}
		return f(j.Intake())
	}
	in, err := d.plan.Intake(job)
	if err != nil {
		return err
	}
	return d.with(ctx, job, func(st *store.Store) error { return in.Over(st, f) })
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
		return eachBlock(ctx, r, func(h spool.Head, rows arrow.RecordBatch) error {
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
