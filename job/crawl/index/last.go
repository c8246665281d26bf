package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/kernel/store"
)

// Kept is a capture that is archived, and where its record is.
type Kept struct {
	URL     string
	Path    string // of the WARC file, beside the index that tells of it
	Offset  int64
	Revisit bool // the record has no payload; it names the one that has, for Original
}

// Last finds the record that has the last payload of a URL: that of its last capture or, if that is a revisit, the last record
// with the same digest that is no revisit. If the URL never had one, because another URL had that payload first, it is the last
// revisit of a whole answer. ok is false if there is none, or if the URL had no payload at last because it was gone or
// redirected. Errors are those of First. It goes twice over the captures of the URL, of which there may be any number.
func (e *Earlier) Last(url string) (last Kept, ok bool, err error) {
	var newest cdxj.Line
	err = e.captures(url, func(_ string, l cdxj.Line) {
		if l.Time > newest.Time {
			newest = l
		}
	})
	if err != nil || newest.Status != 200 && newest.Status != 304 || newest.Digest == "" {
		return last, false, err
	}
	payload := payloadOf(newest.Digest)
	var at string
	err = e.captures(url, func(index string, l cdxj.Line) {
		k, fits := keptBy(index, l, payload)
		if !fits || ok && (k.Revisit && !last.Revisit || k.Revisit == last.Revisit && l.Time < at) {
			return
		}
		last, at, ok = k, l.Time, true
	})
	return last, ok, err
}

// Original finds the record that a revisit refers to: of a URL, at a time, with a payload. Errors are those of First.
func (e *Earlier) Original(url string, date time.Time, payload warc.Digest) (k Kept, ok bool, err error) {
	at := date.UTC().Format(timeForm)
	err = e.captures(url, func(index string, l cdxj.Line) {
		if of, fits := keptBy(index, l, payload); fits && !of.Revisit && l.Time == at {
			k, ok = of, true
		}
	})
	return k, ok, err
}

// keptBy returns where the capture of a line is; fits is false if that is no whole answer with the payload, or in no file beside
// the index.
func keptBy(index string, l cdxj.Line, payload warc.Digest) (k Kept, fits bool) {
	k = Kept{URL: l.URL, Path: filepath.Join(filepath.Dir(index), l.Filename), Offset: l.Offset, Revisit: l.Mime == cdxj.Revisit}
	return k, l.Status == 200 && sameDigest(l.Digest, payload) && filepath.IsLocal(l.Filename)
}

// captures gives the captures of a URL, without those of other URLs with the same key, each with the index that it is in.
func (e *Earlier) captures(url string, each func(index string, l cdxj.Line)) error {
	key := weburl.IndexKeyOf(url) + " "
	for _, in := range e.all {
		for l, err := range in.lines.Find(key) {
			if err != nil {
				return fmt.Errorf("search %s: %w", in.f.Name(), err)
			}
			if l.URL == url {
				each(in.f.Name(), l)
			}
		}
	}
	return nil
}

// Published returns where index.cdxj is, if this crawl wrote it. The index of another time line has files in it that a person
// may throw away.
func (x *Index) Published() (path string, ok bool, err error) {
	var s state
	err = x.st.Latest(func(r store.Reader) (err error) { s, err = readState(r); return err })
	if err != nil || s.published.Lineage == "" {
		return "", false, err
	}
	path = filepath.Join(x.warcs, File)
	there := s.published
	if err := there.stamp(path); errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	}
	return path, there == s.published, nil
}
