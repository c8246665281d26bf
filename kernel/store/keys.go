package store

import (
	"encoding/binary"
)

// Space is the first byte of every key: one keyspace a subject. The numbers in a key are big-endian,
// so that keys sort as the numbers do. docs/formats.md has the bytes of keys and values.
type Space byte

// The keyspaces of a store. A space belongs to the package named behind it; none other writes it.
const (
	Meta       Space = 'm' // store: name -> bytes
	Names      Space = 'n' // store: kind(1) name -> id(4)
	Blocks     Space = 'b' // spool: seq(8) -> header, payload, checksum
	Heads      Space = 'h' // spool: seq(8) -> header alone
	Sinks      Space = 's' // spool: sink(4) -> where the sink began and how it is to be checked
	Settled    Space = 'r' // spool: sink(4) first(8) -> last(8): blocks a sink is done with
	Plans      Space = 'p' // spool: sink(4) first(8) -> delivery whose bounds are fixed
	Cursors    Space = 'u' // spool: source(4) -> cursor
	Counters   Space = 'c' // balance: law(1) id(4) -> counters
	Gaps       Space = 'g' // balance: source(4) from(8) sink(4) -> gap
	Dead       Space = 'x' // balance: id(8) -> dead letter
	Identities Space = 'i' // identity: set(4) id>>16(6) -> roaring container
	Hashes     Space = 'j' // identity: set(4) hash(16) -> last seen
	Horizons   Space = 'k' // identity: set(4) day(4) hash(16) -> nothing
	Tasks      Space = 'q' // queue: queue(4) ... (see queue)
	Due        Space = 't' // schedule: name -> next due
	Events     Space = 'e' // engine: id(8) -> event
	Series     Space = 'v' // series: tier(1) place(4) -> point
	Job        Space = 'z' // the job's own state: whatever the kind of job keeps
)

// Key is a key under construction. The methods append and return, like append itself.
type Key []byte

// K starts a key of the space.
func (s Space) K() Key { return Key{byte(s)} }

// U8, U32, U48 and U64 append a number; Str appends text, which must be the last part of a key or
// of fixed length, because nothing marks its end.
func (k Key) U8(v uint8) Key   { return append(k, v) }
func (k Key) U32(v uint32) Key { return binary.BigEndian.AppendUint32(k, v) }
func (k Key) U64(v uint64) Key { return binary.BigEndian.AppendUint64(k, v) }
func (k Key) Str(s string) Key { return append(k, s...) }
func (k Key) Raw(b []byte) Key { return append(k, b...) }
func (k Key) U48(v uint64) Key {
	return append(k, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// End returns the first key behind all keys that begin with k.
func (k Key) End() Key {
	e := append(Key(nil), k...)
	for i := len(e) - 1; i >= 0; i-- {
		if e[i]++; e[i] != 0 {
			return e[:i+1]
		}
	}
	return nil
}
