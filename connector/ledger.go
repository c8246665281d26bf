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
	// one destination, and a lock that nobody holds any more is taken over after an hour instead of a minute.
	Extra bool
}

// Original is a file as it was found, before it is packed.
type Original struct {
	Source  string // absolute path; bytes as the file system has them
	SHA1    [sha1.Size]byte
	SHA256  [sha256.Size]byte
	Size    int64             // bytes
	Created time.Time         // when it was last written
	Meta    map[string]string // values of further columns, by name, as they were found in its name
}

// Shipment is a file at a destination, verified.
type Shipment struct {
	Destination string            // DestinationTraits.Root
	Path        string            // absolute there
	SHA256      [sha256.Size]byte // of what is there: another than the original's if it was packed
	Size        int64             // likewise
	Verified    Verified
	At          time.Time // when it had its final name
}

// Entry is a file that a ledger knows.
type Entry struct {
	Original
	// Shipments are where it is; the first is that of the table that rawtransfer has too. None: it is locked.
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
	// Done, if it is not nil, is an entry of the same source with a shipment: whoever asked decides whether that is this file.
	// It is not held then.
	Done *Entry
	// Same, if it is not nil, is an entry with a shipment whose content is the same and whose source is another.
	Same *Entry
	// By is who holds it if nobody else can; "" else.
	By string
	// Until is when to ask again then.
	Until time.Time
}

// Ledger is the record of what was transferred, and where two that watch one directory agree on who does. Several goroutines and
// processes may use one at once. The clock of locks is that of the ledger.
type Ledger interface {
	Traits() LedgerTraits
	// Check finds out whether the tables are there, or can be made, and have the columns of metadata; what is wrong is a
	// Permanent fault that says how to put it right. It is called before all others, and again after an outage.
	Check(ctx context.Context, columns []string) error
	// Lock claims a file for this owner. again says that the owner knows to have held it before, in this life or a former one.
	// A claim lasts while its owner renews: it is taken over from one that has not for a minute, and from rawtransfer, which
	// never does, after an hour. It may be called again after any error.
	Lock(ctx context.Context, o Original, again bool) (Claim, error)
	// Renew says that the owner lives; to be called every ten seconds. The work does not grow with what is held. lost says that
	// it came too late, and others may have taken over since: whoever holds something must Lock it again.
	Renew(ctx context.Context) (lost bool, err error)
	// Record writes down that a file was delivered; first is true for the destination that the table of rawtransfer shows. It
	// may be repeated, and changes nothing then. A value of metadata that its column does not take is an Invalid fault; a file
	// that is not held (any more) is a Conflict.
	Record(ctx context.Context, o Original, d Shipment, first bool) error
	// Unlock gives a file back: it was recorded everywhere, or will not be transferred.
	Unlock(ctx context.Context, o Original) error
	// Find returns the entries of sources, those with shipments alone.
	Find(ctx context.Context, sources []string) (map[string]Entry, error)
	// Each gives all entries with shipments that were made at or after a time, oldest first.
	Each(ctx context.Context, since time.Time, each func(Entry) error) error
	// Restore writes down an entry that was found at a destination, unless its source or content is known; for a ledger that
	// was lost.
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
