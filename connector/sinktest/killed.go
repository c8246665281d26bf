package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// The case of a writer that is killed: a process of its own delivers, and ends at random moments.

// childEnv marks the process that Main makes a writer of.
const childEnv = "HOLDFAST_SINK_WRITER"

// Child is how a process of its own opens the target's sink.
type Child struct {
	Args  []string // what Main gives to its open
	Lacks string
}

// Main is for the TestMain of a package with a sink. It runs the tests; or, in a process that the suite
// started, delivers for ever to the sink that open makes of the target's Child.Args.
func Main(m *testing.M, open func(args []string) (connector.Sink, error)) {
	from := os.Getenv(childEnv)
	if from == "" {
		os.Exit(m.Run())
	}
	n, _ := strconv.ParseUint(from, 10, 64)
	fmt.Println("error", deliverFrom(n, os.Args[1:], open))
	os.Exit(1)
}

// deliverFrom delivers from a sequence on, and says what was acknowledged. Of the first two a writer that was
// killed may have tried either: the last that it acknowledged, and the one behind.
func deliverFrom(n uint64, args []string, open func(args []string) (connector.Sink, error)) error {
	sink, err := open(args)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := sink.Prepare(ctx, Schema()); err != nil {
		return err
	}
	for tried := n + 1; ; n++ {
		_, d := Numbered(n)
		d.Unknown = n <= tried
		v, err := sink.Write(ctx, d)
		if err == nil && len(v.Rejected) > 0 {
			err = errors.New(v.Rejected[0].Reason)
		}
		if err != nil {
			return err
		}
		fmt.Println("acknowledged", n)
	}
}

// PerDelivery is how many rows a numbered delivery has.
const PerDelivery = 400

// Numbered is the delivery with the sequence n; all processes agree on its rows.
func Numbered(n uint64) ([]Spot, connector.Delivery) {
	spots := Spots(n, n*10_000, PerDelivery)
	return spots, connector.Delivery{Schema: Schema(), Rows: Batch(spots), FirstAttempt: time.Now(),
		Token: record.Token{Job: "spots", First: n, Last: n, Hash: record.Hash{byte(n), byte(n >> 8)}}}
}

// killedWriter ends a writing process at random moments, some two hundred times under make torture. What
// it had acknowledged is there, nothing is there twice, and the next process, which repeats what was not
// acknowledged, completes it.
func killedWriter(t *testing.T, tg *Target) {
	if lacks(t, tg.Child.Lacks) {
		return
	}
	d := start(t, tg)
	random := rand.New(rand.NewPCG(testenv.Seed(t), 1))
	last := uint64(0)
	for range testenv.Count(t, 200/tg.Kills) {
		last = killOnce(t, tg, max(last, 1), time.Duration(random.IntN(30_000))*time.Microsecond)
		wholeUntil(t, d, last)
	}
	d.renew()
	for n := uint64(1); n <= last+1; n++ {
		spots, del := Numbered(n)
		del.Unknown = true
		d.deliver(del)
		d.expect(spots)
	}
	d.verify()
}

var acknowledged = regexp.MustCompile(`acknowledged (\d+)\n`)

// Writer starts a process that delivers from a sequence on, as Main says, and prints `acknowledged` and
// the sequence of each delivery.
func Writer(t testing.TB, from uint64, args ...string) *testenv.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return testenv.Start(t, testenv.Command{Path: self, Args: args,
		Env: []string{childEnv + "=" + strconv.FormatUint(from, 10)}})
}

// killOnce starts a writer at a delivery and kills it some time after its first acknowledgement. It
// returns the last delivery that was acknowledged.
func killOnce(t *testing.T, tg *Target, from uint64, after time.Duration) uint64 {
	t.Helper()
	p := Writer(t, from, tg.Child.Args...)
	p.WaitFor(t, "acknowledged", tg.Recovers)
	time.Sleep(after)
	p.Kill()
	if out := p.Output(); strings.Contains(out, "error") {
		t.Fatalf("writer: %s", out)
	}
	all := acknowledged.FindAllStringSubmatch(p.Stdout(), -1)
	last, err := strconv.ParseUint(all[len(all)-1][1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// wholeUntil checks that all deliveries up to last are in the target once, and of the next one all rows,
// none, or, where the target is not Whole, some.
func wholeUntil(t *testing.T, d *driver, last uint64) {
	t.Helper()
	next := map[uint64]bool{}
	spots, _ := Numbered(last + 1)
	for _, s := range spots {
		next[s.ID] = true
	}
	var want, got []Spot
	begun := 0
	for _, s := range d.rows() {
		if next[s.ID] {
			begun++
		} else {
			got = append(got, s)
		}
	}
	for n := uint64(1); n <= last; n++ {
		spots, _ := Numbered(n)
		want = append(want, spots...)
	}
	if diff := Difference(want, got); diff != "" {
		t.Fatalf("after a kill behind delivery %d: %s", last, diff)
	}
	if begun > PerDelivery || d.tg.Whole && begun != 0 && begun != PerDelivery {
		t.Fatalf("after a kill behind delivery %d: the target has %d rows of the next", last, begun)
	}
}
