package transfer

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/connector"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Identity tells a file from all others. If one of these changes at a path, another file stands there.
type Identity struct {
	Path   Name   `json:"path"` // below the root, with slashes; bytes as the file system has them
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"` // nanoseconds since 1970
}

// key names the task of a file.
func (i Identity) key() string {
	b := binary.BigEndian.AppendUint64([]byte(string(i.Path)+"\x00"), i.Device)
	b = binary.BigEndian.AppendUint64(b, i.Inode)
	b = binary.BigEndian.AppendUint64(b, uint64(i.Size))
	return string(binary.BigEndian.AppendUint64(b, uint64(i.Mtime)))
}

// State is where a file is.
type State string

// The states of a file.
const (
	Preparing State = "preparing" // or waiting for it
	Shipping  State = "shipping"
	Finishing State = "finishing" // it is everywhere, and something is to become of the original
	Done      State = "done"
	Known     State = "known"     // the ledger had it already, from somebody else
	Gone      State = "gone"      // it was not there any more, or another, before it was anywhere
	Dead      State = "dead"      // it can't go on until a person does something
	Discarded State = "discarded" // a person has let it go
)

// file is what is known of a file, in the store.
type file struct {
	ID uint64 `json:"-"`
	Identity
	Found    time.Time `json:"found"`
	By       string    `json:"by"` // what found it
	Live     bool      `json:"live,omitempty"`
	Overdue  bool      `json:"overdue,omitempty"` // it does not change any more, and is not whole by its own word
	State    State     `json:"state"`
	Since    time.Time `json:"since"`
	Why      string    `json:"why,omitempty"`
	Failures int       `json:"failures,omitempty"`     // in a row, of the step that comes next
	Letters  []uint64  `json:"dead_letters,omitempty"` // ids: one for each queue that it is dead in

	Verdict   fits.Verdict      `json:"verdict,omitempty"` // "" for no FITS file
	Tiled     bool              `json:"tiled,omitempty"`   // it is packed FITS already, whatever its name says
	Hashed    time.Time         `json:"hashed,omitzero"`
	SHA1      hash              `json:"sha1,omitempty"`
	SHA256    hash              `json:"sha256,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"`
	Held      bool              `json:"held,omitempty"`      // claimed in the ledger
	Overwrite bool              `json:"overwrite,omitempty"` // it is known, and its packed form is to take its place
	Packed    *packed           `json:"packed,omitempty"`
	Name      Name              `json:"name,omitempty"`   // at the destinations, below their root
	Placed    string            `json:"placed,omitempty"` // where the day in the name is from, if not from where it should
	To        []shipped         `json:"to,omitempty"`     // by destination
	Same      map[string]Name   `json:"same,omitempty"`   // by destination: the name of a file there with the same bytes
	Own       Name              `json:"own,omitempty"`    // the path of what took its place

	Steps   []Step `json:"steps,omitempty"`
	Skipped int    `json:"skipped,omitempty"` // steps behind the first few that are not kept
	Look    int64  `json:"look,omitempty"`    // of a file that has ended: when its record's age begins, in milliseconds; 0 else

	was   stored        // what stands in the store
	noted []func(*file) // what quick steps found, and the store does not know yet
}

// packed is the packed form of a file.
type packed struct {
	Path   Name  `json:"path"` // below the job's directory
	SHA256 hash  `json:"sha256"`
	Size   int64 `json:"size"`
}

// shipped is a file at a destination, or on its way.
type shipped struct {
	Name     string             `json:"name"` // of the destination
	Root     string             `json:"root,omitempty"`
	Path     Name               `json:"path,omitempty"`
	Verified connector.Verified `json:"verified,omitempty"`
	At       time.Time          `json:"at,omitzero"` // when it had its final name; zero: it has not
	Sent     int64              `json:"sent,omitempty"`
	Size     int64              `json:"size,omitempty"`     // of what is there
	SHA256   hash               `json:"sha256,omitempty"`   // likewise
	Recorded bool               `json:"recorded,omitempty"` // or there is no ledger
}

// Name is the name of a file: bytes as the file system has them. In JSON it is a text. If it is not UTF-8, which JSON can't
// hold, it is a list with its base64.
type Name string

// MarshalJSON loses nothing.
func (n Name) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(n)) {
		return json.Marshal(string(n))
	}
	return json.Marshal([][]byte{[]byte(n)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Name) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] != '[' {
		return json.Unmarshal(text, (*string)(n))
	}
	var b [][]byte
	err := json.Unmarshal(text, &b)
	if err == nil && len(b) == 1 {
		*n = Name(b[0])
	}
	return err
}

// hash is a hash as hexadecimal digits.
type hash string

func sumOf(b []byte) hash { return hash(hex.EncodeToString(b)) }

func (h hash) sha256() (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(h)) // it is made by sumOf alone
	return sum
}

func (h hash) sha1() (sum [sha1.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(h))
	return sum
}

// source is the absolute path of the original.
func (j *Job) source(f *file) string { return j.here(string(f.Path)) }

// here is the absolute path of what stands below the source.
func (j *Job) here(path string) string { return filepath.Join(j.cfg.Root, filepath.FromSlash(path)) }

