package cdxj

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/base/warc"
)

// both are the lines of records as they are written, and as they are found in the file.
func both(t interface{ Fatal(...any) }, records ...warc.Record) (written, found []Line) {
	var file bytes.Buffer
	w, err := warc.NewWriter(&file, 0, warc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		done, err := w.Write(&r)
		if err != nil {
			t.Fatal(err)
		}
		l, ok, err := Written(&r, done, "x.warc.gz", plainSURT)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			written = append(written, l)
		}
		if r.Length > 0 {
			if left, err := io.ReadAll(r.Content); err != nil || len(left) > 0 {
				t.Fatal("the content does not stand where it stood")
			}
		}
	}
	if _, err := Index(&file, "x.warc.gz", plainSURT, func(l Line) error {
		found = append(found, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return written, found
}

// TestWritten: a line that is made while a record is written is the one that is found when the file is read.
func TestWritten(t *testing.T) {
	half := record(warc.Response, "http://example.com/half", head+"<p>hello</p>")
	half.Block = warc.Digests{SHA1: "sha1:" + pageSum} // and no digest of the payload
	empty := record(warc.Response, "http://example.com/empty", "")
	written, found := both(t, append(everyType(), half, empty)...)
	if !slices.Equal(written, found) || len(found) != 8 {
		t.Errorf("written are\n%+v, found\n%+v", written, found)
	}
	once := record(warc.Response, "http://a/", head)
	once.Content = io.MultiReader(once.Content)
	if _, _, err := Written(&once, warc.Written{}, "x", plainSURT); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestWrittenAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := warc.Record{ID: warc.NewID(), TargetURI: "http://" + rapid.String().Draw(t, "url"),
			Type: rapid.SampledFrom([]warc.Type{warc.Response, warc.Revisit, warc.Resource, warc.Request, warc.Metadata}).Draw(t, "type"),
			Date: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))}
		start := rapid.SampledFrom([]string{"HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\n", "no\n", "",
			"HTTP/1.1 2x0 OK\r\nTransfer-Encoding: chunked\r\n"})
		rest := rapid.StringMatching(`(Content-Type: ?[a-zA-Z/; é]{0,9}\r?\n)?\r?\n(3\r\n)?[a-z\r\n]{0,9}`)
		block := start.Draw(t, "start") + rest.Draw(t, "rest")
		r.Content, r.Length = strings.NewReader(block), int64(len(block))
		switch r.Type {
		case warc.Resource, warc.Metadata:
			r.ContentType = rapid.SampledFrom([]string{"text/dns", "Text/Plain; a=b", warc.WARCFields}).Draw(t, "content type")
		case warc.Revisit:
			r.Profile, r.Payload.SHA1 = warc.IdenticalDigest, "sha1:"+pageSum
		}
		if written, found := both(t, r); !slices.Equal(written, found) {
			t.Errorf("written are\n%+v, found\n%+v", written, found)
		}
	})
}
