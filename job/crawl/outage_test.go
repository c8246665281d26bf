package crawl

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// TestOutage: the time to the next try grows up to retry_after; several that fail at once are one try; a page that never comes
// is no reason to leave its host alone, three in a row are.
func TestOutage(t *testing.T) {
	set := settings{retryAfter: 16 * time.Minute, retries: 7}
	now := time.Now()
	o := outage{}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 16, 16, 16} {
		o = o.next(connector.FetchNoConnect, now, now, set)
		if got := o.until.Sub(now); got != want*time.Minute || !o.sleeps() || o.lost(set) != (i == 7) {
			t.Errorf("after try %d the host is left alone for %s, lost: %v", i+1, got, o.lost(set))
		}
		if also := o.next(connector.FetchNoConnect, now.Add(-time.Second), now, set); also != o {
			t.Errorf("one that was under way is a try of its own: %+v", also)
		}
		now = o.until
	}
	o = outage{}
	for i, want := range []bool{false, false, true, true} {
		if o = o.next(connector.FetchTimeout, now, now, set); o.sleeps() != want {
			t.Errorf("after %d answers that did not come the host sleeps: %v", i+1, o.sleeps())
		}
		now = o.until
	}
	o.tries = 1000
	if o.lost(set) {
		t.Error("a host that takes connections was given up")
	}
	if got := o.next(connector.FetchBroken, now, now, set).until.Sub(now); got != 16*time.Minute {
		t.Errorf("after a thousand it is left alone for %s", got)
	}
}

// leaving is a host that may be away.
type leaving struct {
	mu       sync.Mutex
	here     bool // it is this end that is away; then it has no robots.txt either
	robots   bool // nor has it one while it is away
	status   int  // 0: it is there
	answered int
	failed   int
	when     func(l *leaving) // is called before each page
}

func (l *leaving) hook(url string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	isRobots := strings.HasSuffix(url, "/robots.txt")
	if isRobots && !l.here && !l.robots {
		return nil
	}
	l.when(l)
	if isRobots && l.status == 0 {
		return nil
	}
	if l.status == 0 {
		l.answered++
		return nil
	}
	l.failed++
	return &connector.FetchError{Status: l.status, Here: l.here, Begun: time.Now(), Err: fault.New(fault.Transient, "nobody is there")}
}

func leavingRig(t *testing.T, l *leaving, retries int) *rig {
	pages := map[string]string{}
	var front strings.Builder
	for i := range 200 {
		fmt.Fprintf(&front, `<a href="/p%d">p</a>`, i)
		pages[fmt.Sprintf("/p%d", i)] = fmt.Sprint("page ", i)
	}
	pages["/"] = front.String()
	r := newRig(t, pages)
	after := 80 * time.Millisecond
	r.cfg.Settings.RetryAfter, r.cfg.Settings.Retries, r.cfg.Settings.DelayFactor = &after, &retries, new(float64)
	r.cfg.Fetch = hooked{r.cfg.Fetch, l.hook}
	return r
}

// TestHostAway: a host that goes away is asked now and then for one of its URLs, not for all; when it is back all are archived.
func TestHostAway(t *testing.T) {
	for _, status := range []int{connector.FetchNoConnect, connector.FetchNoName, connector.FetchTimeout} {
		var back time.Time
		l := &leaving{when: func(l *leaving) {
			switch {
			case l.answered == 20 && back.IsZero():
				l.status, back = status, time.Now().Add(400*time.Millisecond)
			case time.Now().After(back):
				l.status = 0
			}
		}}
		r := leavingRig(t, l, 30)
		var said strings.Builder
		r.said = &said
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"is left alone as a whole", "answers again"} {
			if n := strings.Count(said.String(), line); n != 1 {
				t.Errorf("status %d: the log says %d times %q", status, n, line)
			}
		}
		if l.failed < 3 || l.failed > 14 {
			t.Errorf("status %d: while it was away it was asked %d times", status, l.failed)
		}
		if c := r.counts(); c.Done != 202 || c.Failed != 0 {
			t.Errorf("status %d: %+v", status, c)
		}
		if n := len(r.archived()); n != 202 {
			t.Errorf("status %d: %d are archived", status, n)
		}
	}
}

