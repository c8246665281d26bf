package connector

import (
	"context"

	"holdfast/base/fault"
)

// pagesAhead is how many pages may wait to be taken, beside the one that is fetched meanwhile. One lets a slow commit and
// a slow answer make up for each other.
const pagesAhead = 1

// ReadAhead takes pages one after the other, and has the next ones fetched meanwhile. fetch, which no two goroutines are
// in at a time, says whether there are more. It returns when the last page is taken, at the first error, and with the
// error of ctx if that ends; fetch has returned then. A panic in fetch is an error.
func ReadAhead(ctx context.Context, fetch func(ctx context.Context) (p Page, more bool, err error), take func(Page) error) error {
	type fetched struct {
		page Page
		err  error
	}
	ctx, stop := context.WithCancel(ctx)
	pages := make(chan fetched, pagesAhead)
	go func() { // waited for below: it closes pages
		defer close(pages)
		for more := true; more; {
			var f fetched
			f.err = fault.Catch(func() (err error) {
				f.page, more, err = fetch(ctx)
				return err
			})
			more = more && f.err == nil
			select {
			case pages <- f:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		stop()
		for range pages {
		}
	}()
	for f := range pages {
		if f.err != nil {
			return f.err
		}
		if err := take(f.page); err != nil {
			return err
		}
	}
	return ctx.Err()
}
