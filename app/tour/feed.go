package tour

import (
	"context"
	"fmt"
	"net"
	"time"

	"holdfast/base/fault"
	"holdfast/connector/wsprnet/simulator"
)

// firstID is about what the real feed gave on firstDay.
const firstID = 6_040_000_001

var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Feed is the simulated feed of the tour.
type Feed struct {
	sim *simulator.Simulator
	ln  net.Listener
}

// feedAt is the feed of the tour that begins at a time. Ids follow the clock to the nanosecond: a feed that begins later goes
// on with the ids of an earlier one, and has the same spots under those that both have.
func feedAt(now time.Time) simulator.Options {
	o := simulator.Realistic()
	ids := uint64(now.Sub(firstDay).Seconds() * o.Rate)
	o.Start = firstID + ids
	o.Epoch = firstDay.Add(time.Duration(ids) * time.Duration(float64(time.Second)/o.Rate))
	return o
}

// OpenFeed returns the simulated feed, or one that serves the spots of a file, listening on addr.
func OpenFeed(addr, spots string) (*Feed, error) {
	o := feedAt(time.Now())
	if spots != "" {
		f, err := simulator.LoadSpots(spots, true)
		if err != nil {
			return nil, fault.NewUsage("give a JSON file of spots as the feed serves them", "%w", err)
		}
		o.Spots = f
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated feed: %w", err)
	}
	return &Feed{sim: simulator.New(o), ln: ln}, nil
}

// URL is the status page of the feed, where its outages are switched on and off.
func (f *Feed) URL() string { return "http://" + f.ln.Addr().String() + "/" }

// Run serves the feed until ctx ends.
func (f *Feed) Run(ctx context.Context) error { return f.sim.Run(ctx, f.ln) }

// Close gives the address up; Run does so too.
func (f *Feed) Close() error { return f.ln.Close() }