// TestHostAwayAtFirst: a host that is away when it is asked for its robots.txt is tried as often as for any of its URLs.
func TestHostAwayAtFirst(t *testing.T) {
	var back time.Time
	l := &leaving{robots: true, status: connector.FetchNoConnect, when: func(l *leaving) {
		switch {
		case back.IsZero():
			back = time.Now().Add(400 * time.Millisecond)
		case time.Now().After(back):
			l.status = 0
		}
	}}
	r := leavingRig(t, l, 30)
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if c := r.counts(); c.Done != 202 || c.Failed != 0 || l.failed < 3 || l.failed > 14 {
		t.Errorf("%+v; while it was away it was asked %d times", c, l.failed)
	}
}

// TestHostLost: a host that stays away is tried as often as the setting says, also by a crawl that was stopped meanwhile. Then
// its URLs fail without being asked for, and the crawl ends.
func TestHostLost(t *testing.T) {
	const retries = 8
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := &leaving{}
	l.when = func(l *leaving) {
		if l.answered == 20 {
			l.status = connector.FetchNoConnect
		}
		if l.failed == 1 {
			stop() // this one, the second, is written down
		}
	}
	r := leavingRig(t, l, retries)
	if err := r.run(ctx); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Queued+c.Waiting != 181 {
		t.Fatalf("%+v", c)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.failed < retries+1 || l.failed > retries+2 { // once more if the machine is so slow that its time comes again
		t.Errorf("it was tried %d times", l.failed)
	}
	if c := r.counts(); c.Failed != 181 || c.Done != 21 || c.Queued+c.Waiting != 0 {
		t.Errorf("%+v", c)
	}
	for path, n := range r.logged() {
		if n != 1 {
			t.Errorf("crawl.log has %s %d times", path, n)
		}
	}
}

// TestHostAwayTwice: a host that answers is tried anew when it is away again.
func TestHostAwayTwice(t *testing.T) {
	l := &leaving{}
	l.when = func(l *leaving) {
		l.status = 0
		if l.failed < 3 && l.answered >= 20 || l.failed < 6 && l.answered >= 40 {
			l.status = connector.FetchNoConnect
		}
	}
	r := leavingRig(t, l, 4)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Done != 202 || c.Failed != 0 || l.failed != 6 {
		t.Errorf("%+v, it was asked %d times while it was away", c, l.failed)
	}
}

// TestCutOff: while it is this end that is away, nothing is given up, however often and from the first request on; status says
// why nothing comes, and all goes on by itself.
func TestCutOff(t *testing.T) {
	l := &leaving{here: true, status: connector.FetchNoName}
	l.when = func(l *leaving) {
		switch {
		case l.failed == 20 || l.failed == 40: // twice
			l.status, l.failed = 0, l.failed+1
		case l.answered == 20 && l.failed == 21:
			l.status = connector.FetchNoConnect
		}
	}
	r := leavingRig(t, l, 2)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Done != 202 || c.Failed != 0 || l.failed < 40 {
		t.Errorf("%+v after %d failures", c, l.failed)
	}
	var kinds []string
	for _, e := range r.events() {
		if strings.HasPrefix(e.Kind, "gate.") {
			kinds = append(kinds, e.Kind+" "+e.Text)
		}
	}
	if len(kinds) != 4 || !strings.HasPrefix(kinds[0], "gate.closed network: nothing can be asked for from here") || kinds[3] != "gate.opened network is back" {
		t.Errorf("told %q", kinds)
	}
}

// events are those of the history.
func (r *rig) events() (all []engine.Event) {
	r.Helper()
	st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
	if err != nil {
		r.Fatal(err)
	}
	defer st.Close()
	err = st.Latest(func(rd store.Reader) (err error) {
		all, err = engine.ReadEvents(rd, 0, 1000)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return all
}

// TestCutOffBehindRedirect: rules behind a redirect that could not be followed are not known. What redirects says nothing of
// what is forbidden, and the host is still asked by one at a time.
func TestCutOffBehindRedirect(t *testing.T) {
	r := newRig(t, map[string]string{"/": `<a href="/secret">s</a>`, "/secret": "s"})
	r.site.robots = "User-agent: *\nDisallow: /secret\n"
	var mu sync.Mutex
	cut := 3
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(url, "/elsewhere") && cut > 0 {
			cut--
			return &connector.FetchError{Status: connector.FetchNoConnect, Here: true, Begun: time.Now(),
				Err: fault.New(fault.Transient, "no way out")}
		}
		return nil
	}}
	after := 10 * time.Millisecond
	r.cfg.Settings.RetryAfter = &after
	var said strings.Builder
	r.said = &said
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]int{"nothing can be asked for from here": 3, "network is back": 3} { // it comes and goes
		if n := strings.Count(said.String(), line); n != want {
			t.Errorf("the log says %d times %q", n, line)
		}
	}
	if cut != 0 {
		t.Errorf("it was not cut off often enough: %d", cut)
	}
	for url := range r.archived() {
		if strings.HasSuffix(url, "/secret") {
			t.Error("what is forbidden was asked for")
		}
	}
	if c := r.counts(); c.Left != 1 || c.Failed != 0 {
		t.Errorf("got %+v", c)
	}
}

