package httppoll

import (
	"encoding/json"
	"time"

	"holdfast/base/fault"
)

// cursorVersion stands in every cursor. Another one is not guessed at.
const cursorVersion = 1

// position is what the bytes of a cursor hold, as JSON. While an answer goes on over several pages the
// templates keep the cursor that the first was asked with, or the page numbers would count anew; what
// the cursor will be stands beside it.
type position struct {
	Version int    `json:"v"`
	Cursor  string `json:"cursor,omitempty"`
	Since   int64  `json:"since,omitempty"` // microseconds

	High      string `json:"high,omitempty"`
	HighSince int64  `json:"high_since,omitempty"`
	Next      string `json:"next,omitempty"`  // URL of the next page
	Pages     int    `json:"pages,omitempty"` // read of this answer so far

	// What the answer to this question was known by.
	Question     string `json:"question,omitempty"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func readPosition(b []byte) (position, error) {
	if len(b) == 0 {
		return position{Version: cursorVersion}, nil
	}
	var p position
	if err := json.Unmarshal(b, &p); err != nil {
		return position{}, fault.New(fault.Corrupt, "read cursor %q: %w", b, err)
	}
	if p.Version != cursorVersion {
		return position{}, fault.New(fault.Corrupt, "read cursor %q: its version is %d, want %d", b,
			p.Version, cursorVersion)
	}
	return p, nil
}

func (p position) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of text and numbers alone
	}
	return b
}

func (p position) values(first int) values {
	return values{Cursor: p.Cursor, Page: first + p.Pages, Now: moment{time.Now()},
		Since: moment{time.UnixMicro(p.Since)}}
}

// start is the position of the chain's first page.
func (p position) start() position {
	return position{Version: cursorVersion, Cursor: p.Cursor, Since: p.Since}
}
