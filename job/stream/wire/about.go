package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/connector"
)

// version is that of the messages of ours. A reader refuses others.
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
}

// Beacon says what a streamer has, now and then, also while it has nothing to send.
type Beacon struct {
	Epoch  string `json:"epoch"`
	Oldest uint64 `json:"oldest"` // number of the oldest window that can be sent again, above Newest for none
	Newest uint64 `json:"newest"` // number of the newest window that was sent, 0 for none
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

// The words that say what a message about windows is.
const (
	wordManifest = "manifest"
	wordBeacon   = "beacon"
	wordGone     = "gone"
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
	return connector.Message{Topic: n.Ask(), Key: strconv.FormatUint(a.Number, 10), Payload: seal(a)}
}

func keyOf(word string, number uint64) string { return word + ":" + strconv.FormatUint(number, 10) }

// About reads a message about windows: a Manifest, a Beacon or a Gone.
func About(m connector.Message) (any, error) {
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
	default:
		err = fmt.Errorf("want %s, %s or %s", wordManifest, wordBeacon, wordGone)
	}
	if err != nil {
		return nil, fmt.Errorf("read %.100q: %w", m.Channel(), err)
	}
	return out, nil
}

// ReadAsk reads a question.
func ReadAsk(m connector.Message) (Ask, error) {
	a, err := open[Ask](m.Payload)
	if err != nil {
		return Ask{}, fmt.Errorf("read %.100q: %w", m.Channel(), err)
	}
	return a, nil
}

// sealed is how a message of ours travels: the hash of what is behind the line's end, and that.
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

func (a Ask) check() error {
	for _, i := range a.Batches {
		if i < 0 || i >= maxBatches {
			return fmt.Errorf("there is no batch %d", i)
		}
	}
	return checkEpoch(a.Epoch)
}
