package crawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/journal"
	"holdfast/kernel/store"
)

// Order is what a person asks of a crawl, beside the name of the command.
type Order struct {
	// Seeds are to be added.
	Seeds []string `json:"seeds,omitempty"`
	// Match is a regular expression (RE2) that is found in the URLs that are meant; "" is all of Host.
	Match string `json:"match,omitempty"`
	// Host is one as the report has it, or as a person names it: then those of http and https.
	Host string `json:"host,omitempty"`
	// Forget has deleted URLs be new when they are found again.
	Forget bool `json:"forget,omitempty"`
	// URLs and Bytes are what the crawl may fetch, HostURLs and HostBytes what of each host; 0 is as much as there is, nil is as
	// it was.
	URLs      *uint64 `json:"urls,omitempty"`
	Bytes     *uint64 `json:"bytes,omitempty"`
	HostURLs  *uint64 `json:"host_urls,omitempty"`
	HostBytes *uint64 `json:"host_bytes,omitempty"`
	// AsOthers: Host has no budget of its own any more, which URLs and Bytes are if Host is given with them.
	AsOthers bool `json:"as_others,omitempty"`
	// Set are settings by their keys, as a configuration has them; "" takes back what was set.
	Set map[string]string `json:"set,omitempty"`
	// Fetch has what was in files that are gone fetched again, Accept leaves it at that they are gone.
	Fetch  bool `json:"fetch,omitempty"`
	Accept bool `json:"accept,omitempty"`
}

// Command carries out what a person asked for. args holds an Order in JSON, if the command needs one.
func (j *Job) Command(ctx context.Context, name string, args []string) (string, error) {
	o, err := readOrder(args)
	if err != nil {
		return "", err
	}
	switch name {
	case "try": // somebody resumes it
		return "", j.endDrain(ctx)
	case "add":
		return j.orderSeeds(ctx, o.Seeds)
	case "delete":
		return j.orderDelete(ctx, o)
	case "hold", "unhold":
		return j.orderHold(ctx, o.Host, name == "hold")
	case "budget":
		return j.orderBudget(ctx, o)
	case "set":
		return j.orderSet(ctx, o.Set)
	case "drain":
		return j.orderDrain(ctx)
	case "terminate":
		return j.orderTerminate()
	case "checkpointed":
		return "", j.Checkpointed(ctx)
	case "leases":
		return j.leases()
	case "index":
		return j.orderIndex(ctx)
	case "lost":
		return j.orderLost(o)
	}
	return "", fault.New(fault.Invalid, "a crawl can't %q", name)
}

// readOrder reads what Command is given.
func readOrder(args []string) (o Order, err error) {
	if len(args) > 0 {
		if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
			return o, fault.New(fault.Invalid, "what the crawl is to do can't be read: %w", err)
		}
	}
	return o, nil
}

func (j *Job) orderSeeds(ctx context.Context, seeds []string) (string, error) {
	if len(seeds) == 0 {
		return "", fault.New(fault.Invalid, "there is no seed to add")
	}
	if j.control.Load().Draining {
		return "", fault.WithHint(fault.New(fault.Conflict, "the crawl is being drained"), "`holdfast resume` has it go on as before")
	}
	n := 0
	err := j.errand(ctx, func() (err error) { n, err = j.addSeeds(seeds); return err })
	if err != nil {
		return "", err
	}
	j.env.History.Note("crawl.seeds", "%d of %d seeds are new: %s", n, len(seeds), some(seeds))
	return fmt.Sprintf("%d of %d %s new", n, len(seeds), isOrAre(len(seeds), "seed")), nil
}

func isOrAre(n int, noun string) string {
	if n == 1 {
		return noun + " is"
	}
	return noun + "s are"
}

// spoilt is an error behind which files have what the store does not know of. Whoever writes ends by it: the next start cuts that off.
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
	j.env.History.Note("crawl.deleted", "a person deleted %d %s from the queues: %s", deleted, plural(deleted, "URL"), what)
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

// queuesOf are the queues of a host that are known; "" is one for all.
func (j *Job) queuesOf(host string) (queues []string, err error) {
	if host == "" {
		return []string{""}, nil
	}
	err = j.env.Store.Latest(func(r store.Reader) error {
		queues, err = QueuesOf(r, host)
		return err
	})
	return queues, err
}

// QueuesOf are the queues of a host, as the report has it or as a person names it.
func QueuesOf(r store.Reader, host string) (queues []string, err error) {
	names := []string{host}
	for _, scheme := range []string{"", "http://", "https://"} {
		if u, err := SeedURL(scheme + host); err == nil && (scheme == "" || !strings.Contains(host, "://")) {
			names = append(names, u.QueueKey())
		}
	}
	for i, name := range names {
		_, known, err := frontier.FindHost(r, name)
		if err != nil {
			return nil, err
		}
		if known && indexOf(names, name) == i {
			queues = append(queues, name)
		}
	}
	if len(queues) == 0 {
		return nil, fault.WithHint(fault.New(fault.NotFound, "the crawl knows no host %s", host), "`holdfast crawl report hosts` has them")
	}
	return queues, nil
}

