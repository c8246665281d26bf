package frontier

import (
	"encoding/binary"
	"sync"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Source is what came of a seed: of it, and of all that was found from it on. A URL belongs to the source that found it first.
type Source struct {
	Name   string
	Open   uint64 // to be fetched: queued, or put off
	Done   uint64 // each time, if URLs are fetched again
	Failed uint64
	Left   uint64
	Bytes  uint64
}

// There are no more sources than URLs that a person gave as seeds, so none are left out.

// source is a source in a batch.
type source struct {
	Source
	id  uint32
	was Source
}

func (s *Source) numbers() []*uint64 {
	return []*uint64{&s.Open, &s.Done, &s.Failed, &s.Left, &s.Bytes}
}

// of is the counter of a state in which a URL ends.
func (s *Source) of(state State) *uint64 {
	switch state {
	case Done:
		return &s.Done
	case Failed:
		return &s.Failed
	}
	return &s.Left
}

func (s *Source) encode() []byte {
	var b []byte
	for _, n := range s.numbers() {
		b = binary.AppendUvarint(b, *n)
	}
	return append(b, s.Name...)
}

func readSource(r store.Reader, id uint32) (s Source, err error) {
	ok, err := r.Look(sourceKey(id), func(v []byte) error {
		c := cut{v, true}
		for _, n := range s.numbers() {
			*n = c.number()
		}
		if !c.ok {
			return fault.New(fault.Corrupt, "the counters of source %d are %x", id, v)
		}
		s.Name = string(c.b)
		return nil
	})
	if err == nil && !ok {
		err = fault.New(fault.Corrupt, "there is no source %d", id)
	}
	return s, err
}

// sources are the sources that a batch changes.
type sources struct {
	b    *Batch
	byID map[uint32]*source
	ids  map[string]uint32
}

// get returns the source with a number.
func (all *sources) get(id uint32) (*source, error) {
	if s := all.byID[id]; s != nil {
		return s, nil
	}
	s, err := readSource(all.b.tx, id)
	if err != nil {
		return nil, err
	}
	all.byID[id] = &source{Source: s, id: id, was: s}
	return all.byID[id], nil
}

// named returns the source with a name, which is made if it is new.
func (all *sources) named(name string) (*source, error) {
	if id, ok := all.ids[name]; ok {
		return all.get(id)
	}
	k := sourceNameKey(name)
	var id uint32
	ok, err := all.b.tx.Look(k, func(v []byte) (err error) {
		id, err = readID(v)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		id = all.b.numbers.source
		all.b.numbers.source++
		all.b.tx.Set(k, binary.BigEndian.AppendUint32(nil, id))
		all.byID[id] = &source{Source: Source{Name: name}, id: id}
	}
	all.ids[name] = id
	return all.get(id)
}

// put writes those that changed.
func (all *sources) put() {
	for id, s := range all.byID {
		if s.Source != s.was {
			all.b.tx.Set(sourceKey(id), s.encode())
		}
	}
}

// Sources returns at most n sources in the order of their names, from behind one.
func Sources(r store.Reader, after string, n int) ([]Source, error) {
	return listed(r, 'u', after, n, func(id uint32) (Source, error) { return readSource(r, id) })
}

// names remembers names of sources.
type names struct {
	mu   sync.Mutex
	byID map[uint32]string
}

// mostNames is how many names are remembered.
const mostNames = 4096

// of returns the name of a source.
func (n *names) of(r store.Reader, id uint32) (string, error) {
	n.mu.Lock()
	name, ok := n.byID[id]
	n.mu.Unlock()
	if ok {
		return name, nil
	}
	s, err := readSource(r, id)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.byID) >= mostNames {
		clear(n.byID)
	}
	n.byID[id] = s.Name
	return s.Name, nil
}
