package supervise

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/store"
)

// at are the positions that are kept, as "TITLE=POSITION", those of sources that no rule watches with a "-" before it.
func (r *rig) at() string {
	r.Helper()
	var all []string
	err := r.st.Latest(func(rd store.Reader) error {
		places, err := readPlaces(rd)
		for id, p := range places {
			_, err := rd.Look(positionKey(id), func(v []byte) error {
				all = append(all, map[bool]string{true: "", false: "-"}[p.Gone.IsZero()]+p.Title+"="+string(v))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// A rule whose source is edited, while nothing runs or while it does, goes on where it was; one that watches something else
// says so.
func TestEditedSource(t *testing.T) {
	r := newRig(t, "")
	r.tapes["b"] = newTape()
	from := func(tape, note string) string {
		return strings.Replace(echo, "{tape: a}", "{tape: {name: "+tape+", note: "+note+"}}", 1)
	}
	seen := func(want ...string) {
		t.Helper()
		r.until("all is done", func() bool { return len(r.records()) >= len(want) && !strings.Contains(r.states(), "queued") })
		var got []string
		for _, rec := range r.records() {
			got = append(got, strings.TrimPrefix(rec.Seen, "say "))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("acted on %q, want %q", got, want)
		}
	}
	r.rules = from("a", "x")
	r.start()
	r.tapes["a"].add("say one")
	seen("one")
	r.end()

	r.rules = from("a", "y")
	r.tapes["a"].add("say two")
	r.start()
	seen("one", "two")
	if at := r.at(); at != `-tape {name: "a", note: "x"}=1 tape {name: "a", note: "y"}=2` {
		t.Errorf("stands at %s", at)
	}
	r.end()

	r.rules = from("a", "x") // where it stood itself is no more where its rule was
	r.tapes["a"].add("say three")
	r.start()
	seen("one", "two", "three")
	r.rules = from("a", "z")
	if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
		t.Fatal(err)
	}
	r.tapes["a"].add("say four")
	seen("one", "two", "three", "four")
	if moved := r.events("watch.moved"); len(moved) != 3 || moved[2] != `tape {name: "a", note: "z"} goes on where tape {name: "a", note: "x"} stood` {
		t.Errorf("said %q", moved)
	}
	r.end()

	r.rules = strings.Replace(from("b", "z"), "name: echo", "name: new", 1)
	r.start()
	r.until("it is watched", func() bool { return strings.Contains(r.at(), `-tape {name: "a", note: "z"}`) })
	if gaps := r.events("watch.gap"); len(gaps) != 0 {
		t.Errorf("a rule that is new: %q", gaps)
	}
	r.end()
	r.rules = strings.Replace(from("a", "z"), "name: echo", "name: new", 1)
	r.tapes["b"].add("say lost")
	r.start()
	r.until("it is told", func() bool { return len(r.events("watch.gap")) > 0 })
	if gaps := r.events("watch.gap"); len(gaps) != 1 || !strings.Contains(gaps[0], `is watched instead of tape {name: "b", note: "z"}`) {
		t.Errorf("said %q", gaps)
	}
	r.end()
}

// Where a source stood that no rule watches is known for a while.
func TestForgottenPlace(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	r.tapes["a"].add("say one")
	r.until("it is done", func() bool { return r.states() == "done" })
	r.end()
	r.tapes["b"] = newTape()
	r.rules = strings.Replace(echo, "tape: a", "tape: b", 1)
	r.start()
	defer r.end()
	r.until("it is settled", func() bool { return r.at() == "-tape a=1" })
	for _, c := range []struct {
		behind time.Duration
		want   string
	}{{keepPlaces - time.Hour, "-tape a=1"}, {keepPlaces + time.Hour, ""}} {
		if err := r.st.Update(func(tx *store.Tx) error { return forgetPlaces(tx, time.Now().Add(c.behind)) }); err != nil {
			t.Fatal(err)
		}
		if at := r.at(); at != c.want {
			t.Errorf("%v later: %q, want %q", c.behind, at, c.want)
		}
	}
}
