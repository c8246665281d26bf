package crawl

import (
	"context"
	"fmt"
	"strings"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

func (j *Job) orderBudget(ctx context.Context, o Order) (string, error) {
	if o.Host != "" {
		return j.orderHostBudget(o)
	}
	if o.AsOthers {
		return "", fault.New(fault.Invalid, "it is not said which host")
	}
	var b frontier.Budget
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		b, err = frontier.ReadBudget(r)
		return err
	})
	if err != nil {
		return "", err
	}
	put(&b.Crawl.URLs, o.URLs)
	put(&b.Crawl.Bytes, o.Bytes)
	put(&b.Host.URLs, o.HostURLs)
	put(&b.Host.Bytes, o.HostBytes)
	text := budgetText(b)
	if o.URLs == nil && o.Bytes == nil && o.HostURLs == nil && o.HostBytes == nil {
		return text, nil
	}
	if err := j.frontier.SetBudget(ctx, b); err != nil {
		return "", err
	}
	j.env.History.Note("crawl.budget", "a person has set the budget: %s", text)
	return text, nil
}

// orderHostBudget shows or sets the budget of its own that a host has.
func (j *Job) orderHostBudget(o Order) (string, error) {
	if o.HostURLs != nil || o.HostBytes != nil {
		return "", fault.WithHint(fault.New(fault.Invalid, "host_urls and host_bytes are for every host"), "of one host they are urls and bytes")
	}
	queues, err := j.queuesOf(o.Host)
	if err != nil {
		return "", err
	}
	sets := o.URLs != nil || o.Bytes != nil || o.AsOthers
	var words []string
	for _, queue := range queues {
		own, err := j.ownBudget(queue)
		if err != nil {
			return "", err
		}
		if o.AsOthers {
			own = nil
		} else if sets {
			if own == nil {
				own = &frontier.Limits{}
			}
			put(&own.URLs, o.URLs)
			put(&own.Bytes, o.Bytes)
		}
		if sets {
			if err := j.frontier.SetHostBudget(queue, own); err != nil {
				return "", err
			}
		}
		text := queue + " has that of every host"
		if own != nil {
			text = queue + " has " + limitsText(*own)
		}
		words = append(words, text)
	}
	text := strings.Join(words, "; ")
	if sets {
		j.env.History.Note("crawl.budget", "a person has set the budget of a host: %s", text)
	}
	return text, nil
}

func (j *Job) ownBudget(queue string) (own *frontier.Limits, err error) {
	err = j.env.Store.Latest(func(r store.Reader) error {
		h, _, err := frontier.FindHost(r, queue)
		own = h.Budget
		return err
	})
	return own, err
}

// budgetText says a budget in words.
func budgetText(b frontier.Budget) string {
	return fmt.Sprintf("%s in all, %s of a host", limitsText(b.Crawl), limitsText(b.Host))
}

func limitsText(l frontier.Limits) string {
	urls, bytes := "any number of URLs", "any size"
	if l.URLs > 0 {
		urls = plural.Of(l.URLs, "URL")
	}
	if l.Bytes > 0 {
		bytes = fmt.Sprintf("%d bytes", l.Bytes)
	}
	return urls + " and " + bytes
}
