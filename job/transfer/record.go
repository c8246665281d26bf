package transfer

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Act is what happened to a file in a step of its way.
type Act string

// What may happen to a file.
const (
	Found    Act = "found"
	Read     Act = "read" // and judged
	Claimed  Act = "claimed"
	Packed   Act = "packed"
	Named    Act = "named"
	Shipped  Act = "shipped"
	Recorded Act = "recorded"
	Kept     Act = "kept"
	Replaced Act = "replaced"
	Deleted  Act = "deleted"
	WasKnown Act = "known"
	WasGone  Act = "gone"
	PutOff   Act = "put off"
	Failed   Act = "failed"
	Died     Act = "dead"
	Retried  Act = "retried"
	LetGo    Act = "discarded"
)

// How much of a history is kept: so many steps of its beginning and of its end, and so much of a text.
const (
	FirstSteps = 4
	lastSteps  = 20
	mostText   = 500
)

// Step is what happened to a file once, or several times in a row.
type Step struct {
	At      time.Time `json:"at"` // the last time
	What    Act       `json:"what"`
	Where   string    `json:"where,omitempty"` // the name of the destination
	Seconds float64   `json:"seconds,omitempty"`
	Text    string    `json:"text,omitempty"`
	Times   int       `json:"times,omitempty"` // 0 for once
}

// did adds a step to the history of a file; it is written with what the step found. Of a long history the middle is left out.
func (f *file) did(what Act, where string, took time.Duration, format string, args ...any) {
	f.add(stepNow(what, where, took, format, args...))
}

func stepNow(what Act, where string, took time.Duration, format string, args ...any) Step {
	return Step{At: time.Now().UTC(), What: what, Where: where, Seconds: took.Seconds(), Text: brief(fmt.Sprintf(format, args...))}
}

func (f *file) add(s Step) {
	if n := len(f.Steps); n > 0 {
		if last := &f.Steps[n-1]; last.What == s.What && last.Where == s.Where && last.Text == s.Text {
			last.At, last.Seconds, last.Times = s.At, s.Seconds, max(last.Times, 1)+1
			return
		}
	}
	at := len(f.Steps) // what was noted comes in front of what another destination wrote down meanwhile
	for at > 0 && f.Steps[at-1].At.After(s.At) && f.Steps[at-1].Where != "" && f.Steps[at-1].Where != s.Where {
		at--
	}
	f.Steps = slices.Insert(f.Steps, at, s)
	if len(f.Steps) > FirstSteps+lastSteps {
		f.Steps = append(f.Steps[:FirstSteps], f.Steps[FirstSteps+1:]...)
		f.Skipped++
	}
}

// brief is a text of bounded length.
func brief(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= mostText {
		return s
	}
	return strings.ToValidUTF8(s[:mostText], "") + "…"
}

// placedText says how a file came to its place.
func placedText(p connector.Placed) string {
	if p.Already {
		return fmt.Sprintf("it was there already, verified by %s", p.Verified)
	}
	return fmt.Sprintf("%d bytes sent, verified by %s", p.Sent, p.Verified)
}

// of is the name of the destination that a queue is for, "" for the others.
func of(q *queue.Queue) string {
	name, ok := strings.CutPrefix(q.Name(), shipPrefix)
	if !ok {
		return ""
	}
	return name
}

// ended reports whether a file has come to its end.
func (s State) ended() bool { return s == Done || s == Known || s == Gone || s == Discarded }

// States are all that a file may be in.
var States = []State{Preparing, Shipping, Finishing, Done, Known, Gone, Dead, Discarded}

// code stands for a state in a key.
func (s State) code() byte {
	for i, other := range States {
		if other == s {
			return byte(i + 1)
		}
	}
	return 0
}

func pathKey(path string, id uint64) store.Key { return pathsKey(path).U8(0).U64(id) }
func pathsKey(prefix string) store.Key         { return store.Key{byte(store.Job), 'p'}.Str(prefix) }
func baseKey(base string, id uint64) store.Key { return basesKey(base).U8(0).U64(id) }
func basesKey(prefix string) store.Key         { return store.Key{byte(store.Job), 'l'}.Str(prefix) }
func stateKey(s State, id uint64) store.Key    { return statesKey(s).U64(id) }
func statesKey(s State) store.Key              { return store.Key{byte(store.Job), 's', s.code()} }
func endKey(at int64, id uint64) store.Key     { return endsKey(at).U64(id) }
func endsKey(at int64) store.Key               { return store.Key{byte(store.Job), 'e'}.U64(uint64(max(at, 0))) }

