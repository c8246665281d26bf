package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/connector"
)

// version is that of our messages. A reader refuses others.
const version = 1

// Hash is the SHA-256 of a payload, in hex.
func Hash(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// Batch is what a manifest says of one batch.
type Batch struct {
	Rows int    `json:"rows"`
	Hash string `json:"hash"` // of the payload of its data message
}

// Manifest says what a window is made of.
type Manifest struct {
	Epoch   string    `json:"epoch"`  // of the streamer: another one, or one that lost its store, has another
	Number  uint64    `json:"number"` // of the window in the epoch, from 1 on, without holes
	Window  string    `json:"window"` // its key in channels
	From    time.Time `json:"from"`
	To      time.Time `json:"to"` // the first moment behind it
	Batches []Batch   `json:"batches"`
	// More: a window that follows has further rows of the same time: they were too many for one manifest.
	More bool `json:"more,omitempty"`
}

// Beacon says what a streamer has, now and then, also while it has nothing to send.
type Beacon struct {
	Epoch  string `json:"epoch"`
	Oldest uint64 `json:"oldest"` // number of the oldest window that can be sent again, above Newest for none
	Newest uint64 `json:"newest"` // number of the newest window that was sent, 0 for none
	// Confirmed is the number up to which the streamer has heard a Confirm. An ingester that has more confirms again.
	Confirmed uint64 `json:"confirmed"`
	// End: there will be no window behind the newest.
	End bool `json:"end,omitempty"`
	// From says which streamer it is, in words for a person.
	From string `json:"from,omitempty"`
}

// Ask asks for a window of an epoch once more: its manifest, and the batches with these indexes.
type Ask struct {
	Epoch   string `json:"epoch"`
	Number  uint64 `json:"number"`
	Batches []int  `json:"batches,omitempty"`
}

// Gone says that a window can't be sent again.
type Gone struct {
	Epoch  string `json:"epoch"`
	Number uint64 `json:"number"`
}

// Confirm says that the ingester needs nothing more of all windows up to a number, and how much it has of the next.
// It comes with every commit, so that a streamer need not send faster than an ingester takes in.
type Confirm struct {
	Epoch   string `json:"epoch"`
	UpTo    uint64 `json:"up_to"`
	Batches int    `json:"batches,omitempty"` // of the window behind
	// End: the ingester has heard that there are no more windows, so the streamer need not say it again.
	End bool `json:"end,omitempty"`
}

// Stored says that every row of a window which the ingester has is in the database, or a dead letter. Notices are
// numbered from 1 on without holes within an epoch of the ingester, which is another one than the streamer's.
type Stored struct {
	Epoch  string    `json:"epoch"`
	Number uint64    `json:"number"` // of the notice
	Window string    `json:"window"` // its key in channels
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`   // the first moment behind it
	Rows   int       `json:"rows"` // that came
	Lost   int       `json:"lost"` // rows that did not, and that nobody can send any more
	// Keys is how many rows with keys of their own are among those that came: the database has no fewer of this time. 0 if
	// nobody knows.
	Keys   int  `json:"keys,omitempty"`
	Shared bool `json:"shared"` // another window has rows of this time too: the database alone has all of them
	// More: another window has rows of this time, and a notice of it follows.
	More  bool      `json:"more,omitempty"`
	Sure  bool      `json:"sure"`  // false from a streamer of old: nobody said how many rows there are
	Again int       `json:"again"` // how many notices of this time came before
	At    time.Time `json:"at"`    // when the last row was stored
}

// Told says which notices the ingester has, now and then.
type Told struct {
	Epoch  string `json:"epoch"`
	Oldest uint64 `json:"oldest"` // number of the oldest notice that can be given again, above Newest for none
	Newest uint64 `json:"newest"` // number of the newest one, 0 for none
	// Next is the number of the first one that no processor has done with, as far as the ingester has heard; 0 from an
	// ingester of a release that does not say it.
	Next uint64 `json:"next,omitempty"`
	End  bool   `json:"end,omitempty"`
}

// Follow says that a processor wants the notices from a number on, and has done with those in front of it. With an empty
// Epoch it asks every ingester which notices it has.
type Follow struct {
	Epoch string `json:"epoch"`
	Next  uint64 `json:"next"`
}

// The words that begin the keys of our messages.
const (
	wordManifest = "manifest"
	wordBeacon   = "beacon"
	wordGone     = "gone"
	wordAsk      = "again"
	wordConfirm  = "confirm"
	wordStored   = "notice"
	wordTold     = "told"
	wordFollow   = "next"
)

// Message returns the manifest as a message.
func (m Manifest) Message(n Names) connector.Message {
	return connector.Message{Topic: n.About(), Key: keyOf(wordManifest, m.Number), Payload: seal(m)}
}

// Message returns the beacon as a message.
func (b Beacon) Message(n Names) connector.Message {
	return connector.Message{Topic: n.About(), Key: keyOf(wordBeacon, b.Newest), Payload: seal(b)}
}

// Message returns the refusal as a message.
func (g Gone) Message(n Names) connector.Message {
	return connector.Message{Topic: n.About(), Key: keyOf(wordGone, g.Number), Payload: seal(g)}
}

// Message returns the question as a message.
func (a Ask) Message(n Names) connector.Message {
	return connector.Message{Topic: n.Ask(), Key: keyOf(wordAsk, a.Number), Payload: seal(a)}
}

// Message returns the confirmation as a message.
func (c Confirm) Message(n Names) connector.Message {
	return connector.Message{Topic: n.Ask(), Key: keyOf(wordConfirm, c.UpTo), Payload: seal(c)}
}

// Message returns the notice as a message.
func (s Stored) Message(n Names) connector.Message {
	return connector.Message{Topic: n.Stored(), Key: keyOf(wordStored, s.Number), Payload: seal(s)}
}

// Message returns what the ingester has as a message.
func (t Told) Message(n Names) connector.Message {
	return connector.Message{Topic: n.Stored(), Key: keyOf(wordTold, t.Newest), Payload: seal(t)}
}

// Message returns where a processor is as a message.
func (f Follow) Message(n Names) connector.Message {
	return connector.Message{Topic: n.Follow(), Key: keyOf(wordFollow, f.Next), Payload: seal(f)}
}

func keyOf(word string, number uint64) string { return word + ":" + strconv.FormatUint(number, 10) }

// Read reads a message of ours: a Manifest, Beacon, Gone, Ask, Confirm, Stored, Told or Follow.
func Read(m connector.Message) (any, error) {
	word, _, _ := strings.Cut(m.Key, ":")
	var out any
	var err error
	switch word {
	case wordManifest:
		out, err = open[Manifest](m.Payload)
	case wordBeacon:
		out, err = open[Beacon](m.Payload)
	case wordGone:
		out, err = open[Gone](m.Payload)
	case wordAsk:
		out, err = open[Ask](m.Payload)
	case wordConfirm:
		out, err = open[Confirm](m.Payload)
	case wordStored:
		out, err = open[Stored](m.Payload)
	case wordTold:
		out, err = open[Told](m.Payload)
	case wordFollow:
		out, err = open[Follow](m.Payload)
	default:
		err = errors.New("nobody speaks like that here")
	}
	if err != nil {
		return nil, fmt.Errorf("read %.100q: %w", m.Channel(), err)
	}
	return out, nil
}

// sealed is the JSON of our messages. In front of it travels a line with its hash.
type sealed struct {
	Version int `json:"v"`
	Body    any `json:"body"`
}

func seal(v any) []byte {
	text, err := json.Marshal(sealed{version, v})
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return append([]byte(Hash(text)+"\n"), text...)
}

// open reads a message of ours and checks it.
func open[T interface{ check() error }](payload []byte) (v T, err error) {
	sum, text, ok := bytes.Cut(payload, []byte("\n"))
	if !ok || Hash(text) != string(sum) {
		return v, fmt.Errorf("it is not what was sent: its checksum is another")
	}
	var s struct {
		Version int             `json:"v"`
		Body    json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return v, err
	}
	if s.Version != version {
		return v, fmt.Errorf("it is of version %d, and we speak %d: bring both sides to the same release", s.Version,
			version)
	}
	if err := json.Unmarshal(s.Body, &v); err != nil {
		return v, err
	}
	return v, v.check()
}

func checkEpoch(epoch string) error {
	if epoch == "" || len(epoch) > 64 {
		return fmt.Errorf("want an epoch, got %.100q", epoch)
	}
	return nil
}

func (m Manifest) check() error {
	switch {
	case m.Number == 0:
		return fmt.Errorf("the number of a window is 0, want 1 or more")
	case !m.From.Before(m.To):
		return fmt.Errorf("the window ends at %v, before it begins at %v", m.To, m.From)
	case len(m.Batches) > maxBatches:
		return fmt.Errorf("it has %d batches, want at most %d", len(m.Batches), maxBatches)
	}
	if err := (connector.Message{Topic: "x", Key: m.Window}).Check(); err != nil || strings.Contains(m.Window, ":") {
		return fmt.Errorf("want one word for a window's key, got %.100q", m.Window)
	}
	for i, b := range m.Batches {
		if _, err := hex.DecodeString(b.Hash); err != nil || len(b.Hash) != 2*sha256.Size || b.Rows < 0 {
			return fmt.Errorf("batch %d: want rows and a hash, got %d and %.100q", i, b.Rows, b.Hash)
		}
	}
	return checkEpoch(m.Epoch)
}

func (b Beacon) check() error {
	if b.Oldest > b.Newest+1 {
		return fmt.Errorf("the oldest window is %d and the newest %d", b.Oldest, b.Newest)
	}
	return checkEpoch(b.Epoch)
}

func (g Gone) check() error { return checkEpoch(g.Epoch) }

func (c Confirm) check() error {
	if c.Batches < 0 || c.Batches >= maxBatches {
		return fmt.Errorf("%d batches are confirmed", c.Batches)
	}
	return checkEpoch(c.Epoch)
}

func (s Stored) check() error {
	if s.Number == 0 || !s.From.Before(s.To) || s.Rows < 0 || s.Lost < 0 || s.Keys < 0 {
		return fmt.Errorf("notice %d tells of %d rows from %v to %v, %d lost", s.Number, s.Rows, s.From, s.To, s.Lost)
	}
	return checkEpoch(s.Epoch)
}

func (t Told) check() error {
	if t.Oldest > t.Newest+1 {
		return fmt.Errorf("the oldest notice is %d and the newest %d", t.Oldest, t.Newest)
	}
	return checkEpoch(t.Epoch)
}

func (f Follow) check() error {
	if f.Epoch == "" && f.Next <= 1 {
		return nil
	}
	return checkEpoch(f.Epoch)
}

func (a Ask) check() error {
	for _, i := range a.Batches {
		if i < 0 || i >= maxBatches {
			return fmt.Errorf("there is no batch %d", i)
		}
	}
	return checkEpoch(a.Epoch)
}
