package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/base/secret"
	"holdfast/kernel/engine"
)

// watcher follows the overview over HTTP.
type watcher struct{ *listener }

func watch(t *testing.T, url string) (watcher, int) {
	t.Helper()
	l, status := listen(t, url, "")
	l.lines.Buffer(nil, 1<<20)
	return watcher{l}, status
}

// view returns the next overview.
func (w watcher) view(t *testing.T) (v Overview) {
	t.Helper()
	for w.lines.Scan() {
		if data, ok := strings.CutPrefix(w.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("the stream ended: %v", w.lines.Err())
	return v
}

func (v Overview) job(t *testing.T, name string) (s engine.Status) {
	t.Helper()
	if err := json.Unmarshal(v.Jobs[name], &s); err != nil {
		t.Fatalf("job %s in %v: %v", name, v.Jobs, err)
	}
	return s
}

// The first overview has everything, the next ones what has changed.
func TestOverviewTellsWhatChanges(t *testing.T) {
	d, _ := live(t)
	srv := httptest.NewServer(Handler(d))
	t.Cleanup(srv.Close)
	w, _ := watch(t, srv.URL+"/api/v1/overview")
	first := w.view(t)
	s := first.job(t, "spots")
	if first.Process == nil || first.Machine == nil || first.Events == nil || len(first.Names) != 1 || s.Balance.Read == 0 ||
		len(s.Balance.Gaps) != 0 {
		t.Fatalf("got %+v", first)
	}
	var m Machine
	if err := json.Unmarshal(first.Machine, &m); err != nil || m.Free == 0 || m.Total < m.Free || m.Soft == 0 || m.Memory < 1<<20 {
		t.Errorf("got %+v, %v", m, err)
	}
	var v desk.Verdict
	if err := json.Unmarshal(first.Verdict, &v); err != nil || v.Loss != "Nothing is lost." || len(v.Down) != 0 {
		t.Errorf("the verdict is %s, %v", first.Verdict, err)
	}
	second := w.view(t)
	if second.Process != nil || !second.At.After(first.At) {
		t.Errorf("what has not changed came again: %s", second.Process)
	}
	if err := d.Pause("spots"); err != nil {
		t.Fatal(err)
	}
	for verdict := ""; ; {
		v := w.view(t)
		verdict += string(v.Verdict)
		if v.Jobs["spots"] != nil && v.job(t, "spots").State == engine.Paused {
			if !strings.Contains(verdict, `"text":"paused for`) {
				t.Errorf("the verdict does not tell of the pause: %s", verdict)
			}
			break
		}
	}
}

// twoJobs are one that collects and one that crawls, of which neither finds anything.
const twoJobs = `jobs: {watch: {crawl: {seeds: ["http://127.0.0.1:1/"], contact: me@example.org}}, spots: {collect: {source:
  {http: {url: "http://127.0.0.1:1/", columns: [{name: id, type: text}], key: id}}, sinks:
  {local: {sqlite: {path: spots.sqlite, table: spots}}}}}}`

// A job whose store can't be opened hides nothing, of itself or of others: what it waits for is told, at once, and lists that are
// empty are lists.
func TestOverviewWhileAStoreIsNotOpen(t *testing.T) {
	broken := t.TempDir()
	job := filepath.Join(broken, "jobs", "spots")
	if err := errors.Join(os.MkdirAll(job, 0o700), os.WriteFile(filepath.Join(job, "db"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, dir, text string
		state           engine.State // of watch
		short           bool
		want            string // of spots
	}{
		{"no room to start", t.TempDir(), "disk: {soft: 900PiB, hard: 800PiB}\n" + twoJobs, engine.Starting, true, "starting needs"},
		{"one that can't be read", broken, twoJobs, engine.Running, false, "not a directory"},
	} {
		d := runConfigIn(t, c.dir, []byte(c.text))
		await(t, c.what, func() bool {
			spots, err := d.Status(t.Context(), "spots")
			watch, err2 := d.Status(t.Context(), "watch")
			return errors.Join(err, err2) == nil && spots.Jobs[0].Error != "" && watch.Jobs[0].State == c.state
		})
		began := time.Now()
		w := request(t, Handler(d), "GET", "/api/v1/overview", nil)
		var view Overview
		var machine Machine
		if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &view), json.Unmarshal(view.Machine, &machine)); err != nil {
			t.Fatalf("%s: %v: %s", c.what, err, w.Body)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it took %v", c.what, took)
		}
		for name, text := range view.Jobs {
			if !strings.Contains(string(text), `"sinks":[]`) || name == "spots" && !strings.Contains(string(text), c.want) {
				t.Errorf("%s: %s: %s", c.what, name, text)
			}
		}
		if len(view.Jobs) != 2 || machine.Short != c.short || strings.Contains(string(view.Verdict), "disk is short") != c.short {
			t.Errorf("%s: got %s", c.what, w.Body)
		}
	}
}

// However many follow, one look serves them all.
func TestOverviewIsLookedAtOnce(t *testing.T) {
	d, _ := live(t)
	o := newOverviews(d)
	for range 50 {
		if _, _, err := o.behind(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if o.turn > 2 { // one, and one more on a machine that is very busy
		t.Errorf("%d looks for 50 askers at once", o.turn)
	}
}

// A look that a client began and left is begun anew by the next one; nobody waits for what nobody does.
func TestOverviewOfWhoLeft(t *testing.T) {
	d, _ := live(t)
	o := newOverviews(d)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, _, err := o.behind(gone, 0); err == nil {
		t.Error("who left got an overview")
	}
	if v, _, err := o.behind(t.Context(), 0); err != nil || len(v.Jobs) != 1 {
		t.Errorf("got %v, %v", v, err)
	}
	o.looking <- struct{}{} // somebody looks, for a long time
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := o.behind(short, 0); err == nil {
		t.Error("two looked at a time")
	}
}

func TestOverviewsAreBounded(t *testing.T) {
	d, _ := live(t)
	o := newOverviews(d)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w}
		c.answer(o.serve(r.Context(), c))
	}))
	t.Cleanup(srv.Close)
	var some []watcher
	for range maxOverviews {
		w, status := watch(t, srv.URL)
		if status != http.StatusOK {
			t.Fatalf("got %d", status)
		}
		some = append(some, w)
	}
	if _, status := watch(t, srv.URL); status != http.StatusTooManyRequests {
		t.Errorf("got %d for one too many, want 429", status)
	}
	some[0].close()
	await(t, "a place", func() bool {
		w, status := watch(t, srv.URL)
		w.close()
		return status == http.StatusOK
	})
}

