package balance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Cause says why keys are missing.
type Cause string

// The causes of gaps.
const (
	Hole     Cause = "hole"     // the source numbers its rows and left these out
	Cut      Cause = "cut"      // the source's answer was cut short
	Damage   Cause = "damage"   // the rows were here and can't be read any more
	Overload Cause = "overload" // the rows came and could not be kept
	Expired  Cause = "expired"  // a sink's backlog limit let them go
)

// GapState is where a gap is in its life.
type GapState string

// The states of a gap. Open gaps are tried again; a settled one is history.
const (
	GapFound   GapState = "found"   // seen, not yet asked for
	GapFilling GapState = "filling" // asked for at least once
	GapFilled  GapState = "filled"  // every key has come
	GapAbsent  GapState = "absent"  // the source does not have what is still missing
	GapLost    GapState = "lost"    // it can't be asked for again
)

// Open reports whether the gap is still to be filled.
func (s GapState) Open() bool { return s == GapFound || s == GapFilling }

// Gap is a span of keys of a source in which some are missing. Which ones, the job's sets of known and
// absent keys say; Missing is their number when the gap was last looked at.
type Gap struct {
	Source  uint32    `json:"-"`
	From    uint64    `json:"from"`
	To      uint64    `json:"to"`
	Missing uint64    `json:"missing"`
	Filled  uint64    `json:"filled"`
	Absent  uint64    `json:"absent"`
	Cause   Cause     `json:"cause"`
	State   GapState  `json:"state"`
	Found   time.Time `json:"found"`
	Looks   int       `json:"looks"`           // complete answers of the source that spanned the gap
	Next    time.Time `json:"next"`            // when it may be asked for again
	Asked   uint64    `json:"asked,omitempty"` // up to where the look under way has come
	Note    string    `json:"note,omitempty"`
	Sink    string    `json:"sink,omitempty"` // for what only one sink lost
	SinkID  uint32    `json:"-"`              // its id
}

// GapTotals counts gaps and keys, kept with them.
type GapTotals struct {
	Open    int64 `json:"open"`    // open gaps
	Missing int64 `json:"missing"` // keys missing in open gaps
	Filled  int64 `json:"filled"`  // keys that came later
	Absent  int64 `json:"absent"`  // keys that the source does not have
	Lost    int64 `json:"lost"`    // keys lost to damage, overload or expiry
	Settled int64 `json:"settled"` // gaps kept as history
}

// gapKey is the key of a gap. What only one sink lost is a gap of that sink's own; 0 is all of them.
func gapKey(source uint32, from uint64, sink uint32) store.Key {
	return store.Gaps.K().U32(source).U64(from).U32(sink)
}

// maxSettled is how many settled gaps are kept as history for each source; the totals and the set of
// absent keys remember the rest.
const maxSettled = 10_000

const gapKeyLen = 1 + 4 + 8 + 4

// PutGap writes a gap, new or changed, and keeps the totals. Two gaps of a source (or of one sink) that
// begin at the same key are one: the later cause and the wider span win. What was lost twice over adds
// up, because a loss is told once and never looked at again: rows without keys all begin at 0.
func PutGap(tx *store.Tx, g Gap) error {
	key := gapKey(g.Source, g.From, g.SinkID)
	old, had, err := getGap(tx, key)
	if err != nil {
		return err
	}
	twice := had && old.State == GapLost && g.State == GapLost
	if had && (old.State.Open() || twice) {
		g.To = max(g.To, old.To)
	}
	if twice {
		g.Missing, g.Filled, g.Absent = g.Missing+old.Missing, g.Filled+old.Filled, g.Absent+old.Absent
	}
	if had && old.State == GapFilled && g.State == GapLost {
		g.Filled += old.Filled // they came again, and are lost again in part: the totals know of both
	}
	return writeGap(tx, key, g, old, had)
}

// writeGap writes a gap in the place of an old one, and moves the totals.
func writeGap(tx *store.Tx, key store.Key, g, old Gap, had bool) error {
	d := g.totals()
	if had {
		o := old.totals()
		d = GapTotals{d.Open - o.Open, d.Missing - o.Missing, d.Filled - o.Filled,
			d.Absent - o.Absent, d.Lost - o.Lost, d.Settled - o.Settled}
	}
	b, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("write gap: %w", err)
	}
	tx.Set(key, b)
	if err := add(tx, lawGaps, g.Source, []int64{d.Open, d.Missing, d.Filled, d.Absent, d.Lost,
		d.Settled}); err != nil {
		return err
	}
	return pruneGaps(tx, g.Source)
}

