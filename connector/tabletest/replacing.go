package tabletest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// inOrder: the rows of a later revision take the place of all that their time had, and of no other.
func inOrder(k *keyed) {
	k.begin(replaceBy)
	first, beside := places(7200, 1, 10), places(10_800, 1, 10)
	k.put(first, 0)
	k.put(beside, 0)
	k.stand(append(first, beside...)...)
	second := places(7200, 2, 6)
	k.put(second, 0)
	k.stand(append(second, beside...)...)
	third := places(7200, 1<<40, 300)
	k.put(third, 0)
	k.stand(append(third, beside...)...)
}

// outOfOrder: what comes late is superseded already, and not written.
func outOfOrder(k *keyed) {
	k.begin(replaceBy)
	second, beside := places(7200, 2, 6), places(10_800, 1, 4)
	k.put(second, 0)
	k.put(append(places(7200, 1, 10), beside...), 10)
	k.stand(append(second, beside...)...)
	k.put(places(7200, -1, 10), 10)
	k.put(append(second, places(7200, 0, 3)...), 9)
	k.stand(append(second, beside...)...)
}

// together: of two revisions in one delivery the higher stands, wherever it is.
func together(k *keyed) {
	k.begin(replaceBy)
	second := places(7200, 2, 200)
	k.put(append(places(7200, 1, 300), second...), 300)
	k.stand(second...)
	fourth := places(7200, 4, 5)
	k.put(append(fourth, places(7200, 3, 300)...), 300)
	k.stand(fourth...)
}

// halves: parts of a revision that come apart don't take each other's place.
func halves(k *keyed) {
	k.begin(replaceBy)
	k.put(places(7200, 1, 50), 0)
	second := places(7200, 2, 300)
	for _, d := range k.cut(second, 120) {
		k.says(k.deliver(d), 0)
	}
	k.stand(second...)
}

// cut makes two parts of one delivery, as after halving.
func (k *keyed) cut(rows []Row, at int) []connector.Delivery {
	k.Helper()
	whole := k.delivery(Schema(), Batch(rows))
	a, b := whole, whole
	a.Rows, b.Rows = whole.Rows.NewSlice(0, int64(at)), whole.Rows.NewSlice(int64(at), whole.Rows.NumRows())
	a.Token.RowFrom, a.Token.RowTo = 0, uint32(at)
	b.Token.RowFrom, b.Token.RowTo = uint32(at), uint32(len(rows))
	return []connector.Delivery{a, b}
}

// lateRepeats: a repeat of what was replaced since brings nothing back, by its token and by its rows.
func lateRepeats(k *keyed) {
	k.begin(replaceBy)
	d := k.delivery(Schema(), Batch(places(7200, 1, 10)))
	k.says(k.deliver(d), 0)
	second := places(7200, 2, 6)
	k.put(second, 0)
	d.Unknown = true
	k.says(k.deliver(d), 10)
	d.ByKey = true
	k.says(k.deliver(d), 10)
	d.Token.Lineage[0]++
	k.says(k.deliver(d), 10)
	k.begin(replaceBy)
	d.Token.Lineage[0]++
	d.ByKey = false
	k.says(k.deliver(d), 10)
	k.stand(second...)
}

// sameRevision: rows with one key and one revision are what they are without `replace`.
func sameRevision(k *keyed) {
	k.begin(replaceBy)
	rows := places(7200, 3, 200)
	k.put(rows, 0)
	other := rows[7]
	other.TempC++
	k.put([]Row{rows[3], other, rows[3]}, 2, connector.RowFault{Row: 1, Reason: sameKey + "temp_c"})
	k.stand(rows...)
}

// refusedReplaces: a row that is refused does not count as a revision of its time.
func refusedReplaces(k *keyed) {
	if err := k.use(loose(), replaceBy, Keys...); err != nil {
		k.Fatalf("prepare: %v", err)
	}
	rows := places(7200, 1, 5)
	k.says(k.deliver(k.delivery(loose(), without(rows, -1, -1, -1, -1, -1))), 0)
	late, beside := places(7200, 9, 1)[0], places(10_800, 1, 1)[0]
	v := k.deliver(k.delivery(loose(), without([]Row{late, beside}, 2, -1)))
	k.says(v, 0, connector.RowFault{Row: 0, Reason: "state is missing, and it is part of the key"})
	k.stand(append(rows, beside)...)
}

