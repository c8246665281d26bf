package transfer

import (
	"context"
	"regexp"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/gate"
)

// ledger is the ledger behind its gate.
type ledger struct {
	connector.Ledger
	gate *gate.Gate

	mu     sync.Mutex      // guards what is below
	sure   map[uint64]bool // files whose claim is good: it was made in this life, and was renewed since
	losses int             // how often claims were lost
}

// isSure reports whether the claim of a file is good for sure, so that nobody can have taken the file over.
func (l *ledger) isSure(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sure[id]
}

// lossesSoFar is to be read before a claim is asked for: see claimed.
func (l *ledger) lossesSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.losses
}

// claimed notes that the claim of a file is good. If claims were lost since it was asked for, it may be one of them.
func (l *ledger) claimed(id uint64, losses int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if losses == l.losses {
		l.sure[id] = true
	}
}

// gaveBack notes that the claim of a file was given back.
func (l *ledger) gaveBack(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sure, id)
}

// lost makes every claim unsure, so that each is asked for again.
func (l *ledger) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses++
	clear(l.sure)
}

// Columns are the further columns of a ledger that an expression has values for.
func Columns(meta *regexp.Regexp) (names []string) {
	if meta == nil {
		return nil
	}
	for _, name := range meta.SubexpNames() {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func newLedger(j *Job, l connector.Ledger) *ledger {
	columns := Columns(j.cfg.Meta)
	return &ledger{Ledger: l, sure: map[uint64]bool{}, gate: j.newGate(ledgerGate, func(ctx context.Context) error {
		if err := l.Check(ctx, columns); err != nil {
			return err
		}
		return l.Probe(ctx)
	})}
}

// run renews our claims again and again. If that came too late, others may have taken over what was ours.
func (l *ledger) run(ctx context.Context) error {
	every := time.NewTicker(connector.RenewEvery)
	defer every.Stop()
	for {
		if err := l.gate.Wait(ctx); err != nil {
			return err
		}
		lost, err := l.Renew(ctx)
		if lost {
			l.lost()
		}
		if ctx.Err() == nil {
			l.gate.Report(err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask calls f, and again after each outage of the ledger, until it has an answer. The error speaks of the file, or is that of
// ctx.
func (l *ledger) ask(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		if err := l.gate.Wait(ctx); err != nil {
			return err
		}
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		switch fault.KindOf(err) {
		case fault.Invalid, fault.Conflict, fault.Busy:
			return err
		}
		l.gate.Report(err)
	}
}

// ofTheFile reports whether an error of a destination speaks of one file. A ledger may be Corrupt or NotFound itself: see ask.
func ofTheFile(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Conflict, fault.Corrupt, fault.NotFound, fault.Busy:
		return true
	}
	return false
}
