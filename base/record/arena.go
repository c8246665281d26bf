package record

import (
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
)

// Arena is memory that is used again, for batches that are unpacked only to be joined. Fresh memory for each batch
// would cost about as much as the unpacking does, since the system clears its pages. An Arena is for one goroutine
// at a time.
type Arena struct {
	free [][]byte
	used [][]byte // they hold the batches that were unpacked
}

var arenas = sync.Pool{New: func() any { return new(Arena) }}

// NewArena returns an arena, perhaps one that was released. The caller releases it.
func NewArena() *Arena { return arenas.Get().(*Arena) }

// Release gives the arena to the next caller of NewArena. Batches from Unpack that did not go through Join are invalid then.
func (a *Arena) Release() {
	a.empty()
	arenas.Put(a)
}

func (a *Arena) empty() {
	a.free = append(a.free, a.used...)
	a.used = nil
}

// Unpack is the function Unpack. What it returns is valid until Join or Release.
func (a *Arena) Unpack(data []byte) (arrow.RecordBatch, error) { return unpack(data, a.take) }

func (a *Arena) take(n int) []byte {
	i := slices.IndexFunc(a.free, func(b []byte) bool { return cap(b) >= n })
	if i < 0 {
		a.used = append(a.used, make([]byte, n))
		return a.used[len(a.used)-1]
	}
	b := a.free[i][:n]
	a.free = slices.Delete(a.free, i, i+1)
	a.used = append(a.used, b)
	return b
}

// Join is Concat for the batches from Unpack. What it returns stays valid, whatever becomes of the arena.
func (a *Arena) Join(s *arrow.Schema, parts []arrow.RecordBatch) (arrow.RecordBatch, error) {
	all, err := Concat(s, parts)
	if err != nil {
		return nil, err
	}
	if len(parts) > 1 && joinCopies(s) {
		a.empty()
	} else {
		a.used = nil // the batch has it now
	}
	return all, nil
}

// joinCopies reports whether joined columns share no memory with what they were joined from. A column
// with a dictionary or of views does.
func joinCopies(s *arrow.Schema) bool {
	return !slices.ContainsFunc(s.Fields(), func(f arrow.Field) bool {
		switch f.Type.ID() {
		case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY:
			return false
		case arrow.DICTIONARY, arrow.EXTENSION:
			return true
		}
		_, fixed := f.Type.(arrow.FixedWidthDataType)
		return !fixed
	})
}
