// Package golden_test opens the directories that former versions wrote. A directory is never changed
// once it is released: a new format gets a new one, made by `go test ./tests/golden -update`.
package golden_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

var update = flag.Bool("update", false, "write the directory of the present format, if there is none")

// told is what a directory holds, as its version saw it.
type told struct {
	Books   engine.Books `json:"books"`
	Lineage string       `json:"lineage"`
	Blocks  []string     `json:"blocks"` // content hashes
	Dead    []string     `json:"dead"`   // reasons
	Cursor  string       `json:"cursor"`
	Spool   spool.Stats  `json:"spool"`
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func intake(t *testing.T, st *store.Store) *collect.Intake {
	t.Helper()
	in, err := collect.OpenIntake(st, "spots", "feed", spot.Schema(), connector.SourceTraits{DenseKeys: true},
		collect.IntakeOptions{BlockRows: 50})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// tell reads everything that must stay readable.
func tell(t *testing.T, st *store.Store) (out told) {
	t.Helper()
	in := intake(t, st)
	cursor, err := in.Cursor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out.Cursor, out.Lineage = string(cursor), st.Lineage().String()
	err = st.View(t.Context(), func(r store.Reader) (err error) {
		if out.Books, err = engine.ReadBooks(r, "spots"); err != nil {
			return err
		}
		if out.Spool, err = spool.ReadStats(r); err != nil {
			return err
		}
		for seq := out.Spool.First; seq < out.Spool.Next; seq++ {
			h, _, err := spool.Read(r, seq)
			if err != nil {
				return err
			}
			out.Blocks = append(out.Blocks, fmt.Sprintf("%d %d %x", h.Seq, h.Rows, h.Hash))
		}
		dead, err := balance.ListDead(r, 0, 100)
		for _, d := range dead {
			out.Dead = append(out.Dead, d.Reason)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDirectoriesOfFormerVersions opens each, and restores the checkpoint in it.
func TestDirectoriesOfFormerVersions(t *testing.T) {
	current := filepath.Join("testdata", fmt.Sprintf("v%d", store.Format))
	if _, err := os.Stat(current); *update && err != nil {
		write(t, current)
	}
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) < store.Format {
		t.Fatalf("%d directories for format %d (%v)", len(dirs), store.Format, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, "told.json"))
			if err != nil {
				t.Fatal(err)
			}
			tmp := filepath.Join(t.TempDir(), "job")
			if err := os.CopyFS(tmp, os.DirFS(filepath.Join(dir, "job"))); err != nil {
				t.Fatal(err)
			}
			st := open(t, tmp)
			got, _ := json.MarshalIndent(tell(t, st), "", " ")
			st.Close()
			if string(got) != strings.TrimSpace(string(want)) {
				t.Errorf("it reads otherwise than it was written:\n%s", got)
			}
			into := filepath.Join(t.TempDir(), "restored")
			if _, err := checkpoint.Restore(t.Context(), checkpoint.Path(tmp, "golden"), into,
				checkpoint.Work{}); err != nil {
				t.Fatal(err)
			}
			st = open(t, into)
			defer st.Close()
			if b := tell(t, st).Books; !b.Balanced() || b.Read == 0 {
				t.Errorf("books of the restored checkpoint: %+v", b)
			}
		})
	}
}

// write makes the directory of the present format: a job in the middle of a delivery, as kill -9 leaves
// it, with gaps, dead letters, a halved plan and a checkpoint.
func write(t *testing.T, dir string) {
	sim := simulator.New(simulator.Options{Seed: 5, Rate: -1, Backlog: 400, Holes: 0.02})
	var b spot.Builder
	n := 0
	tmp := filepath.Join(t.TempDir(), "job")
	st := open(t, tmp)
	sink(t, st)
	in := intake(t, st)
	for s := range sim.Expected(sim.Oldest(), sim.Newest()) {
		b.Append(&s)
		if n++; n%100 != 0 {
			continue
		}
		p := connector.Page{Rows: b.Batch(), Cursor: fmt.Append(nil, s.ID),
			Rejected: []connector.Reject{{Raw: []byte(`{"Spotnum":"x"}`), Reason: "Spotnum is not a number"}}}
		b = spot.Builder{}
		if _, err := in.Take(t.Context(), p, collect.Follow); err != nil {
			t.Fatal(err)
		}
	}
	st.Close() // what is in the log becomes a table when it is opened again
	st = open(t, tmp)
	defer st.Close()
	if _, err := checkpoint.Create(t.Context(), st, checkpoint.Options{Name: "golden"}); err != nil {
		t.Fatal(err)
	}
	k := sink(t, st)
	d, err := k.Next(t.Context(), spool.Want{Rows: 60})
	if err == nil {
		err = k.Halve(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "job"), os.DirFS(tmp)); err != nil {
		t.Fatal(err)
	}
	out, _ := json.MarshalIndent(tell(t, st), "", " ")
	if err := os.WriteFile(filepath.Join(dir, "told.json"), append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sink(t *testing.T, st *store.Store) *spool.Sink {
	t.Helper()
	sp, err := spool.Open(st, "spots")
	if err != nil {
		t.Fatal(err)
	}
	k, err := sp.Sink("main")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
