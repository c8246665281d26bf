package spot

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// timedSpots are spots of the feed; those of a row have one time.
func timedSpots(time int64, ids ...uint64) string {
	var out []string
	for _, id := range ids {
		out = append(out, strings.Replace(numbered(id), "1548761280", fmt.Sprint(time), 1))
	}
	return strings.Join(out, ",")
}

func upTo(from, to uint64) (ids []uint64) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

const noon = 1_548_763_200

func TestFewIdsFarAboveTheirPage(t *testing.T) {
	page := upTo(6_000_001, 6_000_100)
	for name, c := range map[string]struct {
		after   uint64
		ids     []uint64
		far     int
		highest uint64
	}{
		"one, plausible":           {0, append(slices.Clone(page), 806_000_000), 1, 6_000_100},
		"one, a bit away":          {6_000_000, append(slices.Clone(page), 6_200_101), 1, 6_000_100},
		"one, still near":          {6_000_000, append(slices.Clone(page), 6_100_100), 0, 6_100_100},
		"first of the page":        {6_000_000, append([]uint64{806_000_000}, page...), 1, 6_000_100},
		"beside one":               {6_000_000, []uint64{6_000_001, 806_000_000}, 1, 6_000_001},
		"one of two, nothing else": {0, []uint64{6_000_001, 806_000_000}, 1, 6_000_001},
		"alone":                    {6_000_000, []uint64{806_000_000}, 1, 0},
		"two in two hundred":       {1, append(upTo(6_000_001, 6_000_198), 7_000_000, 806_000_000), 2, 6_000_198},
		"two in a hundred":         {1, append(slices.Clone(page[:98]), 7_000_000, 7_000_001), 0, 7_000_001},
		"all of them":              {1, page, 0, 6_000_100},
		"all of two":               {1, page[:2], 0, 6_000_002},
		"the first of all":         {0, page[:1], 0, 6_000_001},
	} {
		r := parse(t, "["+timedSpots(noon, c.ids...)+"]")
		if err := r.RejectFar(c.after, Strays{}); err != nil {
			t.Fatal(err)
		}
		if len(r.Rejected) != c.far || r.Max != c.highest ||
			int(r.Rows.NumRows()) != len(c.ids)-c.far {
			t.Errorf("%s: got %d rejects, %d rows, highest %d; want %d, %d, %d", name, len(r.Rejected),
				r.Rows.NumRows(), r.Max, c.far, len(c.ids)-c.far, c.highest)
		}
		for _, rej := range r.Rejected {
			if !strings.Contains(rej.Reason, "out of reach of its neighbours") {
				t.Errorf("%s: got reason %q", name, rej.Reason)
			}
		}
	}
}

// A spot that is no row moves the cursor no further than one that is.
func TestBadSpotWithAnIdFarAbove(t *testing.T) {
	bad := strings.Replace(numbered(806_000_000), `"dB":"-12"`, `"dB":"999"`, 1)
	r := parse(t, "["+timedSpots(noon, upTo(6_000_001, 6_000_100)...)+","+bad+"]")
	if err := r.RejectFar(1, Strays{}); err != nil || r.Max != 6_000_100 || len(r.Rejected) != 1 {
		t.Errorf("got %v, highest %d, %d rejects", err, r.Max, len(r.Rejected))
	}
}

// The stray id comes again with each page, at last alone, until the feed's own ids are there.
func TestStrayIdComesAgain(t *testing.T) {
	strays := Strays{}
	for i, c := range []struct {
		after   uint64
		ids     []uint64
		highest uint64
	}{
		{6_000_000, append(upTo(6_000_001, 6_000_100), 7_000_000), 6_000_100},
		{6_000_100, []uint64{7_000_000}, 0},
		{6_000_100, []uint64{6_000_101, 7_000_000}, 6_000_101},
		{6_950_000, append(upTo(6_950_001, 6_950_003), 7_000_000), 7_000_000},
	} {
		r := parse(t, "["+timedSpots(noon, c.ids...)+"]")
		if err := r.RejectFar(c.after, strays); err != nil || r.Max != c.highest {
			t.Errorf("page %d: got %v, highest %d, want %d", i, err, r.Max, c.highest)
		}
	}
}

// Whatever an honest feed sends in two pages, busy or almost silent, no spot of it is rejected: its
// ids grow with time and no faster than the feed numbers.
func TestHonestPagesAreNeverRejected(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		id, at := 1+rnd.Uint64N(9_000_000_000), int64(noon)
		after, strays := id-rnd.Uint64N(min(id, 400_000_000)), Strays{}
		for range 2 {
			var all []string
			for range 1 + rnd.IntN(400) {
				pause := int64(0)
				switch rnd.IntN(20) {
				case 0:
					pause = rnd.Int64N(12 * 3600)
				case 1, 2, 3:
					pause = 120
				}
				at += pause
				id += 1 + rnd.Uint64N(uint64(pause)*100+200)
				all = append(all, timedSpots(at, id))
			}
			if len(all) == 1 {
				after = id - 1 // alone it may have been away for days only
			}
			r := parse(t, "["+strings.Join(all, ",")+"]")
			if err := r.RejectFar(after, strays); err != nil || len(r.Rejected) > 0 || r.Max != id {
				t.Fatalf("seed %d: got %v, %d rejects, highest %d, want %d", seed, err, len(r.Rejected),
					r.Max, id)
			}
			after = id
		}
	}
}
