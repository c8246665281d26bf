package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// Writer appends to the journal of a crawl. It is for one goroutine at a time.
//
// Which links are new shows only in the transaction that queues them, behind the sync of all files. So the lines of a
// transaction are kept in it, packed, and put into the file behind it, before the next one: a start puts those in that are
// missing. A line is in the journal if and only if what it tells was committed. Each transaction's lines are a gzip member
// of their own, so the file is whole gzip wherever it is cut between two commits.
//
// A checkpoint ends the journal, and its snapshot is taken a moment later. The lines in between stand in a file that the
// other time line goes on with. So the store has these members too, until the snapshot stands, and one that goes back
// begins with them.
type Writer struct {
	lineage string
	log     *outfile.Log
	pending []byte // of the last transaction, not in the file yet
	z       *gzip.Writer
	lines   int

	keeping bool // a checkpoint is being made
	tail    int  // members that the store has
	stale   bool // the store's members are not needed any more
}

// writerState is what the store knows of the journal. Its pending member is under a key of its own.
type writerState struct {
	Lineage string `json:"lineage"`
	outfile.State
	Pending int `json:"pending,omitempty"` // bytes of the member that belongs behind Size
	// Tail is how many members the store has. Owed says that they are to stand behind Size.
	Tail int  `json:"tail,omitempty"`
	Owed bool `json:"owed,omitempty"`
}

var (
	stateKey   = store.Key{byte(store.Job), 'J'}
	pendingKey = store.Key{byte(store.Job), 'J', 'p'}
	tailsKey   = store.Key{byte(store.Job), 'J', 't'} // number (4): a member
)

// OpenWriter opens the journal of a store in a directory, and brings it in step with the store. The journal of another time
// line, left behind by a restore, gets another name and is not touched. moved is the file in quarantine with what the store
// did not know, "" for none.
func OpenWriter(st *store.Store, d outfile.Disk, dir string) (w *Writer, moved string, err error) {
	if err := d.MkdirAll(dir); err != nil {
		return nil, "", err
	}
	w = &Writer{lineage: st.Lineage().String()}
	var s writerState
	var tail []byte
	err = st.Latest(func(r store.Reader) (err error) {
		s, tail, err = readState(r)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, Name)
	if s.Lineage != w.lineage {
		if err := outfile.SetAside(d, path, w.lineage); err != nil {
			return nil, "", err
		}
		s, tail = writerState{Lineage: w.lineage, Tail: s.Tail, Owed: s.Tail > 0}, nil
		if s.Owed {
			if err := st.Update(s.put); err != nil {
				return nil, "", err
			}
		}
	}
	w.tail, w.stale = s.Tail, true
	if s.Owed {
		if tail, err = readTail(st, s.Tail); err != nil {
			return nil, "", err
		}
	}
	if w.log, moved, err = outfile.OpenLog(d, path, s.State, tail, filepath.Join(dir, "quarantine")); err != nil {
		return nil, moved, err
	}
	w.z, err = gzip.NewWriterLevel(io.Discard, gzip.DefaultCompression)
	return w, moved, err
}

func readState(r store.Reader) (s writerState, pending []byte, err error) {
	_, err = r.Look(stateKey, func(v []byte) error {
		if err := json.Unmarshal(v, &s); err != nil || s.Size < 0 {
			return fault.New(fault.Corrupt, "what is known of the recover journal is %q: %w", v, err)
		}
		return nil
	})
	if err != nil || s.Pending == 0 {
		return s, nil, err
	}
	pending, _, err = r.Get(pendingKey)
	if err == nil && len(pending) != s.Pending {
		err = fault.New(fault.Corrupt, "the last lines of the recover journal have %d bytes, and %d were written", len(pending),
			s.Pending)
	}
	return s, pending, err
}

func (s writerState) put(tx *store.Tx) error {
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(stateKey, b)
	}
	return err
}

