package tour

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/web"
	"holdfast/connector"
)

// Trouble is what can be provoked at the broker of the tour.
type Trouble struct {
	ln net.Listener

	mu      sync.Mutex // guards the below
	away    bool
	lossy   bool
	since   time.Time     // of the last switch
	changed chan struct{} // closed, and made anew, by each switch
	dropped int
}

// OpenTrouble returns the switches, listening on addr.
func OpenTrouble(addr string) (*Trouble, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the switches of the broker: %w", err)
	}
	return &Trouble{ln: ln, changed: make(chan struct{}), since: time.Now()}, nil
}

// URL is the page with the switches.
func (t *Trouble) URL() string { return "http://" + t.ln.Addr().String() + "/" }

// Close gives the address up; Run does so too.
func (t *Trouble) Close() error { return t.ln.Close() }

// Run serves the page until ctx ends.
func (t *Trouble) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", t.page)
	mux.HandleFunc("POST /{$}", t.turn)
	srv := newServer(web.Own(mux))
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(t.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the switches of the broker: %w", err)
	}
	return nil
}

// newServer is a server of the tour, to which little is sent.
func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: web.Limited(h, 1<<10, 10*time.Second), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
}

//go:embed broker.html
var troubleText string

var troublePage = template.Must(template.New("trouble").Parse(troubleText))

func (t *Trouble) page(w http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	shown := struct {
		Away, Lossy bool
		Dropped     int
		For         string
	}{t.away, t.lossy, t.dropped, time.Since(t.since).Round(time.Second).String()}
	t.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	_ = troublePage.Execute(w, shown) // who has gone away needs no page
}

func (t *Trouble) turn(w http.ResponseWriter, r *http.Request) {
	t.set(r.FormValue("name"), r.FormValue("on") == "true")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// set switches away or lossy.
func (t *Trouble) set(name string, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch name {
	case "away":
		t.away = on
	case "lossy":
		t.lossy = on
	}
	t.since = time.Now()
	close(t.changed)
	t.changed = make(chan struct{})
}

// state is what is switched on, and what tells of the next switch.
func (t *Trouble) state() (away, lossy bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.away, t.lossy, t.changed
}

// troubled is a broker with switches.
type troubled struct {
	connector.Broker
	t *Trouble
}

var errSwitchedOff = fault.WithHint(fault.New(fault.Transient, "the broker is switched off"),
	"switch it on again on the page that the tour told")

func (b troubled) Publish(ctx context.Context, m connector.Message) error {
	away, lossy, _ := b.t.state()
	if away {
		return errSwitchedOff
	}
	if lossy && rand.Float64() < 0.3 {
		b.t.mu.Lock()
		b.t.dropped++
		b.t.mu.Unlock()
		return nil
	}
	return b.Broker.Publish(ctx, m)
}

func (b troubled) Listen(ctx context.Context, l connector.Listener) error {
	away, _, changed := b.t.state()
	if away {
		return errSwitchedOff
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() { // waited for below
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if away, _, changed = b.t.state(); away {
				cancel(errSwitchedOff)
				return
			}
		}
	}()
	err := b.Broker.Listen(ctx, l)
	cancel(nil)
	<-done
	if context.Cause(ctx) == errSwitchedOff {
		return errSwitchedOff
	}
	return err
}
