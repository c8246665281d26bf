package forensic

import (
	"fmt"
	"strings"
)

// Kind says what sort of thing a finding is.
type Kind string

const (
	// Damage: bytes that were written whole can't be read, or not as they were written.
	Damage Kind = "damage"
	// TornTail: the last log ends in a write that a crash cut short. It was never acknowledged, so
	// it is no loss, unless a high-water mark says otherwise.
	TornTail Kind = "torn-tail"
	// Missing: a file, or a run of sequence numbers, that must be there is not.
	Missing Kind = "missing"
	// Unexpected: something is there that Pebble would pass over or delete.
	Unexpected Kind = "unexpected"
	// Rollback: everything is readable, but it is older than what had been durable.
	Rollback Kind = "rollback"
)

// Seqs is a run of Pebble sequence numbers, both ends within; the zero value is none.
type Seqs struct{ First, Last uint64 }

// Finding is one thing that an inspection found.
type Finding struct {
	File string // base name, or empty when no single file is meant
	Kind Kind
	// Offset is the first byte that Pebble would not serve as it was written, End where sound
	// content begins again (or the file's size). Both are 0 when no place in a file is meant.
	Offset, End int64
	// Lost holds the sequence numbers that are known to be gone; readable records have none.
	Lost Seqs
	// FlippedBit is set when turning one bit back makes the place sound; Bit counts from the start
	// of the file. The salvage readers turn it back by themselves.
	FlippedBit bool
	Bit        int64
	// Harmless says that what Pebble serves is not changed by it. A harmless finding does not make
	// a report unsound.
	Harmless bool
	Why      string // what was seen, and what proves the kind
}

func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", f.Kind, f.Why)
	if f.File != "" {
		fmt.Fprintf(&b, " in %s", f.File)
	}
	if f.End > 0 {
		fmt.Fprintf(&b, " from byte %d to %d", f.Offset, f.End)
	}
	if f.FlippedBit {
		fmt.Fprintf(&b, " (bit %d of byte %d)", f.Bit%8, f.Bit/8)
	}
	if f.Lost != (Seqs{}) {
		fmt.Fprintf(&b, ", sequence numbers %d to %d lost", f.Lost.First, f.Lost.Last)
	}
	return b.String()
}

// Extent is a stretch of a WAL whose records are all readable.
type Extent struct {
	Offset, End int64
	Batches     int
	Seqs        Seqs // of its operations; the zero value when it has none
}

// WAL is one write-ahead log that Pebble would replay.
type WAL struct {
	File    string
	Num     uint64
	Size    int64
	Served  int64 // Pebble's replay ends here
	Intact  int64 // sound chunks reach up to here, the last record perhaps not whole
	Closed  bool  // it ends with the mark of a closed log
	Last    bool  // no log follows it
	Extents []Extent
}

// Table is one table that the MANIFEST refers to.
type Table struct {
	Num, File         uint64 // File is the backing file's number; it differs for a virtual table
	Level             int
	Size              int64
	Virtual           bool
	Smallest, Largest []byte // user keys, when the table holds point keys
	SmallestSeq       uint64
	LargestSeq        uint64
}

// Manifest is the state that the MANIFEST describes up to its first flaw.
type Manifest struct {
	File     string
	Num      uint64
	Size     int64
	Served   int64 // Pebble reads up to here
	Intact   int64 // sound chunks reach up to here, the last record perhaps not whole
	Edits    int
	Comparer string
	MinWAL   uint64 // logs below it are flushed
	NextFile uint64
	LastSeq  uint64
	Tables   []Table
	Blobs    map[uint64]int64 // blob files and their sizes; Holdfast writes none
}

// Report is what Inspect found in a directory.
type Report struct {
	Dir string
	// Exists is false for a directory in which no database was ever finished.
	Exists        bool
	FormatVersion int
	Manifest      Manifest
	WALs          []WAL
	// LastSeq is the last sequence number that Pebble would serve (an upper bound while no log
	// holds a batch), Promised the highest one that a batch calls acknowledged (see Promise).
	LastSeq, Promised uint64
	Findings          []Finding
}

// Sound reports whether Pebble may open the directory: what it then serves is all that the
// directory's own witnesses know of. HighWater.Check adds what only the mark knows.
func (r *Report) Sound() bool { return Sound(r.Findings) }

// Sound reports whether none of the findings means a loss: torn tails and harmless ones do not.
func Sound(findings []Finding) bool {
	for _, f := range findings {
		if !f.Harmless && f.Kind != TornTail {
			return false
		}
	}
	return true
}

// Err is nil for a sound report, else an error that lists the findings: the directory must be salvaged, not opened.
func (r *Report) Err() error {
	if r.Sound() {
		return nil
	}
	var lines []string
	for _, f := range r.Findings {
		if !f.Harmless && f.Kind != TornTail {
			lines = append(lines, f.String())
		}
	}
	return fmt.Errorf("inspect %s: store is damaged: %s", r.Dir, strings.Join(lines, "; "))
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }
