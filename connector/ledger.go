package connector

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"time"
)

// LedgerTraits says what a ledger can do.
type LedgerTraits struct {
	// Name is what it is, as people write it, without secrets: postgres://goto@gateway/rawtransfer table goto.
	Name string
	// Extra: it has tables of ours beside the one that rawtransfer has too. Without them it knows one path for each content and
	// one destination, a claim is not renewed but lasts an hour, and of two paths with the same bytes that are there already
	// both may be held. It is known after the first Check that ends well.
	Extra bool
	// Lacks says, for a person, what it could do better with, and the SQL for it; "" for nothing.
	Lacks string
}

// Original is a file as it was found, before it is packed.
type Original struct {
	Source  string // absolute path; bytes as the file system has them
	SHA1    [sha1.Size]byte
	SHA256  [sha256.Size]byte
	Size    int64             // bytes
	Created time.Time         // when it was last written; to the nanosecond if the ledger has Extra, else to the microsecond
	Meta    map[string]string // values of further columns, by name, as they were found in its name
}

// Shipment is a file at a destination, verified.
type Shipment struct {
	Destination string            // DestinationTraits.Root
	Path        string            // absolute there
	SHA256      [sha256.Size]byte // of what is there: another than the original's if it was packed
	Size        int64             // likewise
	Verified    Verified
	At          time.Time // when it had its final name, to the microsecond
}

// Entry is a file that a ledger knows.
type Entry struct {
	Original
	// Shipments are where it is; the first is that of the table that rawtransfer has too, which says no Destination if
	// rawtransfer wrote it.
	Shipments []Shipment
	// Of says what wrote it. Of what rawtransfer wrote, the hash may be that of a packed file, and all that its table has no
	// column for is zero.
	Of EntryOf
}

// EntryOf says who wrote an entry.
type EntryOf string

// Those who write entries.
const (
	ByHoldfast    EntryOf = "holdfast"
	ByRawtransfer EntryOf = "rawtransfer"
)

// Claim is what Lock found.
type Claim struct {
	// Held: the file is ours to transfer, until Unlock.
	Held bool
	// Done, if it is not nil, is an entry of the same source with a shipment that nobody works on any more, the one with the
	// same bytes if there is one: whoever asked decides whether that is this file. It is not held then.
	Done *Entry
	// Same, if it is not nil, is an entry with a shipment whose content is the same and whose source is another. As long as
	// there is none, of all files with the same bytes only one is held.
	Same *Entry
	// By is who holds it, or another file with the same bytes, if nobody else can; "" else. It may be the owner that asks.
	By string
	// Until is when to ask again then, by the clock of who asked.
	Until time.Time
}

// Ledger is the record of what was transferred, and where several programs that watch one directory agree which of them
// transfers a file. Several goroutines and processes may use one at once. The clock of locks is that of the ledger.
type Ledger interface {
	Traits() LedgerTraits
	// Check finds out whether the tables are there, or can be made, and have the columns of metadata; what is wrong is a
	// Permanent fault that says how to put it right. It is called before all others, and again after an outage.
	Check(ctx context.Context, columns []string) error
	// Lock claims a file for this owner. again says that the owner knows to have held it before, in this life or a former one.
	// A claim lasts while its owner renews: it is taken over from one that has not for a minute, and from rawtransfer, which
	// never does, after an hour. A file that the owner holds still is held, whatever was recorded of it meanwhile. Lock may be
	// called again after any error. A value of metadata that its column does not take is an Invalid fault, and nothing is held.
	Lock(ctx context.Context, o Original, again bool) (Claim, error)
	// Renew says that the owner lives; to be called every ten seconds. The work does not grow with what is held. lost says that
	// it came too late: others may take over what is held, or have, until it is locked again. A claim that nobody took over
	// is good still.
	Renew(ctx context.Context) (lost bool, err error)
	// Record writes down that a file was delivered; first is true for the destination that the table of rawtransfer shows. With
	// last the file is given back in the same step, as by Unlock: it is recorded everywhere. It may be repeated, after Unlock
	// too, and changes nothing then. A value of metadata that its column does not take is an Invalid fault, and nothing is
	// written; a file that is not held (any more) is a Conflict.
	Record(ctx context.Context, o Original, d Shipment, first, last bool) error
	// Unlock gives a file back: it was recorded everywhere, or will not be transferred. It may be repeated.
	Unlock(ctx context.Context, o Original) error
	// Find returns the entries of sources that are done: with shipments, and not held by anybody. Of several of one source it
	// is the newest.
	Find(ctx context.Context, sources []string) (map[string]Entry, error)
	// Each gives all entries with shipments that were made at or after a time, each once and whole, in the order of their
	// newest shipments. each may call the ledger; its error is returned as it is.
	Each(ctx context.Context, since time.Time, each func(Entry) error) error
	// Restore writes down an entry that was found at destinations, unless its source is held, or known with other bytes, or
	// (without Extra) its source or content is known at all; for a ledger that was lost, or lacks some. Of an entry that is
	// known with Extra those shipments are added that it has not.
	Restore(ctx context.Context, e Entry) (added bool, err error)
	// Probe is the canary of its gate: it finds out whether Lock and Record would work.
	Probe(ctx context.Context) error
	Close() error
}

// The clock of locks.
const (
	RenewEvery = 10 * time.Second // between two calls of Renew
	StaleAfter = time.Minute      // of our own locks, since they were last renewed
	StaleOfOld = time.Hour        // of rawtransfer's, since they were made
)
