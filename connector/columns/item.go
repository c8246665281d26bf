package columns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"holdfast/connector"
)

// Item is one element of an answer. Err says why it could not be read at all.
type Item struct {
	Raw   []byte
	Value any
	Err   error
}

// ReadItem reads one JSON value, with nothing behind it.
func ReadItem(raw []byte) (Item, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return Item{}, err
	}
	return Item{Raw: raw, Value: v}, AtEnd(dec)
}

// AtEnd proves that nothing stands behind what was decoded.
func AtEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something stands behind the end of the answer")
		}
		return err
	}
	return nil
}

// Message is the item of a message that has to be one JSON value.
func Message(raw []byte) Item {
	it, err := ReadItem(raw)
	if err != nil {
		return Item{Raw: raw, Err: fmt.Errorf("the message is no JSON: %w", err)}
	}
	return it
}

// Parse reads the raw form of a rejected item again.
func (t *Table) Parse(raw []byte) connector.Page {
	r := t.Begin(context.Background())
	it, err := ReadItem(raw)
	if err == nil {
		err = r.Add(it)
	}
	return r.Parsed(raw, err)
}

// Parsed is the page of one raw item that was read again, and added unless err says why not.
func (r *Reading) Parsed(raw []byte, err error) connector.Page {
	if err == nil && r.Items != 1 {
		err = io.ErrUnexpectedEOF
	}
	p := connector.Page{Rejected: r.Rejected}
	if err == nil {
		p.Rows, err = r.Batch()
	}
	if err != nil {
		return connector.Page{Rejected: []connector.Reject{{Raw: raw, Reason: "it is no whole item: " +
			err.Error()}}}
	}
	return p
}
