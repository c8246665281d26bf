package crawl

import (
	"encoding/json"
	"io"
	"time"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/index"
	"holdfast/kernel/store"
)

// original is the first capture of a payload.
type original struct {
	URL  string    `json:"url"`
	Date time.Time `json:"date"`
}

// originalKey is the key of the first capture of a payload, by its digest.
func originalKey(d warc.Digest) store.Key { return store.Key{byte(store.Job), 'D'}.Str(string(d)) }

// revisits makes a revisit of an answer whose payload is archived already: only its head is kept, and where the payload is.
func (j *Job) revisits(c *capture, m *warc.Message) error {
	r := c.records[0]
	if c.line.size <= 0 || r.Truncated != "" {
		return nil
	}
	var first original
	known := false
	err := j.env.Store.Latest(func(rd store.Reader) (err error) {
		known, err = rd.Look(originalKey(r.Payload.SHA1), func(v []byte) error {
			if err := json.Unmarshal(v, &first); err != nil {
				return fault.New(fault.Corrupt, "what is known of payload %s is %q: %w", r.Payload.SHA1, v, err)
			}
			return nil
		})
		return err
	})
	if err == nil && !known && j.earlier != nil {
		var was index.Capture
		was, known, err = j.earlier.First(r.TargetURI, r.Payload.SHA1)
		first = original{was.URL, was.Time}
	}
	if err != nil || !known {
		return err
	}
	r.Type, r.Profile, r.RefersToURI, r.RefersToDate = warc.Revisit, warc.IdenticalDigest, first.URL, first.Date
	r.Content, r.Length, r.Block = io.NewSectionReader(c.x.Received, 0, m.Head), m.Head, warc.Digests{}
	c.line.notes = append(c.line.notes, "duplicate:digest")
	return nil
}

// remembers has the payload of an answer known from now on, if it is the first one.
func (c *capture) remembers(tx *store.Tx) error {
	if len(c.records) == 0 || c.line.size <= 0 {
		return nil
	}
	r := c.records[0]
	if r.Type != warc.Response || r.Truncated != "" {
		return nil
	}
	k := originalKey(r.Payload.SHA1)
	known, err := tx.Look(k, func([]byte) error { return nil })
	if err != nil || known { // another one of those that are written down together
		return err
	}
	b, err := json.Marshal(original{r.TargetURI, r.Date})
	if err == nil {
		tx.Set(k, b)
	}
	return err
}
