package crawl

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
)

// TestLargeAnswer: an answer that finds no room, where others do, holds nobody up: it is put off, and in the end given up, and
// it is said what can be done.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	other := newSite(t, map[string]string{"/": `<a href="/a">a</a><a href="/b">b</a>`, "/a": "a", "/b": "b"})
	r := newRig(t, map[string]string{"/": `<a href="/big">big</a><a href="/c">c</a>`, "/big": "big", "/c": "c"})
	soon, retries := time.Millisecond, 2
	r.cfg.Settings.RetryAfter, r.cfg.Settings.Retries = &soon, &retries
	r.cfg.Seeds = append(r.cfg.Seeds, other.URL+"/")
	var asked atomic.Int64
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		if !strings.HasSuffix(url, "/big") {
			return nil
		}
		asked.Add(1)
		return fault.New(fault.Full, "write the file of an answer: %w", unix.ENOSPC)
	}}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if n := asked.Load(); n != int64(mostLarge+retries) {
		t.Errorf("it was asked for %d times", n)
	}
	r.heldNobodyUp()
	if c := r.counts(); c.Failed != 1 || c.Done != 7 {
		t.Errorf("%+v", c)
	}
	if lines := r.lines("/big"); len(lines) != 1 || !strings.Contains(lines[0], " -5 ") || !strings.Contains(lines[0], "err=permanent") {
		t.Errorf("crawl.log has %q", lines)
	}
	text, err := os.ReadFile(filepath.Join(r.cfg.Logs, errorsLog))
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "/big") || !strings.Contains(string(text), "max_bytes") {
		t.Errorf("it says %q %v", text, err)
	}
}

// TestFullIsNotLarge: what finds no room on a full disk is not put off, however often.
func TestFullIsNotLarge(t *testing.T) {
	dir := testenv.SmallDisk(t, 4<<20)
	room, err := engine.NewRoom(dir, engine.RoomLimits{Soft: 1 << 20, Hard: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{env: engine.Env{Dir: dir, Room: room}, room: room, disk: gate.New("disk", gate.Options{})}
	j.cfg.Archive.Dir = dir
	u, _ := weburl.Parse("http://example.com/big")
	full := fault.New(fault.Full, "no room")
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 5<<19), 0o600); err != nil { // above the mark, but not by much
		t.Fatal(err)
	}
	for range 3 * mostLarge {
		if err := j.noRoom(u, full); !errors.Is(err, full) || !noMatter(t.Context(), err) {
			t.Fatal(err)
		}
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	for range mostLarge - 1 {
		if err := j.noRoom(u, full); !noMatter(t.Context(), err) {
			t.Fatal(err)
		}
	}
	if err := j.noRoom(u, full); noMatter(t.Context(), err) || !errors.Is(err, errLarge) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there are %v %v", left, err)
	}
}

// TestLargerThanTheArchive: an answer that fits where answers lie until they are written, and not where the WARC files are,
// ends no run: all else is archived, and nothing else is fetched again.
func TestLargerThanTheArchive(t *testing.T) {
	t.Parallel()
	large := make([]byte, 12<<20)
	_, _ = rand.Read(large)
	r := newRig(t, map[string]string{"/": `<a href="/big">big</a><a href="/c">c</a>`, "/big": string(large), "/c": "c"})
	r.site.types = map[string]string{"/big": "application/octet-stream"}
	r.cfg.Archive.Dir = testenv.SmallDisk(t, 8<<20)
	soon, retries := time.Millisecond, 1
	r.cfg.Settings.RetryAfter, r.cfg.Settings.Retries = &soon, &retries
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if c := r.counts(); c.Failed != 1 || c.Done != 3 {
		t.Errorf("%+v", c)
	}
	r.site.mu.Lock()
	defer r.site.mu.Unlock()
	if r.site.asked["/"] != 1 || r.site.asked["/c"] != 1 || r.site.asked["/big"] != 1+retries {
		t.Errorf("asked for %v", r.site.asked)
	}
	r.heldNobodyUp()
	text, err := os.ReadFile(filepath.Join(r.cfg.Logs, errorsLog))
	if err != nil || !strings.Contains(string(text), "it has more, and there is room for ") || !strings.Contains(string(text), r.cfg.Archive.Dir) {
		t.Errorf("it says %q %v", text, err)
	}
}

