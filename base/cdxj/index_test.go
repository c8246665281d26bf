package cdxj

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"holdfast/base/fault"
	"holdfast/base/warc"
)

// plainSURT is enough of a SURT for tests: it turns the host's labels round.
func plainSURT(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	if rest == "" {
		return scheme
	}
	host, path, _ := strings.Cut(rest, "/")
	labels := strings.Split(host, ".")
	for i, k := 0, len(labels)-1; i < k; i, k = i+1, k-1 {
		labels[i], labels[k] = labels[k], labels[i]
	}
	return strings.Join(labels, ",") + ")/" + path
}

var when = time.Date(2026, 1, 11, 23, 24, 25, 999_000_000, time.UTC)

const (
	head    = "HTTP/1.1 200 OK\r\nContent-Type: Text/HTML; charset=x\r\n\r\n"
	pageSum = "EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP" // of <p>hello</p>, by sha1sum and base32
)

func record(t warc.Type, uri, content string) warc.Record {
	r := warc.Record{Type: t, ID: warc.NewID(), Date: when, TargetURI: uri,
		Content: strings.NewReader(content), Length: int64(len(content))}
	if t == warc.Resource {
		r.ContentType = warc.DNS
	}
	return r
}

func archive(t testing.TB, records ...warc.Record) ([]byte, []warc.Written) {
	t.Helper()
	var file bytes.Buffer
	w, err := warc.NewWriter(&file, 0, warc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []warc.Written
	for _, r := range records {
		done, err := w.Write(&r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, done)
	}
	return file.Bytes(), all
}

func everyType() []warc.Record {
	same := record(warc.Revisit, "http://example.com/same", head)
	same.Profile, same.Payload.SHA1 = warc.IdenticalDigest, "sha1:"+pageSum
	old := record(warc.Revisit, "http://example.com/old", "HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n")
	old.Profile = warc.NotModified
	note := record(warc.Metadata, "http://example.com/note", "hello")
	note.ContentType = "text/plain"
	return []warc.Record{
		record(warc.Warcinfo, "", "software: holdfast\r\n"),
		record(warc.Resource, "dns:example.com", "20260111232425\r\n"),
		record(warc.Request, "http://example.com/", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"),
		record(warc.Response, "http://example.com/", head+"<p>hello</p>"),
		record(warc.Metadata, "http://example.com/", "via: http://example.org/\r\n"),
		same, old, note,
		record(warc.Response, "http://example.com/odd", "no HTTP"),
	}
}

func index(t testing.TB, r io.Reader) ([]Line, Indexed, error) {
	t.Helper()
	var all []Line
	done, err := Index(r, "x.warc.gz", plainSURT, func(l Line) error {
		all = append(all, l)
		return nil
	})
	return all, done, err
}

func TestIndex(t *testing.T) {
	file, written := archive(t, everyType()...)
	got, done, err := index(t, iotest.HalfReader(bytes.NewReader(file)))
	if err != nil || done != (Indexed{Lines: 6, Whole: int64(len(file))}) {
		t.Errorf("got %+v and %v", done, err)
	}
	dns := written[1].Digests.Payload.SHA1.Value()
	note := written[7].Digests.Block.SHA1.Value() // computed: metadata have no digest of a payload
	want := []Line{
		{Key: "dns:example.com", URL: "dns:example.com", Mime: "text/dns", Digest: dns},
		{Key: "com,example)/", URL: "http://example.com/", Mime: "text/html", Status: 200, Digest: pageSum},
		{Key: "com,example)/same", URL: "http://example.com/same", Mime: Revisit, Status: 200, Digest: pageSum},
		{Key: "com,example)/old", URL: "http://example.com/old", Mime: Revisit, Status: 304},
		{Key: "com,example)/note", URL: "http://example.com/note", Mime: "text/plain", Digest: note},
		{Key: "com,example)/odd", URL: "http://example.com/odd"},
	}
	for i, n := range []int{1, 3, 5, 6, 7, 8} {
		want[i].Time, want[i].Filename = "20260111232425", "x.warc.gz"
		want[i].Offset, want[i].Length = written[n].Offset, written[n].Length
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("line %d: got %+v, want %+v", i, got, want[i])
		}
	}
}

// A digest that is missing is computed as a Writer would; one of another algorithm keeps its label.
func TestIndexDigests(t *testing.T) {
	const warcHead = "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/\r\nWARC-Date: 2020\r\n" +
		"Content-Type: application/http\r\n"
	block := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<p>he\r\n7\r\nllo</p>\r\n0\r\n\r\n"
	for field, want := range map[string]string{
		"": pageSum, "WARC-Payload-Digest: nonsense\r\n": pageSum,
		"WARC-Payload-Digest: SHA-1:" + strings.ToLower(pageSum) + "\r\n":            pageSum,
		"WARC-Payload-Digest: sha256:" + strings.Repeat("0A", 32) + "\r\n":           "sha256:" + strings.Repeat("0a", 32),
		"WARC-Payload-Digest: " + string(warc.Digest("blake3:"+"ABCdef12")) + "\r\n": "blake3:ABCdef12",
	} {
		length := strconv.Itoa(len(block))
		got, _, err := index(t, strings.NewReader(warcHead+field+"Content-Length: "+length+"\r\n\r\n"+block+"\r\n\r\n"))
		if err != nil || len(got) != 1 || got[0].Digest != want || got[0].Time != "20200101000000" {
			t.Errorf("%q: got %+v and %v, want %s", field, got, err, want)
		}
	}
}

// What is whole of a damaged file is indexed, and captures that can't have a line are counted.
func TestIndexDamage(t *testing.T) {
	file, written := archive(t, everyType()...)
	cut := written[6].Offset + 20
	got, done, err := index(t, bytes.NewReader(file[:cut]))
	var damage *warc.Damage
	if !errors.As(err, &damage) || !damage.Truncated || len(got) != 3 || done.Whole != written[6].Offset {
		t.Errorf("got %d lines, %+v and %v", len(got), done, err)
	}
	const anonymous = "WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: 0\r\n"
	_, done, err = index(t, strings.NewReader(anonymous+"WARC-Date: 2020\r\n\r\n\r\n\r\n"+
		anonymous+"WARC-Target-URI: a:b\r\n\r\n\r\n\r\n"))
	if err != nil || done.Skipped != 2 || done.Lines != 0 {
		t.Errorf("got %+v and %v", done, err)
	}
	enough := fault.New(fault.Full, "enough")
	_, err = Index(bytes.NewReader(file), "x", plainSURT, func(Line) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("got %v, want the error of each", err)
	}
}