// TestRulesOfEach: hosts that are the same to an archive, with www and without, have rules of their own, and counters of their
// own.
func TestRulesOfEach(t *testing.T) {
	j := &Job{cfg: Config{Rules: weburl.Heritrix}}
	one, _ := weburl.Parse("http://example.org/robots.txt")
	other, _ := weburl.Parse("http://www.example.org/robots.txt")
	if a, b := j.item(one, "P", one, ""), j.item(other, "P", other, ""); a.Key == b.Key {
		t.Errorf("both have the key %s", a.Key)
	}
	page, _ := weburl.Parse("http://example.org/page")
	same, _ := weburl.Parse("http://www.example.org/page")
	if a, b := j.item(page, "L", one, ""), j.item(same, "L", one, ""); a.Key != b.Key {
		t.Errorf("a page has the keys %s and %s", a.Key, b.Key)
	}
}

// TestOutageNewest: of what several found out of a host, written down in whatever order, the last counts behind a start.
func TestOutageNewest(t *testing.T) {
	r := newRig(t, nil)
	j, end := r.open()
	defer end()
	set := settings{retryAfter: 16 * time.Minute}
	now := time.Now()
	older := outage{}.next(connector.FetchTimeout, now, now, set)
	newer := older.next(connector.FetchTimeout, older.until, older.until, set)
	for _, o := range []outage{newer, older} {
		if _, _, err := j.outages.change("q", func(outage) outage { return newer }); err != nil {
			t.Fatal(err)
		}
		if err := j.env.Store.Update(func(tx *store.Tx) error { j.outages.put(tx, "q", o); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	again := &outages{st: j.env.Store, frontier: j.frontier, recent: recent[outage]{most: 1}}
	if o, err := again.of("q"); err != nil || o.tries != newer.tries {
		t.Errorf("%+v %v, want %+v", o, err, newer)
	}
}

// TestOutageOfMany: each of many that find out at the same time that a host does not answer counts, while others look, and though
// nobody has asked the store about it before.
func TestOutageOfMany(t *testing.T) {
	r := newRig(t, nil)
	j, end := r.open()
	defer end()
	const each = 4
	for n := range 500 {
		queue := fmt.Sprintf("host %d", n)
		var all sync.WaitGroup
		for range each {
			all.Go(func() {
				_, _, err := j.outages.change(queue, func(o outage) outage { o.tries++; return o })
				if err != nil {
					t.Error(err)
				}
			})
			all.Go(func() { _, _ = j.outages.of(queue) })
		}
		all.Wait()
		if o, err := j.outages.of(queue); err != nil || o.tries != each {
			t.Fatalf("%s: %d tries %v, want %d", queue, o.tries, err, each)
		}
	}
}
