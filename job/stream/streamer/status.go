package streamer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Gates returns the health of the broker and of the source.
func (j *Job) Gates() []gate.Status {
	feed := j.feed.Status()
	feed.Next = time.Time{} // it has no canary
	return []gate.Status{j.gate.Status(), feed}
}

// OpenGate opens a gate on the word of a person.
func (j *Job) OpenGate(name string) error { return gate.Open(name, j.gate, j.feed) }

// theBroker is the name of the one sink.
const theBroker = "broker"

// Tasks are the windows that wait: rows that were taken in, and are not where they belong as far as anybody says.
func (j *Job) Tasks(r store.Reader) (engine.Tasks, error) {
	in, err := balance.ReadIntake(r, j.source)
	if err != nil {
		return engine.Tasks{}, err
	}
	f := j.desk.figures().flow()
	// Windows may have been cut since the intake was counted: they wait.
	if ahead := min(f.Accepted-in.Accepted, f.Pending); ahead > 0 {
		f.Accepted, f.Pending = f.Accepted-ahead, f.Pending-ahead
	}
	return engine.Tasks{Sinks: []engine.SinkBooks{f}}, nil
}

// Promises returns what whoever hears the stream can rely on.
func (j *Job) Promises() map[string]string { return map[string]string{theBroker: "at least once"} }

// Quotas returns what windows that wait may take, and take.
func (j *Job) Quotas() []engine.Quota {
	return []engine.Quota{j.quota.Quota()}
}

// Notes returns how far the windows are on their way, and what was met.
func (j *Job) Notes() [][2]string {
	f := j.desk.figures()
	how := "confirmed"
	if !f.marks.Confirms {
		how = "sent, nobody ever confirms"
	}
	out := [][2]string{
		{"windows", fmt.Sprintf("%d cut, %d sent, %d confirmed, %d not sent yet, %d kept (%s)", f.next-1,
			f.marks.Sent, f.marks.Confirmed, f.next-1-f.marks.Sent, f.kept, disk.Size(uint64(max(f.bytes, 0))))},
		{"rows", fmt.Sprintf("%d %s; %d in windows that wait, %d in windows that are not closed",
			f.delivered(), how, f.pendingRows, f.building)},
		{"in flight", disk.Size(uint64(max(f.inFlight, 0)))},
	}
	if f.newest != nil {
		out = append(out, [2]string{"newest window", f.newest.From.Format(time.RFC3339) + " to " +
			f.newest.To.Format(time.RFC3339)})
	}
	if f.marks.GivenUp > 0 {
		out = append(out, [2]string{"rows given up", strconv.FormatInt(f.marks.GivenUp, 10)})
	}
	if f.over {
		out = append(out, [2]string{"data set", "was read to its end"})
	}
	changed := j.Changed()
	for _, file := range slices.Sorted(maps.Keys(changed)) {
		out = append(out, [2]string{"changed", changed[file]})
	}
	for _, name := range slices.Sorted(maps.Keys(f.counts)) {
		out = append(out, [2]string{name, strconv.FormatInt(f.counts[name], 10)})
	}
	return out
}

// Command carries out what a person asked of the running job: try (what closed gates wait for), next (the
// window that waits for its time goes out), dead-discard ID REASON.
func (j *Job) Command(_ context.Context, name string, args []string) (string, error) {
	switch name {
	case "try":
		j.gate.Kick()
		nudge(j.mended)
		return "", nil
	case "next":
		nudge(j.pacer.hurry)
		return "the next window goes out", nil
	case "dead-discard":
		return "", j.discard(args)
	case "dead-retry", "dead-edit":
		return "", fault.WithHint(fault.New(fault.Invalid, "the window of that item may be sent already"),
			"mend it in the data set and stream it again, or discard it")
	}
	return "", fault.New(fault.Invalid, "a streamer does not know the command %q", name)
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// discard lets a dead letter go for good; it stays counted as rejected.
func (j *Job) discard(args []string) error {
	if len(args) < 2 {
		return fault.New(fault.Invalid, "which dead letter, and why? give its number and a reason")
	}
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return fault.New(fault.Invalid, "%q is not the number of a dead letter", args[0])
	}
	return j.env.Store.Update(func(tx *store.Tx) error {
		d, err := balance.Exhume(tx, id)
		if err != nil {
			return err
		}
		return engine.AddEvent(tx, engine.Event{At: time.Now().UTC(), Job: j.env.Name, Kind: "dead.discarded",
			Text: fmt.Sprintf("dead letter %d (%s: %s) was discarded: %s", id, d.From, d.Reason,
				strings.Join(args[1:], " "))})
	})
}
