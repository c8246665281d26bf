package collect_test

import (
	"context"
	"testing"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
)

// nameless adds to every page an item without an id, and one whose id is not to be believed.
type nameless struct{ connector.Source }

func (n nameless) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	p, err := n.Source.Fetch(ctx, r)
	p.Rejected = append(p.Rejected,
		connector.Reject{Raw: []byte(`{"Reporter":"K1ABC"}`), Reason: "it has no Spotnum"},
		connector.Reject{Raw: []byte(`{"Spotnum":"900000000000000000"}`), Key: "900000000000000000", Loose: true,
			Reason: "out of reach"})
	return p, err
}

// TestRejectsWithoutAKeyAreKnownByTheirBytes: they die once, however often the feed sends them, and an id
// that is not believed is not the highest that was seen.
func TestRejectsWithoutAKeyAreKnownByTheirBytes(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1, PageLimit: 400})
	r.wrapSource = func(s connector.Source) connector.Source { return nameless{s} }
	r.run()
	r.sim.Publish(50)
	r.run()
	b := r.books()
	if b.Rejected != 2 || b.Duplicate < 4 || b.Accepted != int64(len(r.expected())) || !b.Balanced() {
		t.Errorf("books: %+v, want 2 rejected, %d accepted and the others duplicates", b.Intake, len(r.expected()))
	}
	if len(b.Gaps) != 0 {
		t.Errorf("there are gaps: %+v", b.Gaps)
	}
}
