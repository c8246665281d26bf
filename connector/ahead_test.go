package connector

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
)

// A page is fetched while the one before is taken: three that take a second each way need four and not six.
func TestReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, n, taken := time.Now(), 0, ""
		err := ReadAhead(t.Context(), func(context.Context) (Page, bool, error) {
			time.Sleep(time.Second)
			n++
			return Page{Cursor: []byte{'0' + byte(n)}}, n < 3, nil
		}, func(p Page) error {
			time.Sleep(time.Second)
			taken += string(p.Cursor)
			return nil
		})
		if err != nil || taken != "123" || time.Since(begun) != 4*time.Second {
			t.Errorf("got %v, %q after %v, want 123 after 4s", err, taken, time.Since(begun))
		}
	})
}

// Whatever ends it, fetch has returned by then.
func TestReadAheadEnds(t *testing.T) {
	full := errors.New("full")
	for name, c := range map[string]struct {
		fetch error
		bug   bool
		take  error
	}{"an error of fetch": {fetch: full}, "a panic": {bug: true}, "an error of take": {take: full}, "the context": {}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			fetching := 0
			err := ReadAhead(ctx, func(ctx context.Context) (Page, bool, error) {
				fetching++
				defer func() { fetching-- }()
				if c.bug {
					panic("a bug")
				}
				return Page{}, true, errors.Join(c.fetch, Sleep(ctx, time.Second))
			}, func(Page) error { return c.take })
			bug, _ := errors.AsType[*fault.Panic](err)
			switch {
			case fetching != 0:
				t.Errorf("%s: fetch has not returned", name)
			case (bug != nil) != c.bug, (c.fetch != nil || c.take != nil) != errors.Is(err, full):
				t.Errorf("%s: got %v", name, err)
			case name == "the context" && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
}
