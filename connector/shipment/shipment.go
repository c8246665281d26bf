// Package shipment is what the tables of a ledger mean, for the databases that keep one: their names, how paths
// and rows are written, and who may have a file. Each kind of database has its own SQL; what is decided on its
// answers is here.
//
// The first table is the one of rawtransfer, and is shared with it:
//
//	TABLE(sha1_hash, source_filepath, file_created_at, file_transferred_at, filepath, [metadata], created_at)
//
// Its key is the hash of the original. A row without file_transferred_at is a lock. Beside it stand three
// tables of ours:
//
//	TABLE_holdfast_files(source, sha1, destination, path, first, size, sha256, created_ns, meta,
//	                     packed_size, packed_sha256, verified, transferred_at)
//	TABLE_holdfast_locks(sha1, source, owner, epoch)
//	TABLE_holdfast_owners(owner, epoch, renewed_at)
//
// A lock of the first table is ours if its hash is in that of the locks. A lock of ours is alive while its
// owner's row has the lock's epoch and was renewed within a minute; an owner that comes later than that begins
// another epoch. A shipment of the first table is ours if its source and hash are in that of the files.
//
// A path that is UTF-8 stands there as it is. One that is not, which a database refuses, is written as a
// percent sign and then the path with each byte that is no UTF-8, and each percent sign, as a percent sign and
// two hexadecimal digits. So are texts that begin with a percent sign, which absolute paths do not.
package shipment

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Tables are the names of a ledger's tables.
type Tables struct{ Main, Files, Locks, Owners string }

// longestSuffix is the longest of what is put behind the name of the first table.
const longestSuffix = "_holdfast_owners"

// Of returns the names of the tables beside a first one.
func Of(table string) Tables {
	return Tables{table, table + "_holdfast_files", table + "_holdfast_locks", table + longestSuffix}
}

// LongestTable is how long the name of a first table may be where a name may have so many bytes.
func LongestTable(longest int) int { return longest - len(longestSuffix) }

// Columns are those that the first table has always.
var Columns = []string{"sha1_hash", "source_filepath", "file_created_at", "file_transferred_at", "filepath",
	"created_at"}

// CheckMeta refuses names of metadata columns that can't be.
func CheckMeta(columns []string) error {
	for i, name := range columns {
		switch {
		case name == "" || strings.ContainsRune(name, 0) || !utf8.ValidString(name):
			return fault.New(fault.Permanent, "metadata column %q: want a name", name)
		case slices.ContainsFunc(Columns, func(c string) bool { return strings.EqualFold(c, name) }):
			return fault.WithHint(fault.New(fault.Permanent, "metadata column %s: the ledger fills it itself",
				name),
				"give the group of the expression another name")
		case slices.Contains(columns[:i], name):
			return fault.New(fault.Permanent, "metadata column %s: given twice", name)
		}
	}
	return nil
}

// Text is how a path is written.
func Text(path string) string {
	if utf8.ValidString(path) && !strings.HasPrefix(path, "%") {
		return path
	}
	var b strings.Builder
	b.WriteByte('%')
	for len(path) > 0 {
		r, n := utf8.DecodeRuneInString(path)
		if r == utf8.RuneError && n == 1 || r == '%' {
			fmt.Fprintf(&b, "%%%02X", path[0])
		} else {
			b.WriteString(path[:n])
		}
		path = path[n:]
	}
	return b.String()
}

// Path is what Text wrote. A text that Text does not write is taken as it is.
func Path(text string) string {
	rest, ok := strings.CutPrefix(text, "%")
	if !ok {
		return text
	}
	var b strings.Builder
	for {
		plain, escaped, more := strings.Cut(rest, "%")
		b.WriteString(plain)
		if !more {
			return b.String()
		}
		if len(escaped) < 2 {
			return text
		}
		c, err := hex.DecodeString(escaped[:2])
		if err != nil {
			return text
		}
		b.Write(c)
		rest = escaped[2:]
	}
}

// Check refuses an original that no ledger can hold.
func Check(o connector.Original) error {
	switch {
	case o.Source == "" || strings.ContainsRune(o.Source, 0):
		return fault.New(fault.Invalid, "source %.200q: want a path", o.Source)
	case o.SHA1 == [20]byte{}:
		return fault.New(fault.Invalid, "%.200q: its SHA-1 is missing", o.Source)
	}
	return nil
}

// Hash is how a hash is written; nil for none.
func Hash(sum []byte) any {
	if strings.Trim(string(sum), "\x00") == "" {
		return nil
	}
	return hex.EncodeToString(sum)
}

