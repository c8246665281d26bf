package warc

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
)

const (
	page    = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 12\r\n\r\n<p>hello</p>"
	pageSum = Digest("sha1:EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP") // of <p>hello</p>, by sha1sum and base32
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: Text/HTML\r\n\r\n" +
		"5;name=v\r\n<p>he\r\n7\r\nllo</p>\r\n0\r\n\r\n"
	asked = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
)

var when = time.Date(2026, 1, 11, 23, 24, 25, 412_030_000, time.UTC)

// id is the nth record id of a test.
func id(n int) string {
	return "urn:uuid:d7ae5c10-e6b3-4d27-967d-34780c58b" + string([]byte{'a' + byte(n/10), '0' + byte(n%10), '9'})
}

func record(t Type, n int, uri, content string) Record {
	return Record{Type: t, ID: id(n), Date: when, TargetURI: uri, Content: strings.NewReader(content), Length: int64(len(content))}
}

// everyType is a small crawl: a record of each type.
func everyType() []Record {
	const uri = "http://example.com/"
	info := record(Warcinfo, 0, "", "software: holdfast\r\n")
	info.Filename = "job-20260111232425-00001.warc.gz"
	dns := record(Resource, 1, "dns:example.com", "20260111232425\r\nexample.com.\t300\tIN\tA\t192.0.2.1\r\n")
	dns.ContentType = DNS
	ask := record(Request, 2, uri, asked)
	ask.ConcurrentTo = []string{id(3), id(4)}
	answer := record(Response, 3, uri, page)
	answer.IdentifiedType = "text/html"
	meta := record(Metadata, 4, uri, "via: http://example.org/\r\n")
	meta.RefersTo = id(3)
	inChunks := record(Response, 5, "http://example.com/chunked", chunked)
	cut := record(Response, 6, "http://example.com/cut", page[:len(page)-4])
	cut.Truncated = TruncatedDisconnect
	same := record(Revisit, 7, "http://example.com/same", page[:len(page)-12])
	same.Profile, same.Payload.SHA1 = IdenticalDigest, pageSum
	same.RefersTo, same.RefersToURI, same.RefersToDate = id(3), uri, when
	old := record(Revisit, 8, "http://example.com/old", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")
	old.Profile, old.RefersTo, old.RefersToURI, old.RefersToDate = NotModified, id(3), uri, when
	empty := record(Response, 9, "http://example.com/empty", "HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n")
	all := []Record{info, dns, ask, answer, meta, inChunks, cut, same, old, empty}
	for i := range all[1:] {
		all[i+1].WarcinfoID = id(0)
		if all[i+1].Type != Resource {
			all[i+1].IP = netip.MustParseAddr("192.0.2.1")
		}
	}
	return all
}

// write makes a file of records.
func write(t testing.TB, o Options, records ...Record) ([]byte, []Written) {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	var all []Written
	for _, r := range records {
		done, err := w.Write(&r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, done)
	}
	return file.Bytes(), all
}

// plain is the file without its compression.
func plain(t testing.TB, file []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// got is a record as it was read.
type got struct {
	Entry
	content string
	end     int64
}

// read reads a file, and returns what there was before the error.
func read(r io.Reader) ([]got, error) {
	in := NewReader(r, 0)
	var all []got
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		content, err := io.ReadAll(e)
		if err != nil {
			return all, err
		}
		end, err := e.End()
		if err != nil {
			return all, err
		}
		all = append(all, got{*e, string(content), end})
	}
}

func TestWriteAndRead(t *testing.T) {
	records := everyType()
	contents := make([]string, len(records))
	for i, r := range records {
		b, _ := io.ReadAll(r.Content)
		contents[i] = string(b)
	}
	file, written := write(t, Options{SHA256: true}, everyType()...)
	for _, zipped := range []bool{true, false} {
		b := file
		if !zipped {
			b = plain(t, file)
		}
		all, err := read(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil || len(all) != len(records) {
			t.Fatalf("got %d records and %v, want %d", len(all), err, len(records))
		}
		at := int64(0)
		for i, e := range all {
			want := records[i]
			if e.content != contents[i] || e.Type != want.Type || e.ID != want.ID || e.TargetURI != want.TargetURI {
				t.Errorf("record %d: got %+v", i, e)
			}
			if date, err := ParseDate(e.Fields.Get("warc-date")); err != nil || !date.Equal(when) {
				t.Errorf("record %d: got date %v and %v, want %v", i, date, err, when)
			}
			if e.Offset != at || zipped && (e.Offset != written[i].Offset || e.end != e.Offset+written[i].Length) {
				t.Errorf("record %d: got %d to %d, want %+v", i, e.Offset, e.end, written[i])
			}
			if !zipped && e.end-e.Offset != written[i].Header+written[i].Block+4 {
				t.Errorf("record %d: got %d bytes, want those of %+v", i, e.end-e.Offset, written[i])
			}
			at = e.end
		}
		if at != int64(len(b)) {
			t.Errorf("got %d bytes, want %d", at, len(b))
		}
	}
}

func TestHeaderToTheLetter(t *testing.T) {
	r := everyType()[7]
	r.Extra = Fields{{"X-Note", "ümlaut\tand\x00\r\nWARC-Type: evil\xff"}}
	r.TargetURI = "http://example.com/a b<\r\nWARC-Type: evil>\"é|[]^`{}%20"
	file, _ := write(t, Options{}, r)
	want := strings.ReplaceAll(`WARC/1.1
WARC-Type: revisit
WARC-Record-ID: <urn:uuid:d7ae5c10-e6b3-4d27-967d-34780c58ba79>
WARC-Date: 2026-01-11T23:24:25.41203Z
WARC-Target-URI: http://example.com/a%20b%3C%0D%0AWARC-Type:%20evil%3E%22%C3%A9|[]^`+"`"+`{}%20
WARC-IP-Address: 192.0.2.1
WARC-Warcinfo-ID: <urn:uuid:d7ae5c10-e6b3-4d27-967d-34780c58ba09>
WARC-Profile: http://netpreserve.org/warc/1.1/revisit/identical-payload-digest
WARC-Refers-To: <urn:uuid:d7ae5c10-e6b3-4d27-967d-34780c58ba39>
WARC-Refers-To-Target-URI: http://example.com/
WARC-Refers-To-Date: 2026-01-11T23:24:25.41203Z
WARC-Block-Digest: sha1:BLOCK
WARC-Payload-Digest: sha1:EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP
WARC-Truncated: length
X-Note: ümlaut%09and%00%0D%0AWARC-Type: evil%FF
Content-Type: application/http; msgtype=response
Content-Length: 79

`, "\n", "\r\n")
	h := NewHasher(false)
	io.WriteString(h, page[:len(page)-12])
	want = strings.Replace(want, "sha1:BLOCK", string(h.Digests().SHA1), 1)
	if head := string(plain(t, file)); !strings.HasPrefix(head, want) {
		t.Errorf("got  %q\nwant %q", head, want)
	}
}

// The same records give the same bytes, wherever their digests come from, and whatever was written before.
func TestWritesAreRepeatable(t *testing.T) {
	file, written := write(t, Options{SHA256: true}, everyType()...)
	records := everyType()
	for i := range records {
		records[i].Block, records[i].Payload = written[i].Digests.Block, written[i].Digests.Payload
		records[i].Content = iotest.HalfReader(records[i].Content) // which can't seek
	}
	again, _ := write(t, Options{SHA256: true}, records...)
	if !bytes.Equal(file, again) {
		t.Error("got other bytes")
	}
	for i := range records {
		alone, _ := write(t, Options{SHA256: true}, everyType()[i])
		if !bytes.Equal(alone, file[written[i].Offset:written[i].Offset+written[i].Length]) {
			t.Errorf("record %d: got other bytes alone", i)
		}
	}
}

func TestDigestsOfPayloads(t *testing.T) {
	_, written := write(t, Options{}, everyType()...)
	for i, want := range []Digest{"", written[1].Digests.Block.SHA1, "", pageSum, "", pageSum,
		"sha1:6VMT7HTE2K745SIQUUYG3CKPEJVFD5GH", pageSum, "", "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"} {
		if d := written[i].Digests.Payload.SHA1; d != want {
			t.Errorf("record %d: got %q, want %q", i, d, want)
		}
	}
	middle := record(Response, 0, "http://example.com/", "not this:"+page)
	middle.Content.(io.Seeker).Seek(9, io.SeekStart)
	middle.Length -= 9
	file, written := write(t, Options{}, middle)
	if all, err := read(bytes.NewReader(file)); err != nil || all[0].content != page {
		t.Errorf("content that begins in the middle: got %+v and %v", all, err)
	}
	if d := written[0].Digests.Payload.SHA1; d != pageSum {
		t.Errorf("content that begins in the middle: got %q, want %q", d, pageSum)
	}
}

func TestRefused(t *testing.T) {
	for why, change := range map[string]func(r *Record){
		"type":         func(r *Record) { r.Type = "conversion" },
		"date":         func(r *Record) { r.Date = time.Time{} },
		"year":         func(r *Record) { r.Date = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"negative":     func(r *Record) { r.Length = -1 },
		"no content":   func(r *Record) { r.Content = nil },
		"content type": func(r *Record) { r.Type = Resource },
		"target URI":   func(r *Record) { r.TargetURI = "" },
		"warcinfo":     func(r *Record) { r.Type = Warcinfo },
		"file name":    func(r *Record) { r.Filename = "x" },
		"refer to":     func(r *Record) { r.RefersTo = id(1) },
		"a profile, a": func(r *Record) { r.RefersToDate = when },
		"payload":      func(r *Record) { r.Type = Metadata; r.IdentifiedType = "text/html" },
		"needs a prof": func(r *Record) { r.Type = Revisit },
		"needs the SH": func(r *Record) { r.Type, r.Profile = Revisit, IdenticalDigest },
		"its id":       func(r *Record) { r.ID = "urn:uuid:1>\r\nX: <urn:2" },
		"an id that i": func(r *Record) { r.ConcurrentTo = []string{"urn:a b"} },
		"extra":        func(r *Record) { r.Extra = Fields{{"warc-type", "evil"}} },
		"extra field":  func(r *Record) { r.Extra = Fields{{"X\r\nY", "evil"}} },
		"a digest":     func(r *Record) { r.Block.SHA1 = "sha1:\r\nX: evil" },
		"a digest is":  func(r *Record) { r.Payload.SHA256 = Digest(strings.ToUpper(string(pageSum))) },
		"read only on": func(r *Record) { r.Content = iotest.HalfReader(r.Content) },
		"ends 3 bytes": func(r *Record) { r.Length += 3 },
		"more than":    func(r *Record) { r.TargetURI += strings.Repeat("x", MaxHeader) },
	} {
		var file bytes.Buffer
		w, err := NewWriter(&file, 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := record(Response, 0, "http://example.com/", page)
		change(&r)
		if _, err := w.Write(&r); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v", why, err)
		}
		good := record(Response, 0, "http://example.com/", page)
		if _, err := w.Write(&good); err != nil {
			t.Errorf("%s: got %v of the next record", why, err)
		}
		if all, err := read(&file); err != nil || len(all) != 1 {
			t.Errorf("%s: got %d records and %v, want the good one", why, len(all), err)
		}
	}
	if _, err := NewWriter(io.Discard, 0, Options{Level: 10}); !fault.Is(err, fault.Invalid) {
		t.Errorf("level 10: got %v", err)
	}
}

// limited takes so many bytes and fails then.
type limited struct {
	bytes.Buffer
	room int
}

var errNoRoom = fault.New(fault.Full, "no room")

func (l *limited) Write(p []byte) (int, error) {
	n, _ := l.Buffer.Write(p[:min(len(p), l.room-l.Len())])
	if n < len(p) {
		return n, errNoRoom
	}
	return n, nil
}

// After a failure nothing more is written until the file was cut back to where the record began.
func TestWriterFails(t *testing.T) {
	first, second := everyType()[3], everyType()[5]
	want, written := write(t, Options{}, everyType()[3], everyType()[5])
	file := &limited{room: len(want) - 1}
	w, _ := NewWriter(file, 0, Options{})
	if _, err := w.Write(&first); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(&second); !fault.Is(err, fault.Full) {
			t.Errorf("got %v, want a full disk", err)
		}
	}
	if w.Offset() != written[1].Offset {
		t.Fatalf("got offset %d, want %d", w.Offset(), written[1].Offset)
	}
	file.Truncate(int(w.Offset()))
	file.room++
	w.Reset(file, w.Offset())
	second = everyType()[5]
	if done, err := w.Write(&second); err != nil || done != written[1] {
		t.Errorf("got %+v and %v, want %+v", done, err, written[1])
	}
	if !bytes.Equal(file.Bytes(), want) {
		t.Error("got other bytes than without the failure")
	}

	broken := everyType()[3]
	broken.Block, broken.Payload = written[0].Digests.Block, written[0].Digests.Payload
	broken.Content = iotest.ErrReader(errNoRoom)
	if _, err := w.Write(&broken); !errors.Is(err, errNoRoom) {
		t.Errorf("got %v, want the content's error", err)
	}
}

func TestParseDigest(t *testing.T) {
	const hexOf = "sha1:21f527c91a4fd00eec9fbfd8bab90169b2fbe10f"
	sha256Of := NewHasher(true).Digests().SHA256
	for in, want := range map[string]Digest{
		string(pageSum): pageSum, strings.ToLower(string(pageSum)): pageSum, "SHA-1:" + string(pageSum[5:]): pageSum,
		hexOf: pageSum, " " + strings.ToUpper(hexOf): pageSum,
		string(sha256Of): sha256Of, "sha-256:4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ====": sha256Of,
		"md5:2QOYZWMPACZAJ2MABGMOZ6CCPY======": "md5:d41d8cd98f00b204e9800998ecf8427e",
		"blake3:Abc=":                          "blake3:Abc=",
	} {
		if d, err := ParseDigest(in); err != nil || d != want {
			t.Errorf("%q: got %q and %v, want %q", in, d, err, want)
		}
	}
	for _, in := range []string{"", "sha1", "sha1:", ":x", "sha1:short", "sha1:0000000000000000000000000000000z",
		"sha256:" + string(pageSum[5:])} {
		if d, err := ParseDigest(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %q and %v, want a refusal", in, d, err)
		}
	}
}

// The granularities of table A.6 and of W3CDTF.
func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"2016-01-11T23:24:25.412030Z": "2016-01-11T23:24:25.41203Z", "2016-01-11T23:24:25Z": "2016-01-11T23:24:25Z",
		"2016-01": "2016-01-01T00:00:00Z", "2016": "2016-01-01T00:00:00Z", "2016-01-11": "2016-01-11T00:00:00Z",
		"2016-01-11T23:24Z": "2016-01-11T23:24:00Z", "2016-01-11T23:24:25.123456789Z": "2016-01-11T23:24:25.123456789Z",
		"2016-01-11T23:24:25+01:00": "2016-01-11T22:24:25Z",
	} {
		d, err := ParseDate(in)
		if s := string(appendDate(nil, d)); err != nil || s != want {
			t.Errorf("%q: got %s and %v, want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "20160111232425", "2016-13", "yesterday"} {
		if _, err := ParseDate(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want a refusal", in, err)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || !isURI(a) || !strings.HasPrefix(a, "urn:uuid:") || len(a) != 45 {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestFields(t *testing.T) {
	f := Fields{{"A", "1"}, {"b", "2"}, {"a", "3"}}
	if f.Get("B") != "2" || f.Get("c") != "" || !slices.Equal(f.All("A"), []string{"1", "3"}) {
		t.Errorf("got %q, %q, %q", f.Get("B"), f.Get("c"), f.All("A"))
	}
}
