package crawl

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/journal"
)

// spoilt is an error after which files have content that the store does not know. The goroutine that writes ends with it; the
// next start cuts that content off.
type spoilt struct{ error }

func (s spoilt) Unwrap() error { return s.error }

func (j *Job) orderDelete(ctx context.Context, o Order) (string, error) {
	d := frontier.Deletion{Forget: o.Forget, Commit: func(gone []frontier.QueuedURL, remove func(*frontier.Batch) error) error {
		return j.errand(ctx, func() error { return j.delete(gone, remove) })
	}}
	if o.Match == "" && o.Host == "" {
		return "", fault.WithHint(fault.New(fault.Invalid, "it is not said which URLs are to be deleted"), "a pattern of . is all")
	}
	if o.Match != "" {
		re, err := regexp.Compile(o.Match)
		if err != nil {
			return "", fault.New(fault.Invalid, "match: %w", err)
		}
		d.Match = re.MatchString
	}
	queues, err := j.queuesOf(o.Host)
	if err != nil {
		return "", err
	}
	deleted := 0
	for _, d.Queue = range queues {
		n, err := j.frontier.Delete(ctx, d)
		deleted += n
		if err != nil {
			return "", fmt.Errorf("%d %s deleted, then: %w", deleted, isOrAre(deleted, "URL"), err)
		}
	}
	what := strings.TrimSpace(o.Host + " " + o.Match)
	j.env.History.Note("crawl.deleted", "a person deleted %d %s from the queues: %s", deleted, plural.Noun(deleted, "URL"), what)
	return fmt.Sprintf("%d %s deleted", deleted, isOrAre(deleted, "URL")), nil
}

// delete deletes URLs of the frontier. crawl.log and the recover journal tell of each, as Heritrix has it.
func (j *Job) delete(gone []frontier.QueuedURL, remove func(*frontier.Batch) error) error {
	for _, u := range gone {
		l := logLine{at: time.Now(), status: frontier.StatusDeleted, size: -1, url: u.URL, hops: u.Hops, via: u.Via, source: u.Source}
		j.logs.write(crawlLog, l.append)
	}
	err := j.commit(func(w *writing) error {
		if err := remove(w.batch); err != nil {
			return err
		}
		for _, u := range gone {
			if err := w.tell(journal.Disregarded, u.Item); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return spoilt{err}
	}
	return nil
}

// isSpoilt reports whether the goroutine that writes has to end because of an error.
func isSpoilt(err error) bool {
	_, ok := errors.AsType[spoilt](err)
	return ok
}