// stored is the part of a file that stands in the keys by which it is found.
type stored struct {
	state State // "" for a file that is not there yet
	look  int64
}

func (f *file) stored() stored { return stored{f.State, f.Look} }

// index updates the keys by which a file is found.
func (f *file) index(tx *store.Tx) {
	if f.was.state == "" {
		tx.Set(pathKey(string(f.Path), f.ID), nil)
		tx.Set(baseKey(path.Base(string(f.Path)), f.ID), nil)
	}
	now := f.stored()
	if now.state != f.was.state {
		if f.was.state != "" {
			tx.Delete(stateKey(f.was.state, f.ID))
		}
		tx.Set(stateKey(now.state, f.ID), nil)
	}
	if now.look != f.was.look {
		if f.was.look != 0 {
			tx.Delete(endKey(f.was.look, f.ID))
		}
		if now.look != 0 {
			tx.Set(endKey(now.look, f.ID), nil)
		}
	}
	f.was = now
}

// forget removes a file and all keys by which it is found.
func (f *file) forget(tx *store.Tx) {
	for _, k := range []store.Key{fileKey(f.ID), openKey(f.ID), pathKey(string(f.Path), f.ID),
		baseKey(path.Base(string(f.Path)), f.ID), stateKey(f.was.state, f.ID)} {
		tx.Delete(k)
	}
	if f.was.look != 0 {
		tx.Delete(endKey(f.was.look, f.ID))
	}
	if f.Own != "" {
		tx.Delete(ownKey(string(f.Own)))
	}
}

// Query says which files are wanted; an empty field is no bound.
type Query struct {
	// Text is what the path of a file begins with, below the source directory, if there is a slash in it; else what the last
	// element of its path begins with.
	Text  string
	Whole bool   // Text is what the path begins with, be there a slash in it or not
	Path  string // exactly, below the source directory
	State State
	Since time.Time // found then or later
	After string    // where an earlier answer ended
	Limit int
}

const (
	// mostLooked is how many files one answer looks at, those that do not match among them.
	mostLooked = 10_000
	// clockSlack is how far the clock may have been set back, for a list by time to be whole.
	clockSlack = 2 * time.Hour
)

// List returns files, the newest first; or, if Text is given, from the last name to the first, and of one name the newest
// first. If next is not empty there may be more. It does about as much work as there are files in the answer, and in addition
// looks at files that Text matches and State or Since does not, some thousands at most.
func List(r store.Reader, q Query) (files []Record, next string, err error) {
	if q.State != "" && q.State.code() == 0 {
		return nil, "", fault.New(fault.Invalid, "state %q: want one of %v", q.State, States)
	}
	if q.Limit < 1 {
		return nil, "", fault.New(fault.Invalid, "limit: want a number from 1, got %d", q.Limit)
	}
	from, byTime := q.keys()
	to := from.End()
	if q.After != "" {
		tail, err := base64.RawURLEncoding.DecodeString(q.After)
		to = append(from[:2:2], tail...)
		if err != nil || len(tail) < 8 || string(to) < string(from) || string(to) >= string(from.End()) {
			return nil, "", fault.New(fault.Invalid, "after: %.100q is no place in this list", q.After)
		}
	}
	last, looked := store.Key(nil), 0
	entries, failed := r.ScanBack(from, to)
	for k := range entries {
		if looked++; looked > mostLooked {
			next = base64.RawURLEncoding.EncodeToString(last[2:])
			break
		}
		f, err := readFile(r, binary.BigEndian.Uint64(k[len(k)-8:]))
		if err != nil {
			return nil, "", err
		}
		if byTime && f.Found.Before(q.Since.Add(-clockSlack)) {
			break
		}
		if q.matches(f) {
			if len(files) == q.Limit {
				next = base64.RawURLEncoding.EncodeToString(last[2:])
				break
			}
			files = append(files, f.brief())
		}
		last = append(last[:0], k...)
	}
	return files, next, failed()
}