func indexOf(all []string, one string) int {
	for i, s := range all {
		if s == one {
			return i
		}
	}
	return -1
}

func (j *Job) orderHold(_ context.Context, host string, held bool) (string, error) {
	if host == "" {
		return "", fault.New(fault.Invalid, "it is not said which host")
	}
	queues, err := j.queuesOf(host)
	if err != nil {
		return "", err
	}
	for _, q := range queues {
		if err := j.frontier.Hold(q, held); err != nil {
			return "", err
		}
	}
	names := strings.Join(queues, ", ")
	if held {
		j.env.History.Note("crawl.held", "a person has held %s", names)
		return "held: " + names + "; the crawl does not end while URLs wait there", nil
	}
	j.env.History.Note("crawl.unheld", "a person has let %s go on", names)
	return "goes on: " + names, nil
}

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
	text := BudgetText(b)
	if o.URLs == nil && o.Bytes == nil && o.HostURLs == nil && o.HostBytes == nil {
		return text, nil
	}
	if err := j.frontier.SetBudget(ctx, b); err != nil {
		return "", err
	}
	j.env.History.Note("crawl.budget", "a person has set the budget: %s", text)
	return text, nil
}

// orderHostBudget shows or sets the budget that a host has of its own.
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

// BudgetText says a budget in words.
func BudgetText(b frontier.Budget) string {
	return fmt.Sprintf("%s in all, %s of a host", limitsText(b.Crawl), limitsText(b.Host))
}

func limitsText(l frontier.Limits) string {
	urls, bytes := "any number of URLs", "any size"
	if l.URLs > 0 {
		urls = fmt.Sprintf("%d URLs", l.URLs)
	}
	if l.Bytes > 0 {
		bytes = fmt.Sprintf("%d bytes", l.Bytes)
	}
	return urls + " and " + bytes
}

func (j *Job) orderTerminate() (string, error) {
	if j.resting {
		return "", fault.New(fault.Conflict, "the crawl does not run")
	}
	j.ending.Store(true)
	j.env.History.Note("crawl.terminated", "a person ended the crawl")
	j.stop()
	return "it ends with the URLs that are in flight; what is queued stays, and the same command goes on with it", nil
}

func (j *Job) orderDrain(ctx context.Context) (string, error) {
	err := j.errand(ctx, func() error { return j.change(func(c *control) error { c.Draining = true; return nil }) })
	if err != nil {
		return "", err
	}
	j.env.History.Note("crawl.draining", "a person has the crawl drained: no new URL is queued any more")
	select {
	case j.seeds.news <- struct{}{}: // if it waits for seeds it has ended
	default:
	}
	return "no new URL is queued any more; it ends when the queues are empty, or goes on as before with `holdfast resume`", nil
}

// endDrain has new URLs be queued again.
func (j *Job) endDrain(ctx context.Context) error {
	if !j.control.Load().Draining {
		return nil
	}
	err := j.errand(ctx, func() error { return j.change(func(c *control) error { c.Draining = false; return nil }) })
	if err == nil {
		j.env.History.Note("crawl.drained", "the crawl is not drained any more: new URLs are queued again")
	}
	return err
}

func (j *Job) orderIndex(ctx context.Context) (string, error) {
	s, err := j.index.Write(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("index.cdxj has %d captures", s.Captures)
	if s.Missing > 0 {
		text += fmt.Sprintf("; %d have no line: their WARC file is damaged, or was moved away", s.Missing)
	}
	return text, nil
}

// leases are the URLs in flight, in JSON.
func (j *Job) leases() (string, error) {
	all := []Flight{}
	for _, l := range j.frontier.Leases() {
		all = append(all, Flight{URL: l.URL, Host: l.Queue, Hops: l.Hops, Via: l.Via, Attempts: l.Attempts, Since: l.Since})
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// Flight is a URL in flight.
type Flight struct {
	URL      string    `json:"url"`
	Host     string    `json:"host"`
	Hops     string    `json:"hops,omitempty"`
	Via      string    `json:"via,omitempty"`
	Attempts int       `json:"attempts,omitempty"` // that failed before
	Since    time.Time `json:"since"`
}

// some are the first of many words, for people.
func some(words []string) string {
	const most = 3
	text := strings.Join(words[:min(most, len(words))], ", ")
	if len(words) > most {
		text += " and more"
	}
	return text
}

// isSpoilt reports whether the one who writes has to end.
func isSpoilt(err error) bool {
	_, ok := errors.AsType[spoilt](err)
	return ok
}
