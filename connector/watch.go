package connector

import (
	"context"
	"time"
)

// Watcher follows one thing that happens outside: a journal, a log file, a metric, the state of a unit.
type Watcher interface {
	// Watch tells what is seen behind a position until ctx ends, and returns nil then. With no position it begins where the
	// Watcher's own settings say. An error is a fault; whoever called it calls again, with the last position that tell took.
	//
	// tell keeps what was seen and what it led to together with its position, or returns an error, which Watch then returns: a
	// thing that tell has taken is never told again, one that it has not is. tell may take as long as it likes, and the
	// Watcher reads no further meanwhile. It is called from one goroutine at a time, and keeps nothing of the Seen.
	Watch(ctx context.Context, after []byte, tell func(context.Context, Seen) error) error
}

// Historian is a Watcher of something that has a past: Past tells what was from a time on until now, once, in its order,
// and returns. It is for who asks what would have followed from it; positions mean nothing.
type Historian interface {
	Past(ctx context.Context, since time.Time, tell func(context.Context, Seen) error) error
}

// Seen is what a Watcher saw since the last one: some events in their order, and where it stands behind them.
type Seen struct {
	Events []Event
	// Position is the Watcher's own, as bytes of its own form. It is nil for one that has no past to go back to: a metric
	// is what it is now.
	Position []byte
}

// EventKind says what an Event is, and which of its fields are set.
type EventKind uint8

const (
	// EventLine is a line of text: Line, Fields.
	EventLine EventKind = iota + 1
	// EventLook is one look at all of the values that a Watcher asks for: Samples. A series that the last look had and this one
	// has not is absent. If the look itself failed, Failed says why, and nothing is known of any series.
	EventLook
	// EventGap says that something of the past can't be read any more: Cause.
	EventGap
	// EventNote is what a Watcher says of itself: what its child wrote to stderr, that a file was rotated: Cause.
	EventNote
)

// Event is one thing that was seen.
type Event struct {
	Kind EventKind
	// Time is when it happened by the word of who wrote it, and where nobody says so, when it was seen.
	Time time.Time
	// ID tells this event from all others of its Watcher, and is the same whenever it is told: a journal's cursor, a file's
	// identity and the offset of the line.
	ID string

	Line []byte // without its newline, and not more than the Watcher's cap; bytes, as they came
	Cut  bool   // the line was longer than the cap
	// Fields are what is known beside the line. Those whose names begin with "_" are trusted: who writes lines can't forge
	// them.
	Fields map[string]string

	Samples []Sample
	Failed  string

	Cause string
}

// Sample is the value of one series at one look.
type Sample struct {
	// Labels name the series, and "" its name where it has one.
	Labels map[string]string
	// Value is the number; Text is set instead where the value is a word: the state of a unit, the answer to a query of
	// strings.
	Value float64
	Text  string
	// Fields are what is known beside the value, and no part of the series' name: the sub state of a unit.
	Fields map[string]string
	// Stale: the source says that the series has ended, or its value is older than it should be.
	Stale bool
}
