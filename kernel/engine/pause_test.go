package engine

import (
	"sync"
	"testing"

	"holdfast/kernel/store"
)

// pausedInStore reads what a restart would find.
func pausedInStore(t *testing.T, r *runner) (paused bool) {
	t.Helper()
	err := r.env.Store.View(t.Context(), func(rd store.Reader) (err error) {
		_, paused, err = rd.Get(keyPaused)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return paused
}

// TestPauseAndResumeAtOnce: whichever comes last, the job does what its store says.
func TestPauseAndResumeAtOnce(t *testing.T) {
	e := opened(t, "one")
	r := e.runners[0]
	for range 300 {
		var wg sync.WaitGroup
		for _, order := range []func(string) error{e.Pause, e.Resume, e.Pause, e.Resume} {
			wg.Go(func() {
				if err := order("one"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if is := pausedInStore(t, r); is != r.paused {
			t.Fatalf("the store says paused: %v, and the job obeys: %v", is, r.paused)
		}
	}
}

// TestAPauseIsDurableBeforeItIsObeyed: a kill behind the moment at which the job stops, or goes on, finds the
// order in the store.
func TestAPauseIsDurableBeforeItIsObeyed(t *testing.T) {
	e := opened(t, "one")
	r := e.runners[0]
	stopped := false
	r.stop = func() { stopped = pausedInStore(t, r) }
	if err := e.Pause("one"); err != nil {
		t.Fatal(err)
	}
	if !stopped {
		t.Error("the job was stopped by a pause that a kill would take back")
	}
	goesOn := make(chan bool)
	go func() { // ends with the pause
		<-r.resume
		goesOn <- !pausedInStore(t, r)
	}()
	if err := e.Resume("one"); err != nil {
		t.Fatal(err)
	}
	if !<-goesOn {
		t.Error("the job went on, and a kill would find it paused")
	}
}

// TestAnOrderThatFailsChangesNothing: the store can't keep it, so the job does not obey it.
func TestAnOrderThatFailsChangesNothing(t *testing.T) {
	e := opened(t, "one")
	r := e.runners[0]
	r.stop = func() { t.Error("the job was stopped") }
	if err := r.env.Store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Pause("one"); err == nil || r.paused {
		t.Errorf("got %v, paused: %v; want an error, and no pause", err, r.paused)
	}
}
