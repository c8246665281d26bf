package record

import (
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
)

// Room is memory into which batches are unpacked that are joined at once. Fresh memory for each costs
// about what unpacking costs: the system clears its pages. A Room is for one goroutine at a time.
type Room struct {
	free [][]byte
	used [][]byte // batches lie in them
}

var rooms = sync.Pool{New: func() any { return new(Room) }}

// NewRoom returns a room, perhaps one that was left. Who has it calls Leave.
func NewRoom() *Room { return rooms.Get().(*Room) }

// Leave gives the room to the next. Batches from Unpack that did not go through Join are invalid then.
func (r *Room) Leave() {
	r.empty()
	rooms.Put(r)
}

func (r *Room) empty() {
	r.free = append(r.free, r.used...)
	r.used = nil
}

// Unpack is the function of that name. What it returns is valid until Join or Leave.
func (r *Room) Unpack(data []byte) (arrow.RecordBatch, error) { return unpack(data, r.take) }

func (r *Room) take(n int) []byte {
	i := slices.IndexFunc(r.free, func(b []byte) bool { return cap(b) >= n })
	if i < 0 {
		r.used = append(r.used, make([]byte, n))
		return r.used[len(r.used)-1]
	}
	b := r.free[i][:n]
	r.free = slices.Delete(r.free, i, i+1)
	r.used = append(r.used, b)
	return b
}

// Join is Concat for the batches from Unpack. What it returns is nobody's to give back.
func (r *Room) Join(s *arrow.Schema, parts []arrow.RecordBatch) (arrow.RecordBatch, error) {
	all, err := Concat(s, parts)
	if err != nil {
		return nil, err
	}
	if len(parts) > 1 && joinCopies(s) {
		r.empty()
	} else {
		r.used = nil // it is the batch's now
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
