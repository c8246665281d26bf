package messages

import (
	"context"
	"encoding/json"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// CursorVersion is what the key "v" of a cursor says. Positions of another version are refused.
const CursorVersion = 1

// Feed is what a source of messages reads, from a position P on: a stream that keeps them, or a channel that does not.
type Feed[P any] interface {
	// Fetch waits for messages behind the position and gives them to the block, with what else the page has to tell.
	Fetch(ctx context.Context, at P, to *Block) (P, connector.Page, error)
	// Lost is what could not be held since it was asked last.
	Lost() int64
	// Close ends the connection. The next Fetch makes another one.
	Close()
}

// Source is a feed whose messages are rows. Its cursor is the JSON of a position, which has its version as "v".
type Source[P any] struct {
	Feed      Feed[P]
	Table     *columns.Table
	Limits    Limits
	Keeps     bool // the feed keeps what is not asked for
	Beginning P
	// Classify makes a fault of an error of the feed.
	Classify func(ctx context.Context, err error) error
}

// Traits: a stream can be paused, since it keeps what we do not ask for; a channel does not.
func (s *Source[P]) Traits() connector.SourceTraits {
	if s.Keeps {
		return connector.SourceTraits{Pausable: true}
	}
	return connector.SourceTraits{Lost: s.Feed.Lost}
}

// Schema returns the declared columns. A page may have optional ones behind them.
func (s *Source[P]) Schema() record.Schema { return s.Table.Schema() }

// Start returns the beginning: a feed does not know its places by keys. Rows that are known are told apart by their keys.
func (s *Source[P]) Start(uint64) []byte { return cursorOf(s.Beginning) }

func cursorOf[P any](p P) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // positions are made of plain types alone
	}
	return b
}

func (s *Source[P]) position(cursor []byte) (p P, err error) {
	if len(cursor) == 0 {
		return s.Beginning, nil
	}
	var is struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(cursor, &is) != nil || is.Version != CursorVersion || json.Unmarshal(cursor, &p) != nil {
		return p, fault.New(fault.Permanent, "the cursor %.100q is none of this version", cursor)
	}
	return p, nil
}

// Fetch waits until there is a message, and takes with it what comes before the block is full or linger is over.
func (s *Source[P]) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	at, err := s.position(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	to := newBlock(s.Table.Begin(ctx), s.Limits)
	next, p, err := s.Feed.Fetch(ctx, at, to)
	if err == nil {
		err = to.Finish(&p)
	}
	if err != nil {
		s.Feed.Close()
		return connector.Page{}, s.Classify(ctx, err)
	}
	p.Lost += s.Feed.Lost()
	p.Cursor = cursorOf(next)
	return p, nil
}

// Close ends the connection.
func (s *Source[P]) Close() error {
	s.Feed.Close()
	return nil
}

// Parse reads the raw form of a rejected message again.
func (s *Source[P]) Parse(raw []byte) connector.Page { return s.Table.Parse(raw) }