// The console itself needs no token, for there it is given; what it shows does. It says what the token lets one do.
func TestSigningIn(t *testing.T) {
	d, _ := live(t)
	for _, c := range []struct {
		name, path, host, given string
		token                   secret.Text
		want                    int
		says                    string
	}{
		{"the page", "/", "10.0.0.1", "", "sesame", 200, "<!doctype html>"},
		{"the page by a foreign name", "/", "evil.example", "", "", 403, "loopback"},
		{"a file that is not there", "/assets/nosuch.js", "10.0.0.1", "", "sesame", 404, "nothing"},
		{"what the page shows", "/api/v1/overview", "10.0.0.1", "", "sesame", 401, "token"},
		{"no token, where none is set", "/api/v1/session", "127.0.0.1", "", "", 200, `{"token":false,"orders":false}`},
		{"no token, where one is set", "/api/v1/session", "10.0.0.1", "", "sesame", 401, "token"},
		{"the token", "/api/v1/session", "10.0.0.1", "sesame", "sesame", 200, `{"token":true,"orders":true}`},
		{"the token for reading", "/api/v1/session", "10.0.0.1", "looking", "sesame", 200, `{"token":true,"orders":false}`},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+c.path, nil)
		if c.given != "" {
			r.Header.Set("Authorization", "Bearer "+c.given)
		}
		w := httptest.NewRecorder()
		Open(Handler(d), Keys{Token: c.token, Read: "looking"}).ServeHTTP(w, r)
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: got %d %.200s, want %d with %q", c.name, w.Code, w.Body, c.want, c.says)
		}
	}
}
