// Package archive keeps what a crawl fetched in WARC files.
//
// Records are appended to the file that is open, which is synced before the transaction that speaks of them: in it stands how far
// the file counts. A file ends when it is large or old enough, or is asked to, and only then has its name:
//
//	NAME-TIME-SERIAL-LINEAGE.warc.gz.open   the one that is written to
//	NAME-TIME-SERIAL-LINEAGE.warc.gz        one that has ended, and is never written to again
//	quarantine/                             what a crash left behind what counts
//
// TIME is that of the file's first record, 20060102150405000 in UTC. SERIAL never comes twice in a directory. LINEAGE is the
// store's life: one that was restored from a checkpoint begins files of its own, and touches none of the other time line.
//
// Called by the job crawl.
package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// DefaultMaxSize is how large a WARC file gets, in bytes.
const DefaultMaxSize = 1_000_000_000

// Options tune an Archive.
type Options struct {
	Dir  string // it is made if it is not there
	Name string // what the names of files begin with
	// MaxSize is how large a file gets, in bytes, before the next one is begun; default DefaultMaxSize.
	MaxSize int64
	// MaxAge is how old; 0 for any age.
	MaxAge time.Duration
	// Info are the fields that describe a file, in its first record.
	Info warc.Fields
	WARC warc.Options
	Disk outfile.Disk // default outfile.OS
}

// Archive appends to WARC files. It is for one goroutine at a time.
type Archive struct {
	o       Options
	lineage string // of the store
	mark    string // what the names of files have of it
	serial  uint64 // the last that was given out
	file    *outfile.File
	out     *warc.Writer
	now     current
	info    string       // the id of the file's first record
	begun   atomic.Value // likewise, for those who pack
	packers sync.Pool
	ended   []ended // files that have not their name yet
	sizes   sizes
}

// current is the file that is open.
type current struct {
	Name  string    `json:"name"` // without .open; "" for none
	Size  int64     `json:"size"`
	Begun time.Time `json:"begun"`
	Info  string    `json:"info"`
}

// ended is a file that is whole.
type ended struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// state is what the store knows.
type state struct {
	Lineage string  `json:"lineage"`
	Serial  uint64  `json:"serial"`
	Open    current `json:"open"`
	Ended   []ended `json:"ended,omitempty"`
}

// OpenSuffix stands behind the name of a file that has not ended.
const OpenSuffix = ".open"

var stateKey = store.Key{byte(store.Job), 'A'}

// Place is where a record is.
type Place struct {
	File string
	warc.Written
}

func readState(r store.Reader) (s state, err error) {
	_, err = r.Look(stateKey, func(v []byte) error {
		if err := json.Unmarshal(v, &s); err != nil {
			return fault.New(fault.Corrupt, "what is known of the archive is %q: %w", v, err)
		}
		return nil
	})
	return s, err
}

func (a *Archive) path(name string) string { return filepath.Join(a.o.Dir, name) }
func (a *Archive) quarantine() string      { return a.path("quarantine") }

// Began reports whether a store ever had an archive.
func Began(r store.Reader) (bool, error) { return r.Look(stateKey, func([]byte) error { return nil }) }

