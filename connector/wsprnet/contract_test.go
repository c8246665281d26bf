package wsprnet

import (
	"slices"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/sourcetest"
	"holdfast/connector/wsprnet/simulator"
)

func TestContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Feed {
		sim, url := serve(t, simulator.Options{Seed: 11, Rate: -1, Holes: 0.02, Garbage: 0.01, Keep: -1,
			PageLimit: 1000, Username: "u", Password: "p"})
		faults := map[sourcetest.Fault][]string{
			sourcetest.Reset: {"reset"}, sourcetest.ServerError: {"500"}, sourcetest.Garbage: {"garbage"},
			sourcetest.Silence: {"hang"}, sourcetest.Throttle: {"retry_after"},
			sourcetest.Refuse: {"refuse", "expire"}, sourcetest.Expire: {"expire"},
			sourcetest.Cut: {"truncate"}, sourcetest.Reverse: {"reverse"},
			sourcetest.CutReverse: {"truncate", "reverse"},
		}
		return sourcetest.Feed{
			Open: func(t *testing.T) connector.Source {
				return open(t, url, func(c *Config) {
					c.Username, c.Password, c.RequestTimeout = "u", "p", 500*time.Millisecond
				})
			},
			Publish: func(n int) { sim.Publish(uint64(n)) },
			Keys: func() (keys []uint64) {
				for s := range sim.Expected(0, 1<<62) {
					keys = append(keys, s.ID)
				}
				return keys
			},
			Bad: func() []uint64 { return slices.Collect(sim.Faulty(0, 1<<62)) },
			Break: func(f sourcetest.Fault) bool {
				for _, name := range faults[f] {
					if err := sim.Switch(name, true); err != nil {
						t.Fatal(err)
					}
				}
				return len(faults[f]) > 0
			},
			Mend:   func() { _ = sim.Switch("all", false) },
			Logins: func() int { return int(sim.Status().Logins) },
		}
	})
}