// histories tries random deliveries of random revisions, with faults and repeats: in the end of each
// time all rows of its highest revision stand, and no others.
func histories(t *testing.T, open func(t *testing.T) *Keyed) {
	sinktest.Checks(t, open(t).Histories)
	rapid.Check(t, func(r *rapid.T) {
		h := &history{keyed: startWith(r, t, open(t)), r: r, want: map[int64][]Row{}}
		h.begin(replaceBy)
		for range rapid.IntRange(1, 10).Draw(r, "steps") {
			h.step()
			h.verify()
		}
	})
}

// history is one run of random steps.
type history struct {
	*keyed
	r    *rapid.T
	want map[int64][]Row // rows of the highest revision of each time
	done []connector.Delivery
	rows [][]Row // of done
}

// drawn are rows whose content follows from key and revision, so that any two with the same are the same.
func (h *history) drawn() []Row {
	rows := make([]Row, rapid.IntRange(1, 300).Draw(h.r, "rows"))
	times := rapid.Int64Range(1, 3).Draw(h.r, "times")
	revisions := rapid.Int64Range(1, 5).Draw(h.r, "revisions")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(h.r, "seed"), 1))
	for i := range rows {
		r := Row{Time: random.Int64N(times), Revision: random.Int64N(revisions),
			ZipCode: fmt.Sprint(random.IntN(6)), State: fmt.Sprint(random.IntN(4))}
		r.TempC = float64(r.Revision) / 4
		r.Name = strings.Repeat(r.ZipCode, int(r.Revision))
		rows[i] = r
	}
	return rows
}

// take adds rows to what must stand and returns how many of them that leaves as they were.
func (h *history) take(rows []Row) (present int64) {
	highest := map[int64]int64{}
	for at, stand := range h.want {
		highest[at] = stand[0].Revision
	}
	for _, r := range rows {
		if now, ok := highest[r.Time]; !ok || now < r.Revision {
			highest[r.Time] = r.Revision
			h.want[r.Time] = nil
		}
	}
	known := map[Row]bool{}
	for _, stand := range h.want {
		for _, r := range stand {
			known[r] = true
		}
	}
	for _, r := range rows {
		if known[r] || r.Revision < highest[r.Time] {
			present++
			continue
		}
		known[r] = true
		h.want[r.Time] = append(h.want[r.Time], r)
	}
	return present
}

func (h *history) verify() {
	h.Helper()
	var all []Row
	for _, stand := range h.want {
		all = append(all, stand...)
	}
	h.stand(all...)
}

func (h *history) step() {
	steps := map[string]func(){"write": h.write, "halves": h.halves, "repeat": h.repeat, "restore": h.restore,
		"new sink": func() { h.begin(replaceBy) }}
	names := []string{"write", "halves", "repeat", "restore", "new sink"}
	if hook := h.tg.LostAnswer; hook.Do != nil {
		names = append(names, "lost answer")
		steps["lost answer"] = func() { h.broken(hook) }
	}
	if h.tg.Cut != nil {
		names = append(names, "cut")
		steps["cut"] = func() { h.broken(h.tg.Cut(rapid.Int64Range(1, 20_000).Draw(h.r, "cut at"))) }
	}
	steps[rapid.SampledFrom(names).Draw(h.r, "step")]()
}

func (h *history) did(d connector.Delivery, rows []Row) {
	d.Unknown = true
	h.done, h.rows = append(h.done, d), append(h.rows, rows)
}

func (h *history) write() {
	rows := h.drawn()
	d := h.delivery(Schema(), Batch(rows))
	h.says(h.deliver(d), h.take(rows))
	h.did(d, rows)
}

func (h *history) halves() {
	rows := h.drawn()
	at := rapid.IntRange(0, len(rows)).Draw(h.r, "cut in two at")
	parts := [][]Row{rows[:at], rows[at:]}
	for i, d := range h.cut(rows, at) {
		if len(parts[i]) > 0 {
			h.says(h.deliver(d), h.take(parts[i]))
			h.did(d, parts[i])
		}
	}
}

// repeat brings a delivery again, by its token or by its rows.
func (h *history) repeat() {
	if len(h.done) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.done)-1).Draw(h.r, "again")
	d := h.done[i]
	d.ByKey = rapid.Bool().Draw(h.r, "by key")
	h.says(h.deliver(d), d.Rows.NumRows())
}