// Recover says that rows which a sink had lost, and which were counted as that, are to be delivered to it all the
// same: its gap that begins at from has so many less. What the gap does not tell of any more, because it is gone
// from the history, leaves the totals alone.
func Recover(tx *store.Tx, source uint32, from uint64, sink uint32, rows uint64) error {
	key := gapKey(source, from, sink)
	old, had, err := getGap(tx, key)
	if err != nil {
		return err
	}
	if had && old.State == GapLost {
		g := old
		came := min(rows, g.Missing)
		if g.Missing, g.Filled = g.Missing-came, g.Filled+came; g.Missing == 0 {
			g.State = GapFilled
		}
		rows -= came
		if err := writeGap(tx, key, g, old, true); err != nil {
			return err
		}
	}
	t, err := ReadGapTotals(tx, source)
	if err != nil {
		return err
	}
	pruned := min(int64(rows), t.Lost)
	return add(tx, lawGaps, source, []int64{0, 0, pruned, 0, -pruned, 0})
}

func (g Gap) totals() GapTotals {
	t := GapTotals{Filled: int64(g.Filled), Absent: int64(g.Absent)}
	switch {
	case g.State.Open():
		t.Open, t.Missing = 1, int64(g.Missing)
	case g.State == GapLost:
		t.Lost, t.Settled = int64(g.Missing), 1
	default:
		t.Settled = 1
	}
	return t
}

// pruneGaps lets the settled gap with the lowest keys go when there are too many. Its totals stay: what was lost
// is no less so for being forgotten one by one, and Recover takes from them.
func pruneGaps(tx *store.Tx, source uint32) error {
	t, err := ReadGapTotals(tx, source)
	if err != nil || t.Settled <= maxSettled {
		return err
	}
	from := store.Gaps.K().U32(source)
	seq, fail := tx.Scan(from, from.End())
	for k, v := range seq {
		var g Gap
		if json.Unmarshal(v, &g) == nil && g.State.Open() {
			continue
		}
		tx.Delete(append(store.Key(nil), k...))
		return add(tx, lawGaps, source, []int64{0, 0, 0, 0, 0, -1})
	}
	return fail()
}

// ReadGapTotals returns the totals of a source.
func ReadGapTotals(r store.Reader, source uint32) (GapTotals, error) {
	v, err := read(r, lawGaps, source, 6)
	if err != nil {
		return GapTotals{}, err
	}
	return GapTotals{v[0], v[1], v[2], v[3], v[4], v[5]}, nil
}

func getGap(r store.Reader, key store.Key) (g Gap, ok bool, err error) {
	v, ok, err := r.Get(key)
	if err != nil || !ok {
		return g, ok, err
	}
	g, err = decodeGap(key, v)
	return g, true, err
}

func decodeGap(key, v []byte) (g Gap, err error) {
	if err := json.Unmarshal(v, &g); err != nil {
		return g, fault.New(fault.Corrupt, "read gap %x: %w", key, err)
	}
	if len(key) != gapKeyLen {
		return g, fault.New(fault.Corrupt, "gap has a key of %d bytes", len(key))
	}
	g.Source, g.SinkID = binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint32(key[13:])
	return g, nil
}

// GapPlace is a place in the order of gaps: behind it are those of a later page.
type GapPlace struct {
	Source uint32
	From   uint64
	Sink   uint32
}

// Place is that of a gap.
func (g Gap) Place() GapPlace { return GapPlace{g.Source, g.From, g.SinkID} }

// String writes a place for people to give back.
func (p GapPlace) String() string { return fmt.Sprintf("%d-%d-%d", p.Source, p.From, p.Sink) }

// ParseGapPlace reads what String wrote; "" is the beginning.
func ParseGapPlace(s string) (p GapPlace, err error) {
	if s == "" {
		return p, nil
	}
	if _, err := fmt.Sscanf(s, "%d-%d-%d", &p.Source, &p.From, &p.Sink); err != nil || p.String() != s {
		return GapPlace{}, fault.New(fault.Invalid, "%.60q is no place in a list of gaps", s)
	}
	return p, nil
}

// ListGaps returns gaps of a source in the order of their keys, at most max; open only if asked.
func ListGaps(r store.Reader, source uint32, openOnly bool, max int) ([]Gap, error) {
	return listGaps(r, store.Gaps.K().U32(source), source, openOnly, max)
}

// GapsBehind is ListGaps behind a place.
func GapsBehind(r store.Reader, p GapPlace, openOnly bool, max int) ([]Gap, error) {
	return listGaps(r, append(gapKey(p.Source, p.From, p.Sink), 0), p.Source, openOnly, max)
}

func listGaps(r store.Reader, begin store.Key, source uint32, openOnly bool, max int) ([]Gap, error) {
	var out []Gap
	seq, fail := r.Scan(begin, store.Gaps.K().U32(source).End())
	for k, v := range seq {
		g, err := decodeGap(k, v)
		if err != nil {
			return nil, err
		}
		if openOnly && !g.State.Open() {
			continue
		}
		if out = append(out, g); len(out) == max {
			break
		}
	}
	return out, fail()
}

// ReadGap returns the gap of a source that begins at from.
func ReadGap(r store.Reader, source uint32, from uint64) (Gap, bool, error) {
	return getGap(r, gapKey(source, from, 0))
}
