package transfer

import (
	"context"
	"crypto/sha256"
	"path/filepath"
	"testing"
	"time"

	"holdfast/connector"
)

// elsewhere is a destination whose root is not written as the paths of its files begin: one below the home of a user.
type elsewhere struct {
	connector.Destination
	root  string
	known bool // it was reached
}

func (e *elsewhere) Traits() connector.DestinationTraits {
	t := e.Destination.Traits()
	if t.Root = e.root; !e.known {
		t.Path = ""
	}
	return t
}

func (e *elsewhere) Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, connector.Verified, error) {
	e.known = true
	return e.Destination.Sums(ctx, names)
}

func (e *elsewhere) Place(ctx context.Context, name string, c connector.Content, told func(int64)) (connector.Placed, error) {
	e.known = true
	return e.Destination.Place(ctx, name, c, told)
}

// TestRootBelowHome: what was brought to a directory that is written as one below the home, or to a bucket, is found there: by a
// comparison, and by a file with the same bytes, which is copied there.
func TestRootBelowHome(t *testing.T) {
	for _, root := range []string{"gateway:raw", "gateway:", "user@gateway:~/raw", "s3://bucket/raw"} {
		r := newRig(t, 1)
		to := &elsewhere{Destination: newUnreliable(t, r.to[0]).Destination, root: root}
		copies := 0
		r.change = func(c *Config) { c.Destinations[0].To = &copying{to, &copies} }
		path := filepath.Join(t.TempDir(), "ledger.sqlite")
		r.withLedger(path, "one")
		r.write("a", []byte("the same"))
		r.run(nil)
		r.write("b", []byte("the same"))
		r.run(nil)
		if copies != 1 {
			t.Errorf("%s: %d files were copied, want 1", root, copies)
		}
		to.known = false
		got, err := Compare(t.Context(), openLedger(t, path), []Destination{{Name: "a", To: to}}, time.Time{},
			func(d Difference) { t.Error(d) })
		if err != nil || got != (Compared{Good: 2}) {
			t.Errorf("%s: %+v %v", root, got, err)
		}
	}
}

// copying counts what is copied.
type copying struct {
	*elsewhere
	n *int
}

func (c *copying) Copy(ctx context.Context, from, name string, content connector.Content) (connector.Placed, error) {
	p, err := c.elsewhere.Copy(ctx, from, name, content)
	if err == nil {
		*c.n++
	}
	return p, err
}
