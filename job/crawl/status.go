package crawl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Gates: the disk, for the answers that are fetched.
func (j *Job) Gates() []gate.Status { return []gate.Status{j.disk.Status()} }

// Notes says what the books don't.
func (j *Job) Notes() [][2]string {
	var c frontier.Counts
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		c, err = frontier.ReadCounts(r)
		return err
	})
	if err != nil {
		return [][2]string{{"URLs", "can't be counted: " + err.Error()}}
	}
	state := "RUNNING"
	switch {
	case j.ending.Load():
		state = "STOPPING"
	case c.Queued+c.Waiting == 0:
		state = "FINISHED"
	}
	flying := j.frontier.Flying()
	return [][2]string{
		{"crawl", fmt.Sprintf("%s, %d %s in flight, at work for %s", state, flying, plural(flying, "URL"),
			j.clock.elapsed().Round(time.Second))},
		{"URLs", fmt.Sprintf("%d known: %d done, %d queued, %d put off, %d failed, %d left", c.Known, c.Done, c.Queued, c.Waiting, c.Failed, c.Left)},
		{"hosts", fmt.Sprint(c.Hosts)},
	}
}

// Quotas: there are none.
func (j *Job) Quotas() []engine.Quota { return nil }

// Promises: each URL that is done is in one WARC file, once.
func (j *Job) Promises() map[string]string { return map[string]string{"warc": "exactly once"} }

// Tasks are the URLs.
func (j *Job) Tasks(r store.Reader) (t engine.Tasks, err error) {
	c, err := frontier.ReadCounts(r)
	return engine.Tasks{Open: int64(c.Queued + c.Waiting), Taken: int64(c.Known), Bytes: map[string]int64{"warc": int64(c.Bytes)}}, err
}

// Command carries out what a person asked for.
func (j *Job) Command(_ context.Context, name string, args []string) (string, error) {
	switch name {
	case "try":
		return "", nil
	case "seeds":
		n, err := j.addSeeds(args)
		if err != nil {
			return "", err
		}
		j.env.History.Note("crawl.seeds", "%d of %d seeds are new: %s", n, len(args), some(args))
		return fmt.Sprintf("%d of %d seeds are new", n, len(args)), nil
	case "terminate":
		j.ending.Store(true)
		j.env.History.Note("crawl.terminated", "a person ended the crawl")
		j.stop()
		return "it ends with the URLs that are in flight; what is queued stays, and the same command goes on with it", nil
	}
	return "", fault.New(fault.Invalid, "a crawl can't %q", name)
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
