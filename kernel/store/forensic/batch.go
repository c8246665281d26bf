package forensic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A WAL record is one batch: its first sequence number, the count of numbers it takes, and its
// operations. Pebble's own batch reader may read past the end of bytes that a checksum did not
// vouch for, so what is salvaged is read by this one.
const batchHeader = 12

var errBatch = errors.New("no batch")

// Op is one operation of a batch. Key and Value point into the batch.
type Op struct {
	Kind pebble.InternalKeyKind
	Key  []byte
	// Value is the value of a set or merge, and the end of a range operation's span.
	Value []byte
	// Seq is the operation's own sequence number; log data has none of its own.
	Seq uint64
}

// ReadBatch calls visit with each operation of a batch as SalvageWAL hands it out.
func ReadBatch(repr []byte, visit func(Op) error) error {
	if len(repr) < batchHeader {
		return fmt.Errorf("read batch header: %w", errBatch)
	}
	seq := binary.LittleEndian.Uint64(repr)
	count := binary.LittleEndian.Uint32(repr[8:])
	rest, seen := repr[batchHeader:], uint32(0)
	for len(rest) > 0 {
		op := Op{Kind: pebble.InternalKeyKind(rest[0]), Seq: seq + uint64(seen)}
		withValue, known := batchKinds[op.Kind]
		if !known {
			return fmt.Errorf("read batch operation %d of kind %d: %w", seen, rest[0], errBatch)
		}
		ok := false
		if op.Key, rest, ok = cutString(rest[1:]); ok && withValue {
			op.Value, rest, ok = cutString(rest)
		}
		if !ok {
			return fmt.Errorf("read batch operation %d: %w", seen, errBatch)
		}
		if op.Kind != pebble.InternalKeyKindLogData {
			seen++
		}
		if err := visit(op); err != nil {
			return err
		}
	}
	if seen != count {
		return fmt.Errorf("count batch operations: %d, its header says %d: %w", seen, count, errBatch)
	}
	return nil
}

// batchKinds holds the kinds that a batch may carry, and whether a value follows the key.
var batchKinds = map[pebble.InternalKeyKind]bool{
	pebble.InternalKeyKindDelete:         false,
	pebble.InternalKeyKindSet:            true,
	pebble.InternalKeyKindMerge:          true,
	pebble.InternalKeyKindLogData:        false,
	pebble.InternalKeyKindSingleDelete:   false,
	pebble.InternalKeyKindRangeDelete:    true,
	pebble.InternalKeyKindRangeKeySet:    true,
	pebble.InternalKeyKindRangeKeyUnset:  true,
	pebble.InternalKeyKindRangeKeyDelete: true,
	pebble.InternalKeyKindIngestSST:      false,
	pebble.InternalKeyKindDeleteSized:    true,
	pebble.InternalKeyKindExcise:         true,
}

// cutString takes a length-prefixed string off b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

// promiseMark begins the log data by which a store says how far it had acknowledged when it built
// a batch. Log data stands in the WAL only; it costs a few bytes and never reaches a table.
const promiseMark = "forensic.acked\x01"

// Promise is log data for a batch (pebble.Batch.LogData): it says that everything up to the
// sequence number acked had been acknowledged before the batch was built. If the batch survives
// and what it promises does not, that is damage, never a torn tail.
func Promise(acked uint64) []byte {
	return binary.AppendUvarint([]byte(promiseMark), acked)
}

func readPromise(key []byte) (uint64, bool) {
	if len(key) <= len(promiseMark) || string(key[:len(promiseMark)]) != promiseMark {
		return 0, false
	}
	acked, n := binary.Uvarint(key[len(promiseMark):])
	return acked, n == len(key)-len(promiseMark)
}
