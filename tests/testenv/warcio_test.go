package testenv

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/warc"
)

// archive writes WARC files of answers, a record each, and returns their names.
func archive(t testing.TB, files int, answers ...string) []string {
	t.Helper()
	var names []string
	for n := range files {
		var b bytes.Buffer
		w, err := warc.NewWriter(&b, 0, warc.Options{SHA256: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, answer := range answers {
			r := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: time.Unix(1, 0), TargetURI: fmt.Sprintf("http://a/%d", i),
				Content: strings.NewReader(answer), Length: int64(len(answer))}
			if _, err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		name := filepath.Join(t.TempDir(), fmt.Sprintf("%d.warc.gz.open", n))
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

const someHead = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

// What warcio misreads by itself is read well here: one byte, a trailer, a head without fields.
func TestRecords(t *testing.T) {
	answers := []string{someHead + "\r\nhello", someHead + "\r\nx", someHead + "\r\n", "HTTP/1.1 404 No\r\n\r\nbody",
		someHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
		someHead + "Transfer-Encoding: chunked\r\n\r\nno chunks at all",
		someHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nbroken off",
		someHead + "Content-Encoding: gzip\r\n\r\n\x1f\x8b no gzip", someHead + "\r\n" + strings.Repeat("large ", 1<<20)}
	sizes := []int64{5, 1, 0, 4, 5, 16, 15, 10, 6 << 20}
	names := archive(t, 2, answers...)
	all := Records(t, names...)
	if len(all) != 2*len(answers) {
		t.Fatalf("got %d records, want %d", len(all), 2*len(answers))
	}
	for i, r := range all {
		k := i % len(answers)
		status := 200
		if k == 3 {
			status = 404
		}
		if r.Version != "WARC/1.1" || r.Type() != "response" || r.URI() != fmt.Sprintf("http://a/%d", k) || r.Status != status ||
			r.Size != int64(len(answers[k])) || r.PayloadSize != sizes[k] || len(r.Wrong()) > 0 || r.File != names[i/len(answers)] {
			t.Errorf("record %d: got %+v, want a payload of %d bytes", i, r, sizes[k])
		}
		if len(r.Header["Holdfast-Payload-Digest"]) != 1 || len(r.Payload) != 2 {
			t.Errorf("record %d: got %+v, want digests", i, r)
		}
		if next := i + 1; next%len(answers) != 0 && all[next].Offset != r.Offset+r.Length {
			t.Errorf("record %d: ends at %d, the next begins at %d", i, r.Offset+r.Length, all[next].Offset)
		}
	}
}

// TestRecordsWrong: a digest that is not the payload's is told.
func TestRecordsWrong(t *testing.T) {
	r := Records(t, archive(t, 1, someHead+"\r\nhello")...)[0]
	r.Header["WARC-Payload-Digest"] = []string{"sha1:" + strings.Repeat("A", 32)}
	if wrong := r.Wrong(); len(wrong) != 1 || !strings.HasPrefix(wrong[0], "WARC-Payload-Digest is sha1:AAAA") {
		t.Errorf("got %q", wrong)
	}
}

// TestRecordsRefuses: whatever is done to a file that the writer would not do is refused by gzip or warcio.
func TestRecordsRefuses(t *testing.T) {
	whole, err := os.ReadFile(archive(t, 1, someHead+"\r\nhello", someHead+"\r\nworld")[0])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	var one bytes.Buffer // both records in one member
	zipped := gzip.NewWriter(&one)
	if _, err := io.Copy(zipped, plain); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // the check sum of the last member
	for why, b := range map[string][]byte{"cut": whole[:len(whole)-9], "one member": one.Bytes(), "flipped": flipped,
		"a tail": append(bytes.Clone(whole), "WARC/1.1\r\n"...), "text": []byte("no archive\r\n\r\n")} {
		name := filepath.Join(t.TempDir(), "x.warc.gz")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, refused, err := readWARC(Warcio(t), []string{name})
		if err != nil || len(refused) != 1 {
			t.Errorf("%s: refused %q, %v", why, refused, err)
		}
		t.Logf("%s: %q", why, refused)
	}
}