// filesOf iterates over the files whose keys begin so, from the last key to the first.
func filesOf(r store.Reader, from store.Key) iter.Seq2[*file, error] {
	return func(yield func(*file, error) bool) {
		entries, failed := r.ScanBack(from, from.End())
		for k := range entries {
			f, err := readFile(r, binary.BigEndian.Uint64(k[len(k)-8:]))
			if !yield(f, err) {
				return
			}
		}
		if err := failed(); err != nil {
			yield(nil, err)
		}
	}
}

// keys returns what the keys of the wanted files begin with, and whether they are in the order in which the files were found.
func (q Query) keys() (from store.Key, byTime bool) {
	switch {
	case q.Path != "":
		return pathsKey(q.Path).U8(0), false
	case q.Whole, strings.Contains(q.Text, "/"):
		return pathsKey(q.Text), false
	case q.Text != "":
		return basesKey(q.Text), false
	case q.State != "":
		return statesKey(q.State), !q.Since.IsZero()
	}
	return store.Key{byte(store.Job), 'f'}, !q.Since.IsZero()
}

func (q Query) matches(f *file) bool {
	return (q.State == "" || f.State == q.State) && !f.Found.Before(q.Since)
}

// Record is what is known of a file, for people. A path that is no UTF-8, which JSON can't hold, has its bytes beside it.
type Record struct {
	ID        uint64            `json:"id"`
	Path      string            `json:"path"` // below the source directory
	PathBytes []byte            `json:"path_bytes,omitempty"`
	Size      int64             `json:"size"`
	Modified  time.Time         `json:"modified"`
	Found     time.Time         `json:"found"`
	By        string            `json:"by"`
	State     State             `json:"state"`
	Since     time.Time         `json:"since"`
	Why       string            `json:"why,omitempty"`
	Verdict   string            `json:"verdict,omitempty"` // of a FITS file
	SHA1      string            `json:"sha1,omitempty"`
	SHA256    string            `json:"sha256,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"`
	Placed    string            `json:"placed,omitempty"` // why it has not the day that it should have
	To        []Place           `json:"to,omitempty"`
	Steps     []Step            `json:"steps,omitempty"`   // not in lists
	Skipped   int               `json:"skipped,omitempty"` // steps left out behind the first few
}

// Place is a file at a destination, or on its way there.
type Place struct {
	Destination string             `json:"destination"` // its name
	Path        string             `json:"path,omitempty"`
	PathBytes   []byte             `json:"path_bytes,omitempty"`
	Size        int64              `json:"size,omitempty"`
	SHA256      string             `json:"sha256,omitempty"` // of what is there
	Verified    connector.Verified `json:"verified,omitempty"`
	At          time.Time          `json:"at,omitzero"` // when it had its final name; zero: it has not
	Recorded    bool               `json:"recorded"`
}

// text is a name as JSON can hold it, and its bytes if that is another.
func (n Name) text() (string, []byte) {
	if utf8.ValidString(string(n)) {
		return string(n), nil
	}
	return strings.ToValidUTF8(string(n), "\uFFFD"), []byte(n)
}

// brief is a record without the steps.
func (f *file) brief() Record {
	r := Record{ID: f.ID, Size: f.Size, Modified: time.Unix(0, f.Mtime).UTC(), Found: f.Found.UTC(), By: f.By, State: f.State,
		Since: f.Since.UTC(), Why: f.Why, Verdict: string(f.Verdict), SHA1: string(f.SHA1), SHA256: string(f.SHA256), Meta: f.Meta,
		Placed: f.Placed}
	r.Path, r.PathBytes = f.Path.text()
	for _, s := range f.To {
		p := Place{Destination: s.Name, Size: s.Size, SHA256: string(s.SHA256), Verified: s.Verified, At: s.At, Recorded: s.Recorded}
		p.Path, p.PathBytes = s.Path.text()
		r.To = append(r.To, p)
	}
	return r
}

// Show returns the record of a file whole.
func Show(r store.Reader, id uint64) (Record, error) {
	if _, ok, err := r.Get(fileKey(id)); err != nil || !ok {
		if err == nil {
			err = fault.New(fault.NotFound, "there is no file %d", id)
		}
		return Record{}, err
	}
	f, err := readFile(r, id)
	if err != nil {
		return Record{}, err
	}
	rec := f.brief()
	rec.Steps, rec.Skipped = f.Steps, f.Skipped
	return rec, nil
}
