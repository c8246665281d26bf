package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/app/desk"
)

// hostileName is one that a file may have and JSON can't hold.
const hostileName = "night 1/\x1b[2J\xff\n%?#&.dat"

// liveTransfer is a running transfer job that has brought two files.
func liveTransfer(t *testing.T) (d *desk.Desk, from string) {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"plain.dat", hostileName} {
		full := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Appendf(nil, "jobs: {frames: {transfer: {from: %q, to: %q, pack: {by: none}, patience: 1ms, "+
		"metadata_regex: '(?P<kind>dat)'}}}", from, to)
	d = runConfig(t, text)
	await(t, "the files", func() bool {
		out, err := d.Files(t.Context(), "frames", desk.NewFileQuery("", "", "done", time.Time{}, "", 10))
		return err == nil && len(out.Files) == 2
	})
	return d, from
}

// fileAnswers asks for the files of a transfer job, and returns the routes whose answers are as they are described.
func fileAnswers(t *testing.T, doc document) map[string]bool {
	t.Helper()
	d, from := liveTransfer(t)
	h := Handler(d)
	const list, one = "GET /api/v1/jobs/{job}/files", "GET /api/v1/jobs/{job}/files/{id}"
	tried := map[string]bool{}
	for _, c := range []struct {
		pattern, path string
		status, files int
	}{
		{list, "files", 200, 2},
		{list, "files?text=plain", 200, 1},
		{list, "files?text=" + url.QueryEscape(from+"/night"), 200, 1},
		{list, "files?text=night&state=done", 200, 0}, // no name begins so
		{list, "files?path=" + url.QueryEscape(hostileName), 200, 1},
		{list, "files?limit=1&since=1h", 200, 1},
		{list, "files?state=lost", 400, 0},
		{list, "files?since=yesterday", 400, 0},
		{list, "files?after=nonsense", 400, 0},
		{list, "files?limit=many", 400, 0},
		{list, "files?limit=0", 400, 0},
		{one, "files/1", 200, 0},
		{one, "files/2", 200, 0},
		{one, "files/3", 404, 0},
		{one, "files/x", 400, 0},
	} {
		w := request(t, h, "GET", "/api/v1/jobs/frames/"+c.path, nil)
		var out desk.Files
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != c.status || len(out.Files) != c.files {
			t.Errorf("%s: got %d and %d files (%v), want %d and %d: %s", c.path, w.Code, len(out.Files), err, c.status, c.files, w.Body)
		}
		if why := doc.answer(c.pattern, w); why != "" {
			t.Errorf("%s: %s\n%s", c.path, why, w.Body)
		}
		tried[c.pattern] = tried[c.pattern] || c.status == 200
	}
	return tried
}

// TestFileNamesAreNotLost: whatever a name is, its bytes are in the answer, and no answer has others.
func TestFileNamesAreNotLost(t *testing.T) {
	d, _ := liveTransfer(t)
	w := request(t, Handler(d), "GET", "/api/v1/jobs/frames/files?path="+url.QueryEscape(hostileName), nil)
	var out desk.Files
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || len(out.Files) != 1 {
		t.Fatalf("got %s (%v)", w.Body, err)
	}
	f := out.Files[0]
	if string(f.PathBytes) != hostileName || len(f.To) != 1 || !bytes.HasSuffix(f.To[0].PathBytes, []byte("\xff\n%?#&.dat")) {
		t.Errorf("got %q and %+v", f.PathBytes, f.To)
	}
}
