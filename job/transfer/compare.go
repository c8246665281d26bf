package transfer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/connector"
)

// Difference is a file that a destination does not have as the ledger says.
type Difference struct {
	Source, Destination, Path string
	What                      string
}

// Compared is what a comparison found.
type Compared struct {
	Good      int64 // the destination has the bytes that the ledger says
	There     int64 // it has a file; which bytes it should have, rawtransfer did not say
	Different int64
	Elsewhere int64 // at no destination of the job
}

// Any reports whether anything was compared.
func (c Compared) Any() bool { return c.Good+c.There+c.Different > 0 }

// atOnce is how many files a destination is asked for in one question.
const atOnce = 200

// Compare asks each destination for the files that, by the ledger, were brought there since a time, and calls each for every
// difference.
func Compare(ctx context.Context, ledger connector.Ledger, destinations []Destination, since time.Time,
	each func(Difference)) (Compared, error) {
	c := comparison{each: each, waiting: map[string][]expected{}}
	for _, t := range destinations {
		if err := meet(ctx, t.To); err != nil {
			return c.found, err
		}
		c.destinations = append(c.destinations, t.To)
	}
	err := ledger.Each(ctx, since, func(e connector.Entry) error { return c.take(ctx, e) })
	for _, to := range c.destinations {
		if err == nil {
			err = c.ask(ctx, to)
		}
	}
	return c.found, err
}

type comparison struct {
	destinations []connector.Destination
	each         func(Difference)
	found        Compared
	waiting      map[string][]expected // by root
}

// expected is a file that a destination should have.
type expected struct {
	connector.Shipment
	source, name string
}

// take notes for each destination what an entry says that it has.
func (c *comparison) take(ctx context.Context, e connector.Entry) error {
	for _, s := range e.Shipments {
		known := false
		for _, to := range c.destinations {
			root := to.Traits().Root
			name, there := nameAt(to.Traits(), s)
			if !there {
				continue
			}
			known = true
			c.waiting[root] = append(c.waiting[root], expected{s, e.Source, name})
			if len(c.waiting[root]) >= atOnce {
				if err := c.ask(ctx, to); err != nil {
					return err
				}
			}
		}
		if !known {
			c.found.Elsewhere++
		}
	}
	return nil
}

// ask asks a destination for what waits.
func (c *comparison) ask(ctx context.Context, to connector.Destination) error {
	root := to.Traits().Root
	list := c.waiting[root]
	if c.waiting[root] = nil; len(list) == 0 {
		return nil
	}
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.name
	}
	sums, _, err := to.Sums(ctx, names)
	if err != nil {
		return fmt.Errorf("ask %s: %w", root, err)
	}
	for _, x := range list {
		sum, ok := sums[x.name]
		switch {
		case !ok:
			c.differs(root, x, "it is not there")
		case x.SHA256 == [len(x.SHA256)]byte{}:
			c.found.There++
		case sum != x.SHA256:
			c.differs(root, x, fmt.Sprintf("its SHA-256 is %x, and was %x", sum, x.SHA256))
		default:
			c.found.Good++
		}
	}
	return nil
}

func (c *comparison) differs(root string, x expected, what string) {
	c.found.Different++
	c.each(Difference{x.source, root, x.Path, what})
}

// meet makes sure that the path of a destination is known, which it is once it was connected to.
func meet(ctx context.Context, to connector.Destination) error {
	if to.Traits().Path != "" {
		return nil
	}
	if _, _, err := to.Sums(ctx, nil); err != nil {
		return fmt.Errorf("ask %s: %w", to.Traits().Root, err)
	}
	return nil
}

// nameAt returns the name of a shipment below the root of a destination; ok is false if it is elsewhere. Rawtransfer did not
// record to which destination it brought files: of its entries, those count that have a path below the root.
func nameAt(t connector.DestinationTraits, s connector.Shipment) (string, bool) {
	if t.Path == "" || s.Destination != t.Root && s.Destination != "" {
		return "", false
	}
	return strings.CutPrefix(s.Path, strings.TrimSuffix(t.Path, "/")+"/")
}

// pathAt is the path of a name.
func pathAt(t connector.DestinationTraits, name string) string {
	return strings.TrimSuffix(t.Path, "/") + "/" + name
}
