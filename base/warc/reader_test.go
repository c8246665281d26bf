package warc

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
)

// zipped is b as one gzip member.
func zipped(t testing.TB, b string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	io.WriteString(z, b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func damage(t *testing.T, err error) *Damage {
	t.Helper()
	var d *Damage
	if !errors.As(err, &d) || !fault.Is(err, fault.Corrupt) {
		t.Fatalf("got %v, want damage", err)
	}
	return d
}

// A file that is cut off anywhere gives all whole records, and says where they end.
func TestCutAnywhere(t *testing.T) {
	file, written := write(t, Options{}, everyType()[2:5]...)
	for _, b := range [][]byte{file, plain(t, file)} {
		ends := []int64{0}
		all, err := read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			ends = append(ends, e.end)
		}
		for cut := range len(b) {
			whole := 0
			for whole+1 < len(ends) && ends[whole+1] <= int64(cut) {
				whole++
			}
			some, err := read(bytes.NewReader(b[:cut]))
			if len(some) != whole {
				t.Fatalf("cut at %d: got %d records, want %d", cut, len(some), whole)
			}
			if ends[whole] == int64(cut) {
				if err != nil {
					t.Fatalf("cut at %d, between records: got %v", cut, err)
				}
				continue
			}
			if d := damage(t, err); d.Offset != ends[whole] || !d.Truncated {
				t.Fatalf("cut at %d: got %+v, want a cut behind %d", cut, d, ends[whole])
			}
		}
	}
	if len(written) != 3 {
		t.Error("the test wants three records")
	}
}

// No changed bit of a gzip file goes unseen, but for those that mean nothing: in a member's header of 10 bytes,
// and those that fill the last byte before its trailer of 8.
func TestChangedBits(t *testing.T) {
	file, written := write(t, Options{}, everyType()[2:5]...)
	want, err := read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for at := range file {
		for bit := range 8 {
			b := bytes.Clone(file)
			b[at] ^= 1 << bit
			all, err := read(bytes.NewReader(b))
			record := 0
			for record < 2 && int64(at) >= written[record+1].Offset {
				record++
			}
			if err == nil {
				for i, e := range all {
					in := int64(at) - written[record].Offset
					if e.content != want[i].content || in >= 10 && in != written[record].Length-9 {
						t.Fatalf("bit %d at %d of the member changed: nobody saw it", bit, in)
					}
				}
				continue
			}
			if d := damage(t, err); d.Offset != written[record].Offset || len(all) != record {
				t.Fatalf("bit %d at %d: got %+v and %d records, want damage of record %d", bit, at, d, len(all), record)
			}
		}
	}
}

func TestDamage(t *testing.T) {
	const head = "WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: "
	good := zipped(t, head+"3\r\n\r\nabc\r\n\r\n")
	for _, c := range []struct {
		name, why string
		file      []byte
	}{
		{"no WARC", "does not begin a WARC record", []byte("HTTP/1.1 200 OK\r\n\r\n")},
		{"an ARC", "does not begin a WARC record", []byte("filedesc://x.arc 0.0.0.0 2005 text/plain 1\n")},
		{"no version", "does not begin a WARC record", []byte("WARC/\r\n\r\n")},
		{"a huge first line", "the header is longer", []byte("WARC/1.1" + strings.Repeat("1", MaxHeader))},
		{"a huge header", "the header is longer", []byte("WARC/1.1\r\n" + strings.Repeat("a: b\r\n", MaxHeader/6))},
		{"a huge header in gzip", "the header is longer", zipped(t, "WARC/1.1\r\n"+strings.Repeat("a: b\r\n", MaxHeader/6))},
		{"no length", "0 fields Content-Length", []byte("WARC/1.1\r\n\r\n\r\n\r\n")},
		{"two lengths", "2 fields Content-Length", []byte(head + "1\r\nContent-Length: 1\r\n\r\n")},
		{"a negative length", `Content-Length is "-1"`, []byte(head + "-1\r\n\r\n\r\n\r\n")},
		{"a signed length", `Content-Length is "+1"`, []byte(head + "+1\r\n\r\na\r\n\r\n")},
		{"a length in words", `Content-Length is "one"`, []byte(head + "one\r\n\r\n\r\n\r\n")},
		{"a length beyond 63 bits", `Content-Length is "9223372036854775808"`, []byte(head + "9223372036854775808\r\n\r\n")},
		{"a short length", "two line ends", []byte(head + "2\r\n\r\nabc\r\n\r\n")},
		{"a short length in gzip", "two line ends", zipped(t, head+"2\r\n\r\nabc\r\n\r\n")},
		{"a huge length in gzip", "before its Content-Length of 9223372036854775807",
			zipped(t, head+"9223372036854775807\r\n\r\nabc\r\n\r\n")},
		{"a member without its ends", "before the two line ends", zipped(t, head+"3\r\n\r\nabc\r\n")},
		{"a member within a header", "ends within the header", zipped(t, head)},
		{"two records a member", "more than one record", zipped(t, strings.Repeat(head+"0\r\n\r\n\r\n\r\n", 2))},
		{"zeros behind", "no gzip member", append(bytes.Clone(good), make([]byte, 4096)...)},
		{"plain behind gzip", "no gzip member", append(bytes.Clone(good), head+"0\r\n\r\n\r\n\r\n"...)},
		{"gzip behind plain", "is a gzip member", append([]byte(head+"0\r\n\r\n\r\n\r\n"), good...)},
		{"no gzip behind its magic", "can't be read", []byte("\x1f\x8bxxxxxxxxxxxxxxxxx")},
	} {
		all, err := read(bytes.NewReader(c.file))
		if d := damage(t, err); d.Truncated || !strings.Contains(d.Error(), c.why) {
			t.Errorf("%s: got %v", c.name, d)
		} else if len(all) == 1 && d.Offset != all[0].end || len(all) == 0 && d.Offset != 0 {
			t.Errorf("%s: got damage at %d behind %d records", c.name, d.Offset, len(all))
		}
	}
}

// A length that is not true costs no memory, and a file that ends before it is cut off.
func TestHugeLength(t *testing.T) {
	_, err := read(strings.NewReader("WARC/1.1\r\nContent-Length: 9223372036854775807\r\n\r\nabc"))
	if d := damage(t, err); !d.Truncated || d.Offset != 0 {
		t.Errorf("got %+v", d)
	}
	if _, err := NewReader(strings.NewReader("\x1f"), 0).Next(); !damage(t, err).Truncated {
		t.Errorf("got %v", err)
	}
}

// What others write: bare line ends, folded lines, ids without brackets, URIs with them, older versions.
func TestLenient(t *testing.T) {
	all, err := read(strings.NewReader("WARC/1.0\nWARC-TYPE:response\nwarc-record-id: urn:x:1\nWARC-Target-URI: <http://a/>\n" +
		"X-Long: one\r\n \t two\r\n  three\r\nno colon\r\ncontent-length:  2 \r\n\r\nhi\r\n\r\n"))
	if err != nil || len(all) != 1 {
		t.Fatalf("got %d records and %v", len(all), err)
	}
	e := all[0]
	if e.Version != "1.0" || e.Type != Response || e.ID != "urn:x:1" || e.TargetURI != "http://a/" ||
		e.Fields.Get("x-long") != "one two three" || e.content != "hi" {
		t.Errorf("got %+v", e)
	}
}

// A value over many lines is put together once, and digests that are repeated are not computed.
func TestHostileHeaders(t *testing.T) {
	const head = "WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: 0\r\n"
	for _, line := range []string{" a\r\n", "WARC-Block-Digest: sha512:" + strings.Repeat("0", 128) + "\r\n", ":\r\n"} {
		file := head + "A: b\r\n" + strings.Repeat(line, (MaxHeader-100)/len(line)) + "\r\n\r\n\r\n"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rep, err := Verify(strings.NewReader(file))
		runtime.ReadMemStats(&after)
		if err != nil || rep.Records != 1 || strings.HasPrefix(line, "WARC") != (rep.Block[Bad] == 1) {
			t.Errorf("%.20q: got %+v and %v", line, rep, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 100*MaxHeader {
			t.Errorf("%.20q: %d bytes were allocated", line, got)
		}
	}
}

// The records of Annex B, with the lengths of the blocks that are printed there.
func TestAnnexB(t *testing.T) {
	var file strings.Builder
	add := func(head, block string) {
		file.WriteString(strings.ReplaceAll("WARC/1.1\n"+head+"Content-Length: "+strconv.Itoa(len(block))+"\n\n", "\n", "\r\n"))
		file.WriteString(block + "\r\n\r\n")
	}
	add("WARC-Type: warcinfo\nWARC-Date: 2006-09-19T17:20:14Z\n"+
		"WARC-Record-ID: <urn:uuid:d7ae5c10-e6b3-4d27-967d-34780c58ba39>\nContent-Type: application/warc-fields\n",
		"http-header-user-agent:\r\n Mozilla/5.0 (compatible; heritrix/1.4.0 +http://crawler.archive.org)\r\n")
	add("WARC-Type: response\nWARC-Target-URI: http://www.archive.org/images/logoc.jpg\n"+
		"WARC-Date: 2016-09-19T17:20:24Z\nWARC-IP-Address: 207.241.233.58\n"+
		"WARC-Record-ID: <urn:uuid:92283950-ef2f-4d72-b224-f54c6ec90bb0>\n"+
		"Content-Type: application/http;msgtype=response\nWARC-Identified-Payload-Type: image/jpeg\n",
		"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n[image/jpeg binary data here]")
	add("WARC-Type: continuation\nWARC-Target-URI: http://www.archive.org/images/logoc.jpg\n"+
		"WARC-Date: 2016-09-19T17:20:24Z\nWARC-Record-ID: <urn:uuid:70653950-a77f-b212-e434-7a7c6ec909ef>\n"+
		"WARC-Segment-Origin-ID: <urn:uuid:39509228-ae2f-11b2-763a-aa4c6ec90bb0>\nWARC-Segment-Number: 2\n"+
		"WARC-Segment-Total-Length: 1902\n", "[last 302 bytes of image/jpeg binary data here]")
	all, err := read(strings.NewReader(file.String()))
	if err != nil || len(all) != 3 {
		t.Fatalf("got %d records and %v", len(all), err)
	}
	if all[0].Type != Warcinfo || all[1].ID != "urn:uuid:92283950-ef2f-4d72-b224-f54c6ec90bb0" || all[2].Type != "continuation" {
		t.Errorf("got %+v", all)
	}
	rep, err := Verify(strings.NewReader(file.String()))
	if err != nil || !rep.Good() || rep.Records != 3 || rep.Types["continuation"] != 1 {
		t.Errorf("got %+v and %v", rep, err)
	}
}

// A record may be left at any place; Next goes over the rest.
func TestNextSkips(t *testing.T) {
	file, _ := write(t, Options{}, everyType()...)
	for _, b := range [][]byte{file, plain(t, file)} {
		for take := range 3 {
			in := NewReader(bytes.NewReader(b), 100)
			var last *Entry
			n := 0
			for {
				e, err := in.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if last != nil {
					if k, err := last.Read(make([]byte, 1)); k != 0 || err != io.EOF {
						t.Error("a record that is gone gives content")
					}
				}
				io.CopyN(io.Discard, e, int64(take))
				last = e
				n++
			}
			if n != len(everyType()) || in.Whole() != int64(len(b))+100 {
				t.Errorf("got %d records up to %d", n, in.Whole())
			}
		}
	}
}

// A disk that can't be read is not a file that is damaged.
func TestReadFails(t *testing.T) {
	file, _ := write(t, Options{}, everyType()...)
	for _, b := range [][]byte{file, plain(t, file)} {
		broken := errors.New("broken disk")
		for _, n := range []int{0, 1, 5, len(b) / 2, len(b)} {
			_, err := read(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) || fault.Is(err, fault.Corrupt) {
				t.Errorf("behind %d bytes: got %v", n, err)
			}
			if _, err := Verify(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
				t.Errorf("behind %d bytes: got %v of Verify", n, err)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	file, _ := write(t, Options{SHA256: true}, everyType()...)
	rep, err := Verify(bytes.NewReader(file))
	if err != nil || !rep.Good() || rep.Records != 10 || rep.Block[Good] != 10 || rep.Payload[Good] != 5 ||
		rep.Payload[Elsewhere] != 1 || rep.Payload[Absent] != 4 || !rep.Gzip || rep.Whole != int64(len(file)) {
		t.Errorf("got %+v and %v", rep, err)
	}
	body := plain(t, file)
	for _, c := range []struct{ old, new, finding string }{
		{"<p>hello</p>", "<p>hullo</p>", "its block is not that"},
		{"WARC-Payload-Digest: " + string(pageSum), "WARC-Payload-Digest: sha1:X" + string(pageSum)[6:], "its payload is not that"},
		{"WARC-Payload-Digest: " + string(pageSum), "WARC-Payload-Digest: sha1:" + strings.Repeat("!", 32), "its payload is not that"},
		{"Holdfast-Payload-Digest: sha256:", "Holdfast-Payload-Digest: sha255:", ""},
		{"WARC-Date: 2026", "WARC-Date: 202x", "is no WARC-Date"},
		{"WARC-Record-ID", "WARC-Record-Ix", "it has no WARC-Record-ID"},
	} {
		rep, err := Verify(bytes.NewReader(bytes.Replace(body, []byte(c.old), []byte(c.new), 1)))
		if err != nil || rep.Damage != nil || rep.Good() != (c.finding == "") ||
			c.finding != "" && !strings.Contains(rep.Findings[0].Text, c.finding) {
			t.Errorf("%s: got %+v and %v", c.new, rep, err)
		}
	}
	rep, err = Verify(bytes.NewReader(file[:len(file)-1]))
	if err != nil || rep.Damage == nil || !rep.Damage.Truncated || rep.Records != 9 || rep.Whole != rep.Damage.Offset {
		t.Errorf("cut: got %+v and %v", rep, err)
	}
}

// Digests as wget and others compute them are told apart from wrong ones.
func TestVerifyFramed(t *testing.T) {
	h := NewHasher(false)
	io.WriteString(h, chunked[strings.Index(chunked, "\r\n\r\n")+4:])
	r := record(Response, 0, "http://example.com/", chunked)
	r.Payload = h.Digests()
	file, _ := write(t, Options{}, r)
	if rep, err := Verify(bytes.NewReader(file)); err != nil || !rep.Good() || rep.Payload[Framed] != 1 {
		t.Errorf("got %+v and %v", rep, err)
	}
	none := record(Response, 0, "http://example.com/", "no HTTP at all")
	none.Payload.SHA1 = pageSum
	file, _ = write(t, Options{}, none)
	if rep, err := Verify(bytes.NewReader(file)); err != nil || rep.Payload[Bad] != 1 {
		t.Errorf("no HTTP: got %+v and %v", rep, err)
	}
}

// What is found in a file of rubbish is bounded.
func TestFindingsAreBounded(t *testing.T) {
	file := strings.Repeat("WARC/1.1\r\nContent-Length: 0\r\n\r\n\r\n\r\n", MaxFindings)
	rep, err := Verify(strings.NewReader(file))
	if err != nil || len(rep.Findings) != MaxFindings || rep.Unsaid != 2*MaxFindings || rep.Records != MaxFindings {
		t.Errorf("got %d findings, %d unsaid, %v", len(rep.Findings), rep.Unsaid, err)
	}
}
