package cdxj

import (
	"io"

	"holdfast/base/fault"
	"holdfast/base/warc"
)

// Written returns the line of a record that a Writer has just written to a file of that name: the one that Index will
// find there. ok is false if the record has none, as a request. The content must be an io.Seeker, and stand behind the
// block, where the Writer leaves it; of an answer no more is read than its head, if the digest of the payload is known.
func Written(rec *warc.Record, w warc.Written, filename string, surt func(url string) string) (l Line, ok bool, err error) {
	if !isCapture(rec.Type, rec.ContentType) || rec.Type == warc.Metadata && rec.ContentType == "" {
		return Line{}, false, nil
	}
	l = Line{Time: rec.Date.UTC().Format(timeForm), URL: uri(rec.TargetURI), Offset: w.Offset, Length: w.Length, Filename: filename,
		Digest: bareSHA1(w.Digests.Payload.SHA1)}
	if l.URL != "" {
		l.Key = surt(l.URL)
	}
	if l.Key == "" {
		return Line{}, false, nil
	}
	if rec.Length == 0 {
		return l, true, l.read(rec.Type, rec.ContentType, eof{})
	}
	content, can := rec.Content.(io.ReadSeeker)
	if !can {
		return Line{}, false, fault.New(fault.Invalid, "index %.200q: its content can be read only once", rec.TargetURI)
	}
	end, err := content.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = content.Seek(end-rec.Length, io.SeekStart)
	}
	if err == nil {
		err = l.read(rec.Type, rec.ContentType, io.LimitReader(content, rec.Length))
	}
	if err == nil {
		_, err = content.Seek(end, io.SeekStart)
	}
	return l, err == nil, err
}

// eof is content without a byte.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// uri is a URI as a Writer writes it into the header.
func uri(s string) string {
	var b []byte
	for i := range len(s) {
		c := s[i]
		plain := c > ' ' && c < 0x7f && c != '<' && c != '>' && c != '"'
		if b == nil {
			if plain {
				continue
			}
			b = append(b, s[:i]...)
		}
		if plain {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}