// readTail returns the members that a store has.
func readTail(st *store.Store, n int) (tail []byte, err error) {
	err = st.Latest(func(r store.Reader) error {
		for i := range n {
			if _, err := r.Look(tailsKey.U32(uint32(i)), func(v []byte) error { tail = append(tail, v...); return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	return tail, err
}

// Lost reports whether the journal in a directory is gone, or has less than a store of that lineage knows of.
func Lost(r store.Reader, lineage, dir string) (bool, error) {
	s, _, err := readState(r)
	if err != nil || s.Lineage != lineage {
		return false, err
	}
	return s.Lost(filepath.Join(dir, Name))
}

// GiveUp makes a store forget its journal; no Writer may be open on it. The next one sets aside what is left of the journal,
// and begins another.
func GiveUp(tx *store.Tx) {
	tx.Delete(stateKey)
	tx.Delete(pendingKey)
	tx.DeleteRange(tailsKey, tailsKey.End())
}

// Group is the lines of a transaction.
type Group struct {
	w     *Writer
	text  []byte
	buf   bytes.Buffer
	lines int
}

// Begin begins the lines of a transaction.
func (w *Writer) Begin() *Group {
	g := &Group{w: w}
	w.z.Reset(&g.buf)
	return g
}

// stampEvery is how many lines come between two of the time.
const stampEvery = 10_000

// Add adds lines, which are held in memory packed.
func (g *Group) Add(lines ...Line) error {
	for _, l := range lines {
		g.text = l.Append(g.text[:0])
		if g.lines++; (g.w.lines+g.lines)%stampEvery == 0 {
			g.text = Line{Kind: Time, At: time.Now()}.Append(g.text)
		}
		if _, err := g.w.z.Write(g.text); err != nil {
			return err
		}
	}
	return nil
}

// Commit makes the lines count with the transaction. Each transaction that has lines, and each one after a Rotate, has one
// Commit; before that, Sync has to have put the lines of the last transaction into the file.
func (g *Group) Commit(tx *store.Tx) error {
	w := g.w
	if len(w.pending) > 0 {
		return fault.New(fault.Conflict, "commit lines of the recover journal: those before are not in the file")
	}
	s := writerState{Lineage: w.lineage, State: w.log.State(), Tail: w.tail}
	if w.stale && w.tail > 0 {
		tx.DeleteRange(tailsKey, tailsKey.End())
		s.Tail = 0
	}
	var member []byte
	if g.lines > 0 {
		if err := w.z.Close(); err != nil {
			return err
		}
		member = g.buf.Bytes()
		s.Pending = len(member)
		tx.Set(pendingKey, member)
		if w.keeping {
			tx.Set(tailsKey.U32(uint32(s.Tail)), member)
			s.Tail++
		}
	} else {
		tx.Delete(pendingKey)
	}
	tx.OnDurable(func() {
		w.pending, w.lines = member, w.lines+g.lines
		w.tail, w.stale = s.Tail, false
	})
	return s.put(tx)
}

// Sync puts the lines of the last transaction into the file, durably, before the next transaction. A Full fault means that
// there is no room; it can be tried again.
func (w *Writer) Sync() error {
	if len(w.pending) == 0 {
		return nil
	}
	if err := w.Committed(); err != nil { // before a line is written behind a rotation
		return err
	}
	if err := w.log.AppendSync(w.pending); err != nil {
		return fmt.Errorf("write the recover journal: %w", err)
	}
	w.pending = nil
	return nil
}

// Rotate ends the journal: with the next Commit it is called frontier.recover.gz.NAME, and another one begins. It is called
// before the transaction of that Commit, and Committed after it.
func (w *Writer) Rotate(name string) error {
	if name == "" || name != filepath.Base(name) {
		return fault.New(fault.Invalid, "rotate the recover journal: %q is no name for a file", name)
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if w.log.Size() == 0 { // an empty file is no gzip
		var b bytes.Buffer
		w.z.Reset(&b)
		if err := w.z.Close(); err != nil {
			return err
		}
		w.pending = b.Bytes()
		if err := w.Sync(); err != nil {
			return err
		}
	}
	if err := w.log.Rotate(Name + "." + name); err != nil {
		return err
	}
	w.keeping, w.stale = true, true
	return nil
}

// Checkpointed ends what Rotate began: the snapshot stands, or there will be none.
func (w *Writer) Checkpointed() { w.keeping, w.stale = false, true }

// Committed gives a journal that was ended by Rotate its name. It is called after the transaction of a Commit.
func (w *Writer) Committed() error { return w.log.Committed() }

// Close puts the lines of the last transaction into the file, and closes it.
func (w *Writer) Close() error {
	err := w.Sync()
	if bad := w.log.Close(); err == nil {
		err = bad
	}
	return err
}
