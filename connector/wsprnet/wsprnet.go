// Package wsprnet is the source of WSPR spots: it polls the feed of wsprnet.org, or whatever speaks
// its protocol, for the spots behind the highest id it has seen.
//
//	source: {wsprnet: {username: "${WSPR_USER}", password: "${WSPR_PASS}", every: 120s}}
//
// The promise: a cursor never passes an id that the feed may still have and that no page held,
// except when the feed itself makes that impossible (it cuts a page in descending order at the same
// place twice); then Complete does not claim the ids in between, so they are a gap and not a
// silence. Answers may be unordered, cut anywhere, or full of garbage: every whole spot is used,
// and a spot that can't be a row is a Reject. What an answer means is decided here: an expired
// session is renewed once; a refused login is told once and not repeated; everything else that
// speaks of the server is an outage, or a wait that it asked for.
//
// A cursor is the text of a decimal spot number: the highest that was read. Polls are planned by
// NextPoll. Spots of the old scraper's cache files are read by package cachefile; package simulator
// is a feed for tests and demonstrations.
package wsprnet

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/wsprnet/spot"
)

// Options tunes what no configuration file says.
type Options struct {
	UserAgent string       // default holdfast
	Log       *slog.Logger // default none
}

// Source is the feed.
type Source struct {
	cfg    Config
	opts   Options
	log    *slog.Logger
	client *http.Client
	limit  *rate.Limiter
	host   string

	session      session
	hasSession   bool
	refusedUntil time.Time
	retry        atomic.Bool
	notes        map[string]int64 // of the Fetch under way

	// The last page that was cut with its order against us: asked for once more from the same
	// cursor before the cursor passes it.
	cut struct {
		after, lowest uint64
		open          bool
	}
	largest int64 // items of the largest whole page so far

	expect int64 // rows of the next page, by the last one
	strays spot.Strays

	// The last query that was answered, for the etiquette.
	asked struct {
		after uint64
		at    time.Time
	}
}

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the feed nothing yet.
func Open(cfg Config, opts Options) (*Source, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, fault.New(fault.Permanent, "open wsprnet source: %w", errors.Join(faults...))
	}
	cfg = cfg.WithDefaults()
	if opts.UserAgent == "" {
		opts.UserAgent = "holdfast"
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, opts: opts, log: opts.Log, limit: download.NewLimit(cfg.MaxBytesPerSecond),
		host: hostOf(cfg.URL), strays: spot.Strays{}}
	s.client = &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: cfg.RequestTimeout}).DialContext,
		TLSHandshakeTimeout: cfg.RequestTimeout,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // gzip is taken off behind the rate limit
		ReadBufferSize:      64 << 10,
	}}
	var err error
	if s.session, err = loadSession(cfg.SessionFile, cfg.Username, cfg.LoginURL); err != nil {
		s.note("session_file_ignored", 1)
		s.log.Warn("session file ignored: a new session is asked for",
			"file", cfg.SessionFile, "error", err)
	}
	s.hasSession = s.session.valid()
	return s, nil
}

// Traits: the feed waits for us and keeps 24 hours, can be asked again, and numbers its spots.
func (s *Source) Traits() connector.SourceTraits {
	return connector.SourceTraits{Pausable: true, Fillable: true, DenseKeys: true}
}

// Schema returns the 20 columns.
func (s *Source) Schema() record.Schema { return spot.Schema() }

// Start returns the text of highest.
func (s *Source) Start(highest uint64) []byte { return strconv.AppendUint(nil, highest, 10) }

// Close gives up idle connections. The session stays valid, in the session file.
func (s *Source) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// NextPoll returns when the feed is to be polled again after a poll that began at last.
func (s *Source) NextPoll(last time.Time) time.Time { return nextPoll(last, s.host, s.cfg.Every) }

func (s *Source) note(name string, n int64) {
	if s.notes == nil {
		s.notes = map[string]int64{}
	}
	s.notes[name] += n
}