// restore begins a new life that delivers old rows as its own.
func (h *history) restore() {
	h.lineage[0]++
	h.next = 1
	if len(h.done) == 0 {
		return
	}
	rows := rapid.SampledFrom(h.rows).Draw(h.r, "restored")
	d := h.delivery(Schema(), Batch(rows))
	d.ByKey = rapid.Bool().Draw(h.r, "by key")
	h.says(h.deliver(d), int64(len(rows)))
	h.did(d, rows)
}

// broken writes while the target is broken, perhaps with another sink afterwards.
func (h *history) broken(hook sinktest.Hook) {
	rows := h.drawn()
	d := h.delivery(Schema(), Batch(rows))
	if err := hook.Do(); err != nil {
		h.Fatalf("break the target: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	_, err := h.sink.Write(ctx, d)
	cancel()
	if err != nil && !isOutage(err) {
		h.Fatalf("write to a broken target: want an outage, got %v", err)
	}
	if hook.Undo != nil {
		if err := hook.Undo(); err != nil {
			h.Fatalf("mend the target: %v", err)
		}
	}
	if rapid.Bool().Draw(h.r, "new sink") {
		h.begin(replaceBy)
	}
	d.Unknown = true
	if v := h.deliver(d); len(v.Rejected) > 0 {
		h.Errorf("good rows refused: %+v", v.Rejected)
	}
	h.take(rows)
	h.did(d, rows)
}

// childEnv marks the process that Child makes a writer of.
const childEnv = "HOLDFAST_TABLE_WRITER"

// Child is for the TestMain of a package that runs RunKeyed, before all else. In a process that the
// suite started it delivers for ever to the sink that open makes of the target's Child, and does not
// return.
func Child(open func(args, key []string, replace string) (connector.Sink, error)) {
	from := os.Getenv(childEnv)
	if from == "" {
		return
	}
	n, _ := strconv.ParseUint(from, 10, 64)
	sink, err := open(os.Args[1:], Keys, replaceBy)
	if err == nil {
		err = sink.Prepare(context.Background(), Schema())
	}
	for ; err == nil; n++ {
		var v connector.Verdict
		if v, err = sink.Write(context.Background(), numbered(n)); err == nil && len(v.Rejected) > 0 {
			err = fmt.Errorf("refused: %s", v.Rejected[0].Reason)
		}
		if err == nil {
			fmt.Println("acknowledged", n)
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

const (
	slots = 3  // times that the numbered deliveries go over in turn
	each  = 40 // rows of a numbered delivery
)

// numbered is the delivery with the sequence n: of one time, and of a higher revision than the one
// before of that.
func numbered(n uint64) connector.Delivery {
	return connector.Delivery{Schema: Schema(), Rows: Batch(places(int64(n%slots), int64(n), each)),
		FirstAttempt: time.Now(), Unknown: true,
		Token: record.Token{Job: "weather", First: n, Last: n, Hash: record.Hash{byte(n), byte(n >> 8)}}}
}

var acknowledged = regexp.MustCompile(`acknowledged (\d+)\n`)

// killed ends a writing process at random moments: of each time one revision stands, whole, and none
// that is older than what was acknowledged.
func killed(k *keyed) {
	random := rand.New(rand.NewPCG(testenv.Seed(k.t), 1))
	self, err := os.Executable()
	if err != nil {
		k.Fatalf("%v", err)
	}
	last := uint64(1)
	for range testenv.Count(k.t, 60) {
		p := testenv.Start(k.t, testenv.Command{Path: self, Args: k.tg.Child,
			Env: []string{childEnv + "=" + strconv.FormatUint(last, 10)}})
		p.WaitFor(k.t, "acknowledged", 30*time.Second)
		time.Sleep(time.Duration(random.IntN(30_000)) * time.Microsecond)
		p.Kill()
		if out := p.Output(); strings.Contains(out, "error") {
			k.Fatalf("writer: %s", out)
		}
		all := acknowledged.FindAllStringSubmatch(p.Stdout(), -1)
		last, _ = strconv.ParseUint(all[len(all)-1][1], 10, 64)
		got := strings.Join(k.rows(), "\n")
		if got != after(last) && got != after(last+1) {
			k.Fatalf("after a kill behind delivery %d the table holds\n%s\nwant\n%s\nor the next", last, got,
				after(last))
		}
	}
}

// after are the rows that stand after the deliveries up to last, as texts.
func after(last uint64) string {
	var all []string
	for n := last; n > 0 && n+slots > last; n-- {
		for _, r := range places(int64(n%slots), int64(n), each) {
			all = append(all, text(r.values(Columns)))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