// original is a file as the ledger knows it.
func (j *Job) original(f *file) connector.Original { return originalOf(j.cfg.Root, f) }

func originalOf(root string, f *file) connector.Original {
	return connector.Original{Source: filepath.Join(root, filepath.FromSlash(string(f.Path))), SHA1: f.SHA1.sha1(),
		SHA256: f.SHA256.sha256(), Size: f.Size, Created: time.Unix(0, f.Mtime).UTC(), Meta: f.Meta}
}

// Keys of the job's space. The values of f and o are JSON.
//
//	f id(8)            the file
//	d          the places
//	n                  id(8): the next one
//	o path             the identity of a packed file that took the place of an original: it is not a new one
//	u id(8)            (empty) a file that is on its way and not everywhere yet
//	b name             bytes(8): what the files have that a destination got
//	p path 0(1) id(8)  (empty) a file by its path
//	l name 0(1) id(8)  (empty) a file by the last element of its path
//	s state(1) id(8)   (empty) a file by its state, which is its place in States, from 1
//	e time(8) id(8)    (empty) a file that has ended, by when its record's age begins, in milliseconds
var (
	placesKey = store.Key{byte(store.Job), 'd'}
	nextKey   = store.Key{byte(store.Job), 'n'}
	openKeys  = store.Key{byte(store.Job), 'u'}
)

func fileKey(id uint64) store.Key           { return store.Key{byte(store.Job), 'f'}.U64(id) }
func openKey(id uint64) store.Key           { return store.Key{byte(store.Job), 'u'}.U64(id) }
func bytesKey(destination string) store.Key { return store.Key{byte(store.Job), 'b'}.Str(destination) }
func ownKey(path string) store.Key          { return store.Key{byte(store.Job), 'o'}.Str(path) }
func payload(id uint64) []byte              { return strconv.AppendUint(nil, id, 10) }
func idOf(text []byte) (uint64, error)      { return strconv.ParseUint(string(text), 10, 64) }

// nextID takes an id for a file.
func nextID(tx *store.Tx) (uint64, error) {
	v, ok, err := tx.Get(nextKey)
	if err != nil {
		return 0, err
	}
	id := uint64(1)
	if ok {
		if len(v) != 8 {
			return 0, fault.New(fault.Corrupt, "the number of the next file has %d bytes", len(v))
		}
		id = binary.BigEndian.Uint64(v)
	}
	tx.Set(nextKey, binary.BigEndian.AppendUint64(nil, id+1))
	return id, nil
}

func (f *file) put(tx *store.Tx) error {
	switch {
	case !f.State.ended():
		f.Look = 0
	case f.Look == 0:
		f.Look = f.Since.UnixMilli()
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write file %d: %w", f.ID, err)
	}
	tx.Set(fileKey(f.ID), b)
	if f.State == Preparing || f.State == Shipping {
		tx.Set(openKey(f.ID), nil)
	} else {
		tx.Delete(openKey(f.ID))
	}
	f.index(tx)
	return nil
}

func readFile(r store.Reader, id uint64) (*file, error) {
	b, ok, err := r.Get(fileKey(id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Corrupt, "file %d is not there", id)
	}
	f := &file{ID: id}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fault.New(fault.Corrupt, "read file %d: %w", id, err)
	}
	f.was = f.stored()
	return f, nil
}

// to returns what is known of the file at a destination. If the destination has another root than when the file was found, it
// counts as another destination.
func (f *file) to(t *destination) *shipped {
	root := t.To.Traits().Root
	for i := range f.To {
		if f.To[i].Name == t.Name && f.To[i].Root == root {
			return &f.To[i]
		}
	}
	f.To = append(f.To, shipped{Name: t.Name, Root: root})
	return &f.To[len(f.To)-1]
}

// note remembers what a quick step found, until the next change of the file writes it down. After a crash in between the step
// is done once more.
func (f *file) note(with func(f *file)) {
	with(f)
	f.noted = append(f.noted, with)
}

// change writes down what a step found, after what was noted before it. Others may have changed the file meanwhile.
func (j *Job) change(f *file, with func(tx *store.Tx, f *file) error) (now *file, err error) {
	err = j.env.Store.Update(func(tx *store.Tx) error {
		if now, err = readFile(tx, f.ID); err != nil {
			return err
		}
		for _, with := range f.noted {
			with(now)
		}
		if err := with(tx, now); err != nil {
			return err
		}
		return now.put(tx)
	})
	if err != nil {
		return f, err
	}
	f.noted = nil
	return now, nil
}

// task is the task of the file in a queue other than the first. There its key is the id of the file; in the first queue it is
// the identity.
func (f *file) task() queue.Task {
	return queue.Task{Key: string(payload(f.ID)), Payload: payload(f.ID)}
}

// isBad reports whether a file is a FITS file that is not whole, or not what it was.
func isBad(v fits.Verdict) bool { return v != "" && v != fits.Good && v != fits.Absent }

// becomes puts a file into a state.
func (f *file) becomes(s State, why string) {
	if f.State != s {
		f.State, f.Since, f.Look = s, time.Now(), 0
	}
	f.Why = why
}
