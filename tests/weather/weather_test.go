// Package weather proves what the weather station promises: the built binary as the four processes streamer,
// ingester, processor and api, between a real redis-server and a real influxd 1.6.7, while each of them is killed,
// frozen, cut off, filled up and lied to. Afterwards the database is compared row by row with the data set, and the
// reports number by number with what is computed of the file here, by other code than the product's.
//
// Each role reaches each server through a relay of its own, which knows what passes: so an outage strikes at exactly
// the message that a test names, and attempts towards a dead server can be counted. When a test fails, the logs of
// its roles and their time lines (holdfast events --csv) are kept, and it says where.
//
// make test runs a seeded part of each campaign, make torture all of it. A TestTimed measures time: the Makefile runs
// nothing beside it.
package weather

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/tests/testenv"
)

// TestMain lets more tests run at once than there are cores: they wait for outages most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, testenv.ProcessLeaks()...)
}

// soon bounds what takes moments on an idle machine. It is long because other tests run beside.
const soon = 5 * time.Minute
