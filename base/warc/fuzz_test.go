package warc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/base/fault"
)

// FuzzReader: no bytes make it panic or believe a length; records follow each other without holes; what it calls
// whole is read again the same; and what Verify says fits.
func FuzzReader(f *testing.F) {
	file, _ := write(f, Options{SHA256: true}, everyType()...)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(plain(f, file))
	f.Add([]byte("WARC/1.0\nContent-Length: 99999999999\n\nabc"))
	f.Add([]byte("WARC/1.1\r\nContent-Length: 3\r\nWARC-Payload-Digest: sha1:x\r\n\r\nabc\r\n\r\n\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := read(bytes.NewReader(b))
		whole := int64(0)
		for _, e := range all {
			if e.Offset != whole || e.end <= e.Offset || int64(len(e.content)) != e.Length {
				t.Fatalf("got a record from %d to %d behind %d, of %d bytes for %d", e.Offset, e.end, whole, len(e.content), e.Length)
			}
			whole = e.end
		}
		var d *Damage
		switch {
		case err == nil && whole != int64(len(b)):
			t.Fatalf("got the end at %d of %d", whole, len(b))
		case err != nil && (!errors.As(err, &d) || !fault.Is(err, fault.Corrupt) || d.Offset != whole):
			t.Fatalf("got %v behind %d", err, whole)
		}
		again, err := read(iotest.HalfReader(bytes.NewReader(b[:whole])))
		if err != nil || len(again) != len(all) {
			t.Fatalf("what is whole: got %d records and %v, want %d", len(again), err, len(all))
		}
		rep, err := Verify(bytes.NewReader(b))
		if err != nil || rep.Whole != whole || rep.Records != int64(len(all)) || (rep.Damage == nil) != (d == nil) {
			t.Fatalf("got %+v and %v of %d records up to %d", rep, err, len(all), whole)
		}
	})
}

// FuzzWriter: whatever the network says of a page, the record is written and says no more than was meant, or it
// is refused.
func FuzzWriter(f *testing.F) {
	f.Add("http://example.com/", "text/html", "urn:uuid:1", page)
	f.Add("http://example.com/\r\nX: y", "text/html\r\n\r\nx", "urn:x>\r\n", "")
	f.Add("\xff\x00", "\u0085\u2028", "a:b", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
	f.Fuzz(func(t *testing.T, uri, media, other, content string) {
		var file bytes.Buffer
		w, err := NewWriter(&file, 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := record(Response, 0, uri, content)
		r.IdentifiedType, r.ConcurrentTo, r.Extra = media, []string{other}, Fields{{"X-Extra", media + uri}}
		if _, err := w.Write(&r); err != nil {
			if !fault.Is(err, fault.Invalid) || file.Len() > 0 {
				t.Fatalf("got %v behind %d bytes", err, file.Len())
			}
			return
		}
		all, err := read(bytes.NewReader(file.Bytes()))
		if err != nil || len(all) != 1 || all[0].content != content || all[0].ID != r.ID {
			t.Fatalf("got %+v and %v", all, err)
		}
		e := all[0]
		want := 6 // type, id, date, block digest, content type, length
		for _, s := range []string{uri, media, other, media + uri, e.Fields.Get(fieldPayloadDigest)} {
			if s != "" {
				want++
			}
		}
		if len(e.Fields) != want || !strings.HasPrefix(e.Fields.Get(fieldType), "response") {
			t.Errorf("got %d fields, want %d: %q", len(e.Fields), want, e.Fields)
		}
		if rep, err := Verify(&file); err != nil || !rep.Good() {
			t.Errorf("got %+v and %v", rep, err)
		}
	})
}

// FuzzSplitHTTP: head and body are all of a message, and the payload is part of the body.
func FuzzSplitHTTP(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte(chunked))
	f.Add([]byte("HTTP/1.1 200\nTransfer-Encoding: chunked\n\n\n1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := SplitHTTP(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		body, err := io.ReadAll(m.Body())
		if err != nil || !bytes.Equal(body, b[m.Head:]) {
			t.Fatalf("got head %d, body %q, %v", m.Head, body, err)
		}
		m, _ = SplitHTTP(bytes.NewReader(b))
		payload, err := io.ReadAll(m.Payload())
		if err != nil || len(payload) > len(body) || !m.Chunked() && !bytes.Equal(payload, body) {
			t.Fatalf("got payload %q of body %q, %v", payload, body, err)
		}
		m.Status()
		m.MediaType()
	})
}

// FuzzDigest: the usual form of a digest is that of itself.
func FuzzDigest(f *testing.F) {
	f.Add(string(pageSum))
	f.Add("SHA-256:4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ====")
	f.Add("x:y:z")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			return
		}
		if again, err := ParseDigest(string(d)); err != nil || again != d {
			t.Errorf("%q: got %q, and of that %q and %v", s, d, again, err)
		}
	})
}
