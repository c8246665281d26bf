package columns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Item is one element of a feed: its bytes, and the value that they stand for. Err says why it could not
// be read at all.
type Item struct {
	Raw   []byte
	Value any
	Err   error
}

// ReadItem reads the JSON of one item.
func ReadItem(raw []byte) (Item, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return Item{}, err
	}
	return Item{Raw: raw, Value: v}, AtEnd(dec)
}

// Message is the item of a message that has to be one JSON value.
func Message(raw []byte) Item {
	it, err := ReadItem(raw)
	if err != nil {
		return Item{Raw: raw, Err: noJSON(err)}
	}
	return it
}

func noJSON(err error) error { return fmt.Errorf("the message is no JSON: %w", err) }

// AddMessage is Add for what Message makes an item of.
func (r *Reading) AddMessage(raw []byte) error { return r.AddJSON(raw, noJSON) }

// AtEnd proves that nothing stands behind a document.
func AtEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something stands behind the end of the answer")
		}
		return err
	}
	return nil
}

// Header says what is wrong with the header line of a csv, "" if nothing is.
func Header(names []string) string {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			return fmt.Sprintf("the header line names %q twice", name)
		}
		seen[name] = true
	}
	return ""
}

// Named makes the value of a csv line. An empty field is a missing one.
func Named(header, fields []string) map[string]any {
	m := make(map[string]any, len(header))
	for i, name := range header {
		m[name] = nil
		if fields[i] != "" {
			m[name] = fields[i]
		}
	}
	return m
}
