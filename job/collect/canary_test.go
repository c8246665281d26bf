package collect

import (
	"context"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/store/storetest"
)

// counting is a source whose n-th page leads to the cursor n.
type counting struct{ asked []string }

func (c *counting) Fetch(_ context.Context, r connector.Request) (connector.Page, error) {
	c.asked = append(c.asked, string(r.Cursor))
	n, err := strconv.Atoi(string(r.Cursor))
	return connector.Page{Cursor: []byte(strconv.Itoa(n + 1)), More: true}, err
}

func (c *counting) Start(uint64) []byte            { return []byte("0") }
func (c *counting) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }
func (c *counting) Close() error                   { return nil }
func (c *counting) Schema() record.Schema {
	return record.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, "", "")
}

// TestACanaryReadsOn: a canary that was under way when a person opened the gate fetches the page behind the one that the poll
// has read since, though that is not committed yet: rows without a key would be there twice. A page that it has fetched is
// not lost to another canary.
func TestACanaryReadsOn(t *testing.T) {
	src := new(counting)
	in, err := OpenIntake(storetest.Open(t, t.TempDir()), "job", "feed", src.Schema(), src.Traits(), IntakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{src: src, intake: in}
	cursor := src.Start(0)
	for _, step := range []func() error{
		func() error { return j.probeSource(t.Context()) }, // the usual way: the poll takes the page
		nil,
		nil, // the poll goes on, and the page is not committed
		func() error { return j.probeSource(t.Context()) },
		func() error { return j.probeSource(t.Context()) },
		nil,
		nil,
	} {
		if step != nil {
			if err := step(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p, err := j.next(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(string(cursor))
		if got, want := string(p.Cursor), strconv.Itoa(n+1); got != want {
			t.Errorf("behind cursor %s the poll got the page that leads to %s", cursor, got)
		}
		cursor = p.Cursor
	}
	if len(src.asked) != 4 {
		t.Errorf("the source was asked for %q, want each page once", src.asked)
	}
}
