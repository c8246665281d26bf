package journald

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// placeVersion stands in every position. Another one is not guessed at.
const placeVersion = 1

// place is where the watcher stands: what the bytes of a position hold, as JSON.
type place struct {
	Version int `json:"v"`
	// Cursor is that of an entry that was told, or behind which nothing was to tell; empty if there was none.
	Cursor string `json:"cursor,omitempty"`
	// Micro is the time of that entry, in microseconds since 1970: what is later was not told.
	Micro int64 `json:"micro"`
	// Filter is what was chosen of the journal, as a hash; empty in a place from before there was one.
	Filter string `json:"filter,omitempty"`
	// Until is a time, in microseconds since 1970, up to which all that was chosen is told: it may be behind Micro where
	// nothing more was to tell.
	Until int64 `json:"until,omitempty"`
	// Open are the texts that are not at their end: their entries stand before Cursor.
	Open []open `json:"open,omitempty"`
}

// open is a text that is not at its end.
type open struct {
	Stream string            `json:"stream"`
	ID     string            `json:"id"`
	Time   time.Time         `json:"time"`
	Fields map[string]string `json:"fields"`
	Text   []byte            `json:"text"`
	Lines  int               `json:"lines"`
	Cut    bool              `json:"cut,omitempty"`
	Seen   time.Time         `json:"seen"`
}

func readPlace(b []byte) (*place, error) {
	if len(b) == 0 {
		return nil, nil
	}
	p := &place{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fault.New(fault.Corrupt, "read position %.200q: %w", b, err)
	}
	if p.Version != placeVersion || p.Micro < 0 {
		return nil, fault.New(fault.Corrupt, "read position %.200q: want version %d and a time", b, placeVersion)
	}
	return p, nil
}

func (p place) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of text and numbers alone
	}
	return b
}

// from are the arguments that say where to begin. With a cursor that is the entry at it, which was told already.
func (p place) from() []string {
	if p.Cursor != "" {
		return []string{"--cursor=" + p.Cursor}
	}
	next := p.Micro + 1
	return []string{fmt.Sprintf("--since=@%d.%06d", next/1e6, next%1e6)}
}

func (p place) when() string {
	return time.UnixMicro(p.Micro).UTC().Format("2006-01-02T15:04:05.000000Z")
}

// choose makes a place one of a filter. Under another one it is not told what that chose in addition while it was not
// asked for: it goes on where all was told that the former chose. It reports whether it was another.
func (p *place) choose(filter string) (other bool) {
	sum := sha256.Sum256([]byte(filter))
	now := hex.EncodeToString(sum[:8])
	if other = p.Filter != "" && p.Filter != now; other && p.Until > p.Micro {
		p.Cursor, p.Micro = "", p.Until
	}
	p.Filter = now
	return other
}

// save and restore bring open texts into a position and back.
func save(j *lines.Joiner[connector.Event]) (all []open) {
	if j == nil {
		return nil
	}
	for _, t := range j.Open() {
		all = append(all, open{t.Stream, t.First.ID, t.First.Time, t.First.Fields, t.Text, t.Lines, t.Cut, t.Seen})
	}
	return all
}

func restore(j *lines.Joiner[connector.Event], all []open) {
	var texts []lines.Text[connector.Event]
	for _, o := range all {
		first := o.event()
		first.Line, first.Cut = nil, false
		texts = append(texts, lines.Text[connector.Event]{Stream: o.Stream, First: first, Text: o.Text, Lines: o.Lines, Cut: o.Cut,
			Seen: o.Seen})
	}
	j.Restore(texts)
}

// event is the text as it is so far.
func (o *open) event() connector.Event {
	return connector.Event{Kind: connector.EventLine, ID: o.ID, Time: o.Time, Fields: o.Fields, Line: o.Text, Cut: o.Cut}
}
