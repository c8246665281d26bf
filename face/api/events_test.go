package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/kernel/engine"
)

// sent is one server-sent event.
type sent struct {
	id string
	engine.Event
}

// listener follows the events over HTTP.
type listener struct {
	lines *bufio.Scanner
	close func()
}

func listen(t *testing.T, url, last string) (*listener, int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", eventStream)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{bufio.NewScanner(resp.Body), func() {
		cancel()
		resp.Body.Close()
	}}
	t.Cleanup(l.close)
	return l, resp.StatusCode
}

// next returns the next event.
func (l *listener) next(t *testing.T) (e sent) {
	t.Helper()
	for l.lines.Scan() {
		key, value, _ := strings.Cut(l.lines.Text(), ": ")
		switch key {
		case "id":
			e.id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.Event); err != nil {
				t.Fatal(err)
			}
			return e
		}
	}
	t.Fatalf("the stream ended: %v", l.lines.Err())
	return e
}

// until returns the events up to the first of a kind.
func (l *listener) until(t *testing.T, kind string) (all []sent) {
	t.Helper()
	for {
		e := l.next(t)
		all = append(all, e)
		if e.Kind == kind {
			return all
		}
	}
}

// served is a live desk behind a server.
func served(t *testing.T) (*desk.Desk, string) {
	t.Helper()
	d, _ := live(t)
	srv := httptest.NewServer(Handler(d))
	t.Cleanup(srv.Close)
	return d, srv.URL + "/api/v1/events"
}

// A client that comes back with the id of any event gets what came since, once and in order: while it was
// away, and when the store went back to a checkpoint.
func TestEventsAreResumed(t *testing.T) {
	d, url := served(t)
	first, _ := listen(t, url, "")
	begin := first.next(t)
	if _, err := d.CreateCheckpoint(t.Context(), "spots", "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Pause("spots"); err != nil {
		t.Fatal(err)
	}
	upTo := first.until(t, "job.paused")
	last := upTo[len(upTo)-1]
	first.close()
	if err := d.Resume("spots"); err != nil {
		t.Fatal(err)
	}
	second, _ := listen(t, url, last.id)
	if e := second.next(t); e.ID != last.ID+1 || e.Kind != "job.resumed" {
		t.Errorf("got %d %s behind %d, want the next event", e.ID, e.Kind, last.ID)
	}
	if again, _ := listen(t, url, begin.id); again.next(t).ID != upTo[0].ID {
		t.Errorf("behind %s: want event %d", begin.id, upTo[0].ID)
	}
	if _, err := d.RestoreCheckpoint(t.Context(), "spots", "one", nil); err != nil {
		t.Fatal(err)
	}
	third, _ := listen(t, url, last.id)
	e := third.next(t)
	if e.ID > last.ID || !e.At.After(last.At) {
		t.Errorf("behind a restore: got %d of %v, want one with an id that came before, younger than %v", e.ID,
			e.At, last.At)
	}
	for got := second.next(t); got.id != e.id; got = second.next(t) {
		if got.At.After(e.At) {
			t.Fatalf("who followed through the restore did not hear of %d of %v", e.ID, e.At)
		}
	}
}

// A page tells where the next one begins.
func TestEventsByPages(t *testing.T) {
	d, url := served(t)
	is := func(want engine.State) {
		await(t, "the job to be "+string(want), func() bool {
			rep, err := d.Status(t.Context(), "")
			return err == nil && rep.Jobs[0].State == want
		})
	}
	for range 3 {
		if err := d.Pause("spots"); err != nil {
			t.Fatal(err)
		}
		is(engine.Paused)
		if err := d.Resume("spots"); err != nil {
			t.Fatal(err)
		}
		is(engine.Running) // else the next pause is no other one
	}
	var all []engine.Event
	await(t, "the events", func() (is bool) {
		var err error
		all, _, err = d.Events(t.Context(), "", 1000)
		return err == nil && len(all) > 6
	})
	at := engine.Positions{"spots": all[0].Position()}.String()
	for _, want := range all[1:5] {
		var page struct {
			Items []engine.Event
			Next  string
		}
		resp, err := http.Get(url + "?max=1&after=" + at)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != want.ID {
			t.Fatalf("behind %s: got %+v, %v; want event %d", at, page, err, want.ID)
		}
		at = page.Next
	}
}

// Only so many may follow at once; one that goes makes room.
func TestFollowersAreBounded(t *testing.T) {
	_, url := served(t)
	var some []*listener
	for range maxStreams {
		l, status := listen(t, url, "")
		if status != http.StatusOK {
			t.Fatalf("got %d", status)
		}
		some = append(some, l)
	}
	if _, status := listen(t, url, ""); status != http.StatusTooManyRequests {
		t.Errorf("got %d for one too many, want 429", status)
	}
	some[0].close()
	await(t, "a place", func() bool {
		l, status := listen(t, url, "")
		l.close()
		return status == http.StatusOK
	})
}

// Who follows the events from now on gets those of a job that is not open yet, but not what that did before.
func TestFollowersGetNoOldEventsAsNews(t *testing.T) {
	dir, text := t.TempDir(), []byte(`jobs: {spots: {collect: {source: {wsprnet: {url: "http://127.0.0.1:1/"}}, `+
		`sinks: {local: {sqlite: {path: s.sqlite}}}}}}`)
	t.Run("before", func(t *testing.T) {
		d := runConfigIn(t, dir, text)
		await(t, "a history", func() bool {
			all, _, err := d.Events(t.Context(), "spots", 10)
			return err == nil && len(all) > 0
		})
	})
	d, start := begin(t, planIn(t, dir, text))
	srv := httptest.NewServer(Handler(d))
	t.Cleanup(srv.Close)
	began := time.Now()
	l, _ := listen(t, srv.URL+"/api/v1/events", "")
	start()
	if e := l.next(t); e.At.Before(began) {
		t.Errorf("the first news are %s of %v before: %s", e.Kind, began.Sub(e.At), e.Text)
	}
}
