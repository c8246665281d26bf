package crawl

import (
	"fmt"
	"time"

	"holdfast/base/plural"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Gates: the disk, for the answers that are fetched.
func (j *Job) Gates() []gate.Status { return []gate.Status{j.disk.Status(), j.network.Status()} }

// OpenGate refuses: no canary keeps the work waiting.
func (j *Job) OpenGate(name string) error { return gate.Open(name, j.disk, j.network) }

// Notes says what the books don't.
func (j *Job) Notes() (notes [][2]string) {
	err := j.env.Store.Latest(func(r store.Reader) error {
		c, err := frontier.ReadCounts(r)
		if err != nil {
			return err
		}
		state := "RUNNING"
		short, since := j.room.Short()
		switch {
		case j.ending.Load():
			state = "STOPPING"
		case c.Open() == 0 && c.Queued+c.Waiting > 0:
			state = "FINISHED by its budget"
		case c.Queued+c.Waiting == 0:
			state = "FINISHED"
		case j.control.Load().Draining:
			state = "RUNNING, being drained"
		}
		if short {
			state += fmt.Sprintf(", waiting since %s for room on the disk of %s", since.UTC().Format(time.TimeOnly), j.cfg.Archive.Dir)
		}
		flying, at := j.frontier.Flying(), j.clock.elapsed()
		notes = append([][2]string{{"crawl", fmt.Sprintf("%s, %d %s in flight, at work for %s", state, flying, plural.Noun(flying, "URL"),
			at.Round(time.Second))}}, countsNotes(c)...)
		notes = append(notes, lostNotes(j.found.Lost)...)
		return nil
	})
	if err != nil {
		return [][2]string{{"URLs", "can't be counted: " + err.Error()}}
	}
	return notes
}

// NotesAtRest are the Notes of a crawl that does not run.
func NotesAtRest(r store.Reader) ([][2]string, error) {
	c, err := frontier.ReadCounts(r)
	if err != nil {
		return nil, err
	}
	at, err := elapsed(r)
	if err != nil {
		return nil, err
	}
	lost, err := archive.ReadLost(r)
	return append(append([][2]string{{"crawl", fmt.Sprintf("%s, was at work for %s", stateAtRest(c, at), at.Round(time.Second))}},
		countsNotes(c)...), lostNotes(lost)...), err
}

// stateAtRest is the word of Heritrix for the state of a crawl that does not run.
func stateAtRest(c frontier.Counts, elapsed time.Duration) string {
	switch {
	case c.Known > 0 && c.Queued+c.Waiting == 0:
		return "FINISHED"
	case c.Known > 0 && c.Open() == 0:
		return "FINISHED by its budget"
	case elapsed > 0:
		return "PAUSED"
	}
	return "READY"
}

// lostNotes tells of WARC files that were gone, or of another size, at the start.
func lostNotes(l archive.Lost) [][2]string {
	if l.Files == 0 {
		return nil
	}
	return [][2]string{{"lost", lostText(l)}}
}

func lostText(l archive.Lost) string {
	files := "files are"
	if l.Files == 1 {
		files = "file is"
	}
	return fmt.Sprintf("%d WARC %s not as written: %s. Put back what you did not move away yourself; `holdfast "+
		"crawl lost JOB` has what they had fetched again, or is not told of them any more", l.Files, files, l.First)
}

func countsNotes(c frontier.Counts) [][2]string {
	notes := [][2]string{
		{"URLs", fmt.Sprintf("%d known: %d done, %d queued, %d put off, %d failed, %d left", c.Known, c.Done, c.Queued, c.Waiting, c.Failed, c.Left)},
		{"hosts", fmt.Sprint(c.Hosts)},
	}
	if c.HeldHosts > 0 {
		notes[1][1] += fmt.Sprintf(", %d held by a person", c.HeldHosts)
	}
	if c.ExhaustedHosts > 0 {
		notes[1][1] += fmt.Sprintf(", %d over budget with %s", c.ExhaustedHosts, plural.Of(c.Exhausted, "URL"))
	}
	if c.Refused > 0 {
		notes = append(notes, [2]string{"patterns", fmt.Sprintf("%s left out, of endless series", plural.Of(c.Refused, "link"))})
	}
	return notes
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
