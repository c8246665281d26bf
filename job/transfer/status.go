package transfer

import (
	"context"
	"strconv"
	"strings"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

// Gates are those of the destinations, of the ledger, of the source, and of the disk of the data directory.
func (j *Job) Gates() []gate.Status { return gate.Statuses(j.gates()...) }

// OpenGate opens a gate on the word of a person.
func (j *Job) OpenGate(name string) error { return gate.Open(name, j.gates()...) }

func (j *Job) gates() (all []*gate.Gate) {
	for _, t := range j.destinations {
		all = append(all, t.gate)
	}
	if j.ledger != nil {
		all = append(all, j.ledger.gate)
	}
	return append(all, j.origin.gate, j.room.gate)
}

// Notes says what the books don't.
func (j *Job) Notes() [][2]string {
	var notes [][2]string
	for _, t := range j.destinations {
		notes = append(notes, [2]string{"sent to " + t.Name, disk.Size(t.sent.Load()) + " since the start"})
	}
	switch rate, end := j.cfg.Limit.at(time.Now()); {
	case rate == Paused:
		notes = append(notes, [2]string{"limit", "nothing goes out over the network until " + end.Format("15:04")})
	case rate != Unlimited:
		notes = append(notes, [2]string{"limit", disk.Size(uint64(rate)) + "/s over the network"})
	}
	if j.ledger != nil {
		t := j.ledger.Traits()
		notes = append(notes, [2]string{"ledger", t.Name})
		if t.Lacks != "" {
			notes = append(notes, [2]string{"ledger lacks", t.Lacks})
		}
	}
	return append(notes, j.cfg.Find.Notes()...)
}

// Quotas: there are none.
func (j *Job) Quotas() []engine.Quota { return nil }

// Promises: each file has its final name at each destination once.
func (j *Job) Promises() map[string]string {
	all := map[string]string{}
	for _, t := range j.destinations {
		all[t.Name] = "exactly once"
	}
	return all
}

// Command carries out what a person asked for.
func (j *Job) Command(_ context.Context, name string, args []string) (string, error) {
	switch name {
	case "try":
		for _, t := range j.destinations {
			t.gate.Kick()
		}
		if j.ledger != nil {
			j.ledger.gate.Kick()
		}
		j.origin.gate.Kick()
		return "", nil
	case "backfill":
		if j.cfg.Once {
			return "", fault.New(fault.Invalid, "job %s makes one pass, and looks at all there is", j.env.Name)
		}
		select {
		case j.again <- struct{}{}:
		default: // it is about to begin
		}
		return "the source is looked through for what was missed; see `holdfast status " + j.env.Name + "`", nil
	case "dead-retry", "dead-discard":
		if len(args) == 0 {
			return "", fault.New(fault.Invalid, "which dead letter? give its number")
		}
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return "", fault.New(fault.Invalid, "%q is not the number of a dead letter", args[0])
		}
		if name == "dead-retry" {
			err := retryDead(j.env.Store, id, j.named)
			j.below.forget()
			return "", err
		}
		return "", discardDead(j.env.Store, id, strings.Join(args[1:], " "), j.named)
	}
	return "", fault.New(fault.Invalid, "a transfer job knows no command %q", name)
}
