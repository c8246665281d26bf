package crawl

import (
	"encoding/json"
	"io"
	"time"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
	"holdfast/kernel/store"
)

// original is the first capture of a payload among those whose record is there.
type original struct {
	URL  string    `json:"url"`
	Date time.Time `json:"date"`
	File string    `json:"file,omitempty"` // that has its record; "" in stores that did not keep it
	End  int64     `json:"end,omitempty"`  // where that ends
}

var originalsPrefix = store.Key{byte(store.Job), 'D'}

// originalKey is the key of the first capture of a payload, by its digest.
func originalKey(d warc.Digest) store.Key { return originalsPrefix.Str(string(d)) }

// originals calls each for the first capture of each payload.
func originals(r store.Reader, each func(warc.Digest, original)) error {
	entries, failed := r.Scan(originalsPrefix, originalsPrefix.End())
	for k, v := range entries {
		d := warc.Digest(k[len(originalsPrefix):])
		first, err := decodeOriginal(d, v)
		if err != nil {
			return err
		}
		each(d, first)
	}
	return failed()
}

// revisits makes a revisit of an answer whose payload is archived already: only its head is kept, and where the payload is.
func (j *Job) revisits(c *capture, m *warc.Message) error {
	r := c.records[0]
	if c.line.size <= 0 || r.Truncated != "" {
		return nil
	}
	var first original
	known := false
	err := j.env.Store.Latest(func(rd store.Reader) (err error) {
		first, known, err = readOriginal(rd, r.Payload.SHA1)
		return err
	})
	if err == nil && known { // what a person took away is archived anew
		known, err = j.archive.Has(first.File, first.End)
	}
	if err == nil && !known && j.dedupe != nil {
		var was index.Capture
		was, known, err = j.dedupe.First(r.TargetURI, r.Payload.SHA1)
		first = original{URL: was.URL, Date: was.Time}
	}
	if err != nil || !known {
		return err
	}
	r.Type, r.Profile, r.RefersToURI, r.RefersToDate = warc.Revisit, warc.IdenticalDigest, first.URL, first.Date
	r.Content, r.Length, r.Block = io.NewSectionReader(c.x.Received, 0, m.Head), m.Head, warc.Digests{}
	c.line.notes = append(c.line.notes, "duplicate:digest")
	c.is = frontier.ByHash
	return nil
}

// readOriginal returns the first capture of a payload, whose record may be gone.
func readOriginal(r store.Reader, d warc.Digest) (first original, known bool, err error) {
	known, err = r.Look(originalKey(d), func(v []byte) (err error) { first, err = decodeOriginal(d, v); return err })
	return first, known, err
}

func decodeOriginal(d warc.Digest, v []byte) (first original, err error) {
	if err := json.Unmarshal(v, &first); err != nil {
		return first, fault.New(fault.Corrupt, "what is known of payload %s is %q: %w", d, v, err)
	}
	return first, nil
}

// remember makes the payload of an answer known from now on, if it is the first capture of it that is there.
func (j *Job) remember(tx *store.Tx, c *capture) error {
	if len(c.records) == 0 || c.line.size <= 0 {
		return nil
	}
	r := c.records[0]
	if r.Type != warc.Response || r.Truncated != "" {
		return nil
	}
	first, known, err := readOriginal(tx, r.Payload.SHA1)
	if err == nil && known { // another one of those that are written down together
		known, err = j.archive.Has(first.File, first.End)
	}
	if err != nil || known {
		return err
	}
	b, err := json.Marshal(original{URL: r.TargetURI, Date: r.Date, File: c.at.File, End: c.at.Offset + c.at.Length})
	if err == nil {
		tx.Set(originalKey(r.Payload.SHA1), b)
	}
	return err
}
