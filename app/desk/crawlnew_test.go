package desk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// Who begins a crawl while somebody else begins one of that name is refused, and takes nothing away: the other one runs.
func TestTwoBeginTheSameCrawl(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	docs := engine.JobDir(place.Dir, "docs")
	journal := filepath.Join(place.Dir, "recover.log")
	text := "jobs: {docs: {crawl: {seeds: ['http://127.0.0.1/'], contact: me@example.org}}}"
	if err := errors.Join(os.MkdirAll(docs, 0o700), os.WriteFile(journal, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d := deskOf(t, place, text)
	d.reloading.Lock() // the other one is at it
	second := make(chan error, 1)
	go func() {
		_, err := d.BeginCrawl(t.Context(), NewCrawl{Name: "again", Like: "docs", Files: []string{journal}}, nil)
		second <- err
	}()
	time.Sleep(50 * time.Millisecond) // so that the second has come; what it must do is the same if it comes later
	again := engine.JobDir(place.Dir, "again")
	if err := os.MkdirAll(again, 0o700); err != nil {
		t.Fatal(err)
	}
	d.reloading.Unlock()
	if err := <-second; !fault.Is(err, fault.Conflict) {
		t.Errorf("the second got %v, want a conflict", err)
	}
	if _, err := os.Stat(again); err != nil {
		t.Errorf("the second took away what the first one made: %v", err)
	}
}
