package cdxj

import (
	"errors"
	"io"

	"holdfast/base/fault"
	"holdfast/base/warc"
)

// Indexed is what became of a file.
type Indexed struct {
	Lines   int64
	Skipped int64 // captures that can't have a line: without a URI, or without a date that can be read
	Whole   int64 // the offset up to which the file was read, and is whole
}

// Index reads a WARC file of that name and gives each a line for each capture: responses, revisits, resources,
// conversions, and metadata that are no warc-fields, as other indexers do. The lines come in the order of the file.
// Where a record says no digest of its payload it is computed. A file that is damaged gives the lines of what is
// whole, and a *warc.Damage; an error of each ends it.
func Index(r io.Reader, filename string, surt func(url string) string, each func(Line) error) (Indexed, error) {
	var done Indexed
	in := warc.NewReader(r, 0)
	for {
		e, err := in.Next()
		done.Whole = in.Whole()
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		if !isCapture(e.Type, e.Fields.Get("Content-Type")) {
			continue
		}
		l, err := lineOf(e)
		if err == nil {
			var end int64
			end, err = e.End()
			l.Offset, l.Length, l.Filename = e.Offset, end-e.Offset, filename
			done.Whole = in.Whole()
		}
		if err != nil {
			return done, err
		}
		if l.URL != "" {
			l.Key = surt(l.URL)
		}
		if l.Key == "" || l.Time == "" {
			done.Skipped++
			continue
		}
		if err := each(l); err != nil {
			return done, err
		}
		done.Lines++
	}
}

func isCapture(t warc.Type, contentType string) bool {
	switch t {
	case warc.Response, warc.Revisit, "conversion":
		return true
	case warc.Resource, warc.Metadata:
		return contentType != warc.WARCFields
	}
	return false
}

// lineOf reads as much of a record as its line needs.
func lineOf(e *warc.Entry) (Line, error) {
	l := Line{URL: e.TargetURI}
	if t, err := warc.ParseDate(e.Fields.Get("WARC-Date")); err == nil && t.Year() <= 9999 {
		l.Time = t.Format(timeForm)
	}
	if d, err := warc.ParseDigest(e.Fields.Get("WARC-Payload-Digest")); err == nil {
		l.Digest = bareSHA1(d)
	}
	return l, l.read(e.Type, e.Fields.Get("Content-Type"), e)
}

// timeForm is the form of Line.Time.
const timeForm = "20060102150405"

// read fills in what stands in the block: type and status, and the digest of the payload if that is not known.
func (l *Line) read(t warc.Type, contentType string, block io.Reader) error {
	payload, err := describe(l, t, contentType, block)
	if err != nil || l.Digest != "" || payload == nil {
		return err
	}
	h := warc.NewHasher(false)
	if _, err := io.Copy(h, payload); err != nil {
		return err
	}
	l.Digest = bareSHA1(h.Digests().SHA1)
	return nil
}

// bareSHA1 leaves the label of SHA-1 away, as every index does; another digest needs its own.
func bareSHA1(d warc.Digest) string {
	if d.Algorithm() == "sha1" {
		return d.Value()
	}
	return string(d)
}

// describe fills in type and status, and returns the payload if it lies in the record.
func describe(l *Line, t warc.Type, contentType string, block io.Reader) (io.Reader, error) {
	if t != warc.Response && t != warc.Revisit {
		l.Mime = warc.MediaType(contentType)
		return block, nil
	}
	if t == warc.Revisit {
		l.Mime = Revisit
	}
	m, err := warc.SplitHTTP(block)
	if fault.Is(err, fault.Invalid) { // not HTTP: there is no more to tell
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l.Status = m.Status()
	if t == warc.Revisit {
		return nil, nil
	}
	l.Mime = m.MediaType()
	return m.Payload(), nil
}