// Meta is how metadata is written in our own table: a JSON object; nil for none. Bytes that are no text are
// Invalid.
func Meta(meta map[string]string) (any, error) {
	if len(meta) == 0 {
		return nil, nil
	}
	for name, v := range meta {
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return nil, fault.New(fault.Invalid, "metadata column %s: %.100q is no text", name, v)
		}
	}
	b, err := json.Marshal(meta)
	return string(b), err
}

// Packed are size and hash of what was shipped; nil if it is the original itself.
func Packed(o connector.Original, d connector.Shipment) (size, sum any) {
	if d.Size == o.Size && d.SHA256 == o.SHA256 {
		return nil, nil
	}
	return d.Size, Hash(d.SHA256[:])
}

// Fields are the names of what a Row is read from, in the order of Into.
const Fields = `sha1, source, created_ns, size, sha256, meta, destination, path, packed_size, packed_sha256,
	verified, ` +
	`transferred_us, ours`

// Row is a shipment as a query gives it. Times are numbers: nanoseconds and microseconds since 1970.
type Row struct {
	sha1, source           *string
	created, size          *int64
	sha256, meta           *string
	destination, path      *string
	packedSize             *int64
	packedSHA256, verified *string
	at                     int64
	ours                   bool
}

// Into is where the fields are read to.
func (r *Row) Into() []any {
	return []any{&r.sha1, &r.source, &r.created, &r.size, &r.sha256, &r.meta, &r.destination, &r.path,
		&r.packedSize,
		&r.packedSHA256, &r.verified, &r.at, &r.ours}
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// sum reads a hash; what is none is left zero.
func sum(into []byte, text *string) {
	if b, err := hex.DecodeString(strings.TrimSpace(value(text))); err == nil && len(b) == len(into) {
		copy(into, b)
	}
}

func (r *Row) entry() connector.Entry {
	e := connector.Entry{Of: connector.ByRawtransfer}
	if r.ours {
		e.Of = connector.ByHoldfast
	}
	e.Source, e.Size = Path(value(r.source)), value(r.size)
	sum(e.SHA1[:], r.sha1)
	sum(e.SHA256[:], r.sha256)
	if r.created != nil {
		e.Created = time.Unix(0, *r.created).UTC()
	}
	var meta map[string]*string
	if json.Unmarshal([]byte(value(r.meta)), &meta) == nil {
		for name, v := range meta {
			if v == nil {
				continue
			}
			if e.Meta == nil {
				e.Meta = map[string]string{}
			}
			e.Meta[name] = *v
		}
	}
	return e
}

func (r *Row) shipment(e connector.Entry) connector.Shipment {
	s := connector.Shipment{Destination: value(r.destination), Path: Path(value(r.path)), Size: e.Size,
		SHA256:   e.SHA256,
		Verified: connector.Verified(value(r.verified)), At: time.UnixMicro(r.at).UTC()}
	if r.packedSize != nil {
		s.Size, s.SHA256 = *r.packedSize, [32]byte{}
		sum(s.SHA256[:], r.packedSHA256)
	}
	return s
}

// Gather makes entries of rows of which those of one entry come one after the other. Give is called with each
// entry.
type Gather struct {
	Give func(connector.Entry) error
	last *connector.Entry
	key  [2]string
}

// Add takes the next row.
func (g *Gather) Add(r *Row) error {
	key := [2]string{value(r.sha1), value(r.source)}
	if g.last != nil && g.key != key {
		if err := g.End(); err != nil {
			return err
		}
	}
	if g.last == nil {
		e := r.entry()
		g.last, g.key = &e, key
	}
	g.last.Shipments = append(g.last.Shipments, r.shipment(*g.last))
	return nil
}

// End gives the last entry.
func (g *Gather) End() error {
	if g.last == nil {
		return nil
	}
	e := *g.last
	g.last = nil
	return g.Give(e)
}

// newest is when the newest shipment of an entry was made.
func newest(e connector.Entry) (at time.Time) {
	for _, s := range e.Shipments {
		if s.At.After(at) {
			at = s.At
		}
	}
	return at
}

// Put puts an entry into the answer of Find, unless there is a newer one.
func Put(found map[string]connector.Entry, e connector.Entry) {
	if old, ok := found[e.Source]; !ok || newest(old).Before(newest(e)) {
		found[e.Source] = e
	}
}

// DefaultTable is the table of rawtransfer, where nothing else is said.
const DefaultTable = "transfers"

// columnType is what may be given as a type: it goes into SQL as it is.
var columnType = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_ ]*(\(\d+( *, *\d+)?\))?$`)

// CheckTypes returns what is wrong with the types of metadata columns, by name.
func CheckTypes(columns map[string]string) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		if typ := columns[name]; !columnType.MatchString(typ) {
			errs = append(errs, fmt.Errorf("columns: %s: got %q, want a type such as smallint, text or varchar(20)", name, typ))
		}
	}
	return errs
}
