package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// What we take for one partition is one partition to the server, in every zone and over changes to
// and from summer time.
func TestPartitionsAreTheServers(t *testing.T) {
	ch := testenv.ClickHouse(t)
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland",
		"Asia/Kolkata", "Australia/Lord_Howe"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatalf("load zone: %v", err)
		}
		for _, f := range []string{"toYYYYMM", "toYYYYMMDD", "toDate", "toMonday", "toStartOfMonth",
			"toStartOfDay"} {
			p := partitioning{expr: f + "(time)"}
			p.understand("time", loc)
			if !p.known || p.unit != f {
				t.Fatalf("%s is not understood", p.expr)
			}
			var times []string
			var spans []span
			for range 300 {
				at := r.Int64N(1<<31 - 86400*365*3)
				s := p.of(at + 86400*365*2)
				spans = append(spans, s)
				for _, x := range []int64{s.lo, s.hi - 1, s.lo - 1, s.hi} {
					times = append(times, fmt.Sprint(x))
				}
			}
			// toDateTime has no zone of its own in 18.16, but the functions take one.
			arg := fmt.Sprintf("(toDateTime(t), '%s')", zone)
			if f == "toMonday" || f == "toStartOfMonth" {
				arg = fmt.Sprintf("(toDate(toDateTime(t), '%s'))", zone)
			}
			out := ch.Query(t, "SELECT toString("+f+arg+") FROM (SELECT arrayJoin(["+
				strings.Join(times, ",")+"]) AS t)")
			got := strings.Split(out, "\n")
			for i, s := range spans {
				lo, hi, before, after := got[4*i], got[4*i+1], got[4*i+2], got[4*i+3]
				if lo != hi || before == lo || after == lo {
					t.Fatalf("%s in %s: %s is from %d to %d, the server says %s, %s, before %s, after %s",
						f, zone, s.name, s.lo, s.hi, lo, hi, before, after)
				}
			}
		}
	}
}

func TestPartitionsNotUnderstood(t *testing.T) {
	for _, expr := range []string{"toYYYYMM(other)", "(toYear(time), band)", "intDiv(id, 1000000)",
		"toYYYYMM(time + 3600)", "band", "toYYYYMM(time), band"} {
		p := partitioning{expr: expr}
		if p.understand("time", time.UTC); p.known {
			t.Errorf("%s is taken for known", expr)
		}
	}
	for _, expr := range []string{"", "tuple()"} {
		p := partitioning{expr: expr}
		if p.understand("time", nil); !p.known || p.unit != "" {
			t.Errorf("%q is not taken for one partition", expr)
		}
	}
	p := partitioning{expr: "toYYYYMM(time)"}
	if p.understand("time", nil); p.known {
		t.Error("an unknown zone is taken for known")
	}
}
