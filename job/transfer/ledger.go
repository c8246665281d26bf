package transfer

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/gate"
)

// ledger is the ledger behind its gate.
type ledger struct {
	connector.Ledger
	gate *gate.Gate
}

func newLedger(j *Job, l connector.Ledger) *ledger {
	var columns []string
	if j.cfg.Meta != nil {
		for _, name := range j.cfg.Meta.SubexpNames() {
			if name != "" {
				columns = append(columns, name)
			}
		}
	}
	return &ledger{l, j.newGate("ledger", func(ctx context.Context) error {
		if err := l.Check(ctx, columns); err != nil {
			return err
		}
		return l.Probe(ctx)
	})}
}

// run says again and again that we live. That a claim was lost meanwhile, whoever records finds out.
func (l *ledger) run(ctx context.Context) error {
	every := time.NewTicker(connector.RenewEvery)
	defer every.Stop()
	for {
		if err := l.gate.Wait(ctx); err != nil {
			return err
		}
		if _, err := l.Renew(ctx); ctx.Err() == nil {
			l.gate.Report(err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask asks the ledger until it answers. An error is one of the file, or of ctx.
func (l *ledger) ask(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		if err := l.gate.Wait(ctx); err != nil {
			return err
		}
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if ofTheFile(err) {
			return err
		}
		l.gate.Report(err)
	}
}

// ofTheFile reports whether an error speaks of one file, and not of the ledger or destination as a whole.
func ofTheFile(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Conflict, fault.Corrupt, fault.NotFound, fault.Busy:
		return true
	}
	return false
}