// Named returns the files of a directory that are named as those of a crawl, whoever wrote them.
func Named(dir, crawl string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	ours := NamesOf(crawl)
	for _, e := range all {
		if ours.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// NamesOf returns the pattern of the names of a crawl's files.
func NamesOf(crawl string) *regexp.Regexp {
	return regexp.MustCompile("^" + regexp.QuoteMeta(crawl) + `-[0-9]{17}-([0-9]{5,})-([0-9a-z]+)\.warc\.gz(\.open)?$`)
}

// Add appends the records of a capture, all to one file, and returns where they are. They count once they are synced and a
// transaction has recorded it. A record that may not be written is an Invalid fault, want of room a Full fault; after either,
// nothing of the capture is there.
func (a *Archive) Add(records ...*warc.Record) ([]Place, error) { return a.AddPacked(records, nil) }

// AddPacked is Add of records that Pack has packed, nil if it has not.
func (a *Archive) AddPacked(records []*warc.Record, packed []Packed) ([]Place, error) {
	if a.file != nil && (a.file.Size() >= a.o.MaxSize || a.o.MaxAge > 0 && time.Since(a.now.Begun) >= a.o.MaxAge) {
		if err := a.Roll(); err != nil {
			return nil, err
		}
	}
	if a.file == nil {
		if err := a.begin(); err != nil {
			return nil, err
		}
	}
	from := a.out.Offset()
	places := make([]Place, 0, len(records))
	for i, rec := range records {
		var w warc.Written
		var err error
		if i < len(packed) && packed[i].info == a.info {
			if w, err = a.out.Append(packed[i].member, packed[i].of); err == nil { // the content is left as Write leaves it
				_, err = rec.Content.(io.Seeker).Seek(rec.Length, io.SeekCurrent)
			}
		} else {
			r := *rec
			r.WarcinfoID = a.info
			w, err = a.out.Write(&r)
		}
		if err != nil {
			return nil, a.takeBack(from, err)
		}
		places = append(places, Place{File: a.now.Name, Written: w})
	}
	return places, nil
}

// takeBack cuts the file back to the beginning of a capture that could not be written.
func (a *Archive) takeBack(from int64, cause error) error {
	if err := a.file.CutBack(from); err != nil {
		return errors.Join(cause, err) // the next start does it
	}
	a.out.Reset(a.file, from)
	if disk.NoRoom(cause) {
		return fault.New(fault.Full, "write to %s: %w", a.now.Name, cause)
	}
	return cause
}

// begin begins a file.
func (a *Archive) begin() error {
	now := time.Now().UTC()
	a.serial++
	name := fmt.Sprintf("%s-%s-%05d-%s.warc.gz", a.o.Name, strings.Replace(now.Format("20060102150405.000"), ".", "", 1), a.serial,
		a.mark)
	file, err := outfile.Create(a.o.Disk, a.path(name)+OpenSuffix)
	if err != nil {
		if disk.NoRoom(err) {
			err = fault.New(fault.Full, "begin %s: %w", name, err)
		}
		return err
	}
	a.file, a.now = file, current{Name: name, Begun: now}
	a.begins(warc.NewID())
	a.out.Reset(a.file, 0)
	var text bytes.Buffer
	for _, f := range a.o.Info {
		fmt.Fprintf(&text, "%s: %s\r\n", f.Name, f.Value)
	}
	_, err = a.out.Write(&warc.Record{Type: warc.Warcinfo, ID: a.info, Date: now, Filename: name,
		Content: bytes.NewReader(text.Bytes()), Length: int64(text.Len())})
	if err != nil {
		err = a.takeBack(0, err)
		a.file.Close()
		a.file, a.now = nil, current{}
		return errors.Join(err, a.o.Disk.Remove(a.path(name)+OpenSuffix))
	}
	return nil
}

// Roll ends the file that is open: it gets its name once a transaction has recorded that it ended. The next capture begins
// another file.
func (a *Archive) Roll() error {
	if a.file == nil {
		return nil
	}
	if err := a.file.Sync(); err != nil { // it stays open, so that a Close behind this has nothing to complain of
		return fmt.Errorf("end %s: %w", a.now.Name, err)
	}
	name, file := a.now.Name, a.file
	a.ended = append(a.ended, ended{name, file.Size()})
	a.file, a.now = nil, current{}
	if err := file.Close(); err != nil {
		return fmt.Errorf("end %s: %w", name, err)
	}
	return nil
}

// Sync makes durable what was added. It has to be called before Commit.
func (a *Archive) Sync() error {
	if a.file == nil {
		return nil
	}
	if err := a.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", a.now.Name, err)
	}
	return nil
}

// Commit records in a transaction how far the files count. They must be synced.
func (a *Archive) Commit(tx *store.Tx) error {
	s := state{Lineage: a.lineage, Serial: a.serial, Open: a.now, Ended: a.ended}
	if a.file != nil {
		s.Open.Size, s.Open.Info = a.file.Size(), a.info
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tx.Set(stateKey, b)
	for _, e := range a.ended {
		tx.Set(endedKey(e.Name), sizeValue(e.Size))
	}
	return nil
}

// Committed gives files that have ended their names. It is called after the transaction of a Commit.
func (a *Archive) Committed() error {
	var r Recovered
	for len(a.ended) > 0 {
		if err := a.name(a.ended[0], &r); err != nil {
			return err
		}
		a.ended = slices.Delete(a.ended, 0, 1)
	}
	return nil
}

// Close closes the file that is open. What was not committed does not count.
func (a *Archive) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