// heldNobodyUp looks whether all the others went on.
func (r *rig) heldNobodyUp() {
	r.Helper()
	for _, e := range r.events() {
		if strings.HasPrefix(e.Kind, "gate.") {
			r.Errorf("%s %s", e.Kind, e.Text)
		}
	}
}

// TestLargeIsKnownBefore: of an answer whose length says that there is no room for it nothing is downloaded.
func TestLargeIsKnownBefore(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	var seen atomic.Int64
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/big" {
			http.NotFound(w, q)
			return
		}
		seen.Add(1)
		w.Header().Set("Content-Length", strconv.Itoa(100<<20))
		_, _ = w.Write([]byte("begin"))
		w.(http.Flusher).Flush()
		<-q.Context().Done() // until the connection is closed
	}))
	defer big.Close()
	r.cfg.Archive.Dir = testenv.SmallDisk(t, 8<<20)
	soon, retries := time.Millisecond, 1
	r.cfg.Settings.RetryAfter, r.cfg.Settings.Retries = &soon, &retries
	r.cfg.Seeds = append(r.cfg.Seeds, big.URL+"/big")
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if c := r.counts(); c.Failed != 1 || c.Done != 3 || seen.Load() != 2 {
		t.Errorf("%+v, it was asked for %d times", c, seen.Load())
	}
	r.heldNobodyUp()
	text, err := os.ReadFile(filepath.Join(r.cfg.Logs, errorsLog))
	if err != nil || !strings.Contains(string(text), "it has 100.0 MiB, and there is room for ") {
		t.Errorf("it says %q %v", text, err)
	}
	most := int64(1 << 20)
	r.cfg.Settings.MaxBytes = &most // a part of it has room
	request, refused := (&Job{cfg: r.cfg, room: smallRoom(t), env: engine.Env{Dir: r.dir, Room: smallRoom(t)}}).fits(connector.FetchRequest{MaxBytes: most})
	if !request.Wants(200, http.Header{"Content-Length": {"104857600"}}) || request.MaxBytes != most || refused(&connector.Exchange{Truncated: warc.TruncatedLength}) != nil {
		t.Error("it is refused, though no more is to be read than there is room for")
	}
}

func smallRoom(t *testing.T) *engine.Room {
	t.Helper()
	room, err := engine.NewRoom(testenv.SmallDisk(t, 8<<20), engine.RoomLimits{Soft: 1, Hard: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return room
}

// TestNoRoomIsAsked: a host whose answer found no room was asked all the same, and is left alone for its delay.
func TestNoRoomIsAsked(t *testing.T) {
	for _, path := range []string{"/big", "/robots.txt"} {
		r := newRig(t, nil)
		delay := time.Hour
		r.cfg.Seeds, r.cfg.Settings.MinDelay, r.cfg.Settings.MaxDelay = []string{r.site.URL + path}, &delay, &delay
		r.cfg.Settings.Robots = &robots.Policy{Mode: robots.Ignore}
		r.cfg.Fetch = hooked{r.cfg.Fetch, func(string) error { return fault.New(fault.Full, "write the file of an answer: %w", unix.ENOSPC) }}
		j, end := r.open()
		l, err := j.frontier.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if v, err := j.visit(t.Context(), l, 0); v != nil || err != nil {
			t.Fatal(v, err)
		}
		if leave, err := j.frontier.TryGuest(l.Queue, l.URL); leave != nil || err != nil {
			t.Errorf("%s: its host may be asked again at once: %v", path, err)
		}
		if n := j.frontier.Flying(); n != 0 {
			t.Errorf("%s: %d are in flight", path, n)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

// TestTakenIn: what is to be written has its room, also if it is closed twice.
func TestTakenIn(t *testing.T) {
	room, err := engine.NewRoom(testenv.SmallDisk(t, 4<<20), engine.RoomLimits{Soft: 1, Hard: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{room: room}
	answer := func() *connector.Exchange { return &connector.Exchange{Received: sized3{}} }
	first := answer()
	if err := j.takeIn(first); err != nil {
		t.Fatal(err)
	}
	if err := j.takeIn(answer()); !fault.Is(err, fault.Full) {
		t.Errorf("the second finds room too: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Error(err)
	}
	if n := j.unwritten.Load(); n != 0 {
		t.Errorf("%d bytes are to be written", n)
	}
	if err := j.takeIn(answer()); err != nil {
		t.Error(err)
	}
}

// sized3 is an answer of 3 MiB.
type sized3 struct{ connector.Bytes }

func (sized3) Size() int64  { return 3 << 20 }
func (sized3) Close() error { return nil }
