package crawl

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// Order is what a person asks of a crawl, beside the name of the command.
type Order struct {
	// Seeds are to be added.
	Seeds []string `json:"seeds,omitempty"`
	// Match is a regular expression (RE2) that is found in the URLs that are meant; "" is all of Host.
	Match string `json:"match,omitempty"`
	// Host is a host as the report names it, or as a person does: then it stands for both http and https.
	Host string `json:"host,omitempty"`
	// Forget makes deleted URLs count as new when they are found again.
	Forget bool `json:"forget,omitempty"`
	// URLs and Bytes are what the crawl may fetch, HostURLs and HostBytes what of each host; 0 is as much as there is, nil is as
	// it was.
	URLs      *uint64 `json:"urls,omitempty"`
	Bytes     *uint64 `json:"bytes,omitempty"`
	HostURLs  *uint64 `json:"host_urls,omitempty"`
	HostBytes *uint64 `json:"host_bytes,omitempty"`
	// AsOthers: Host has no budget of its own any more. (Given URLs or Bytes together with Host set such a budget.)
	AsOthers bool `json:"as_others,omitempty"`
	// Set are settings by their keys, as a configuration has them; "" takes back what was set.
	Set map[string]string `json:"set,omitempty"`
	// Fetch queues again what was in files that are gone; Accept accepts that it is lost.
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
	j.env.History.Note("crawl.seeds", "%d of %d %s new: %s", n, len(seeds), isOrAre(len(seeds), "seed"), some(seeds))
	return fmt.Sprintf("%d of %d %s new", n, len(seeds), isOrAre(len(seeds), "seed")), nil
}

func isOrAre(n int, noun string) string {
	if n == 1 {
		return noun + " is"
	}
	return noun + "s are"
}

// queuesOf returns the queues of a host that are known; for "" it returns one that stands for all.
func (j *Job) queuesOf(host string) (queues []string, err error) {
	if host == "" {
		return []string{""}, nil
	}
	err = j.env.Store.Latest(func(r store.Reader) error {
		queues, err = queuesOf(r, host)
		return err
	})
	return queues, err
}

// queuesOf returns the queues of a host, as the report names it or as a person does.
func queuesOf(r store.Reader, host string) (queues []string, err error) {
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

// endDrain lets new URLs be queued again.
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
	text := fmt.Sprintf("index.cdxj has %s", plural.Of(s.Captures, "capture"))
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

// some joins the first of many words, for people.
func some(words []string) string {
	const most = 3
	text := strings.Join(words[:min(most, len(words))], ", ")
	if len(words) > most {
		text += " and more"
	}
	return text
}
