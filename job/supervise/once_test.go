package supervise

import (
	"strings"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// The end of a silence is in the history once, with what began under it, though the silence ended while nothing ran and the
// job begins again and again; and so are the beginning and the end of an episode of a limit.
func TestEndsAreToldOnce(t *testing.T) {
	r := newRig(t, strings.Replace(echo, "do:", "limit: {max: 1, within: 1s}\n    do:", 1))
	r.start()
	r.tapes["a"].add("say one", "say two", "say three")
	r.until("the end of the episode", func() bool { return len(r.events("limit.over")) == 1 })
	if all := r.events("limit.reached"); len(all) != 1 {
		t.Errorf("history has %q", all)
	}
	if got := r.events("limit.over")[0]; !strings.Contains(got, "2 times") {
		t.Errorf("history has %s", got)
	}
	end := time.Now().Add(4 * time.Second).Truncate(time.Second)
	_, err := r.job.Command(t.Context(), "silence", []string{"echo", "", end.Format(time.RFC3339), "moving house"})
	if err != nil {
		t.Fatal(err)
	}
	r.tapes["a"].add("say nothing")
	r.until("seen", func() bool { return r.rule("echo").Became["silence"] == 1 })
	r.end()
	time.Sleep(time.Until(end))
	for range 2 {
		r.start()
		// Nothing is concluded for 30 s behind a start: a person does not wait.
		_, _ = r.job.Command(t.Context(), "unsilence", []string{"1"})
		r.end()
	}
	st, err := store.Open(r.dir+"/store", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var all []string
	err = st.Latest(func(rd store.Reader) error {
		events, err := engine.ReadEvents(rd, 0, 1000)
		for _, e := range events {
			if strings.HasPrefix(e.Kind, "silence.") || strings.HasPrefix(e.Kind, "limit.") {
				all = append(all, e.Kind)
			}
			if e.Kind == "silence.ended" && !strings.Contains(e.Text, "echo 1 time") {
				t.Errorf("it says %s", e.Text)
			}
		}
		return err
	})
	if got := strings.Join(all, " "); err != nil || got != "limit.reached limit.over silence.ended" {
		t.Errorf("history has %s, %v", got, err)
	}
}

// A source that is away when the rules let go of it is away no longer: its outage in the history ends.
func TestASourceThatIsLetGoIsNotAway(t *testing.T) {
	r := newRig(t, strings.Replace(echo, "tape: a", "tape: b", 1))
	r.start()
	r.until("it is away", func() bool { return len(r.events("gate.closed")) == 1 })
	r.rules = echo
	if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
		t.Fatal(err)
	}
	if all := r.events("gate.opened"); len(all) != 1 || !strings.HasSuffix(all[0], "b is back") {
		t.Errorf("history has %q", all)
	}
	r.end()
}
