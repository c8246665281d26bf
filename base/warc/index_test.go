package warc_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/warc"
	"holdfast/tests/testenv"
)

// TestWarciosIndex: warcio makes the same index of a file as we do.
func TestWarciosIndex(t *testing.T) {
	var file bytes.Buffer
	w, err := warc.NewWriter(&file, 0, warc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\n\r\n"
	for i, r := range []warc.Record{
		{Type: warc.Warcinfo},
		{Type: warc.Resource, TargetURI: "dns:example.com", ContentType: warc.DNS},
		{Type: warc.Response, TargetURI: "http://example.com/"},
		{Type: warc.Request, TargetURI: "http://example.com/"},
		{Type: warc.Metadata, TargetURI: "http://example.com/"},
		{Type: warc.Request, TargetURI: "http://example.com/a?b=c|d"},
		{Type: warc.Response, TargetURI: "http://example.com/a?b=c|d"},
		{Type: warc.Revisit, TargetURI: "http://example.com/same", Profile: warc.IdenticalDigest,
			Payload: warc.Digests{SHA1: "sha1:EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP"}},
		{Type: warc.Response, TargetURI: "http://example.com/last"},
	} {
		content := head + strings.Repeat("x", 10+i)
		if r.Type == warc.Request {
			content = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
		}
		r.ID, r.Date = warc.NewID(), time.Date(2026, 1, 11, 23, 24, 25, i, time.UTC)
		r.Content, r.Length = strings.NewReader(content), int64(len(content))
		if _, err := w.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "x.warc.gz")
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}

	var ours []cdxj.Line
	asIs := func(url string) string { return url }
	_, err = cdxj.Index(bytes.NewReader(file.Bytes()), "x.warc.gz", asIs, func(l cdxj.Line) error {
		ours = append(ours, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cli := filepath.Join(testenv.Warcio(t), "dist/cli.js")
	out, err := exec.CommandContext(t.Context(), "node", cli, "cdx-index", "--format", "cdxj", "--noSurt", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for text := range strings.Lines(string(out)) {
		theirs, err := cdxj.Parse([]byte(text))
		if err != nil || i >= len(ours) || theirs != ours[i] {
			t.Errorf("line %d: warcio has %s, want %+v (%v)", i, text, ours[min(i, len(ours)-1)], err)
		}
		i++
	}
	if i != len(ours) || i != 5 {
		t.Errorf("got %d lines, warcio has %d, want 5", len(ours), i)
	}
}
