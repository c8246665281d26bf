package crash

import "fmt"

// outside is a sink as it stands in the world: no crash of ours takes anything from it.
type outside struct {
	Halves bool // it refuses a delivery with a poison row whole; else it names the poison rows
	Tokens map[string]*offer
	Owner  map[uint64]string // key -> the token that it was last offered under
	Rows   map[uint64]string // key -> the token that brought it
	Healed map[uint64]bool   // poison rows that it would take by now
}

// offer is what is known of a token.
type offer struct {
	Digest  string
	Keys    []uint64
	First   uint64
	Last    uint64
	Sent    bool     // it has reached the sink, or may have
	Written bool     // and the sink has taken it
	Reject  []uint64 // keys that the sink refused then
	Split   bool     // it is being halved or given up, so other tokens may come for its rows
	Settled bool     // its end was acknowledged: it must never come again
}

func newOutside(halves bool) *outside {
	return &outside{Halves: halves, Tokens: map[string]*offer{}, Owner: map[uint64]string{},
		Rows: map[uint64]string{}, Healed: map[uint64]bool{}}
}

// given checks a delivery that the spool hands out.
func (o *outside) given(e event) error {
	t := o.Tokens[e.Token]
	if t != nil {
		switch {
		case t.Digest != e.Digest:
			return fmt.Errorf("token %s comes with other bytes", e.Token)
		case t.Settled:
			return fmt.Errorf("token %s comes again, though its end was acknowledged", e.Token)
		case t.Sent && !e.Unknown:
			return fmt.Errorf("token %s comes again and is not marked as a repeat", e.Token)
		}
		return nil
	}
	for _, k := range e.Keys {
		if was := o.Owner[k]; was != "" && o.Tokens[was] != nil && !o.Tokens[was].Split {
			return fmt.Errorf("row %d was planned as %s and comes as %s", k, was, e.Token)
		}
	}
	for _, k := range e.Keys {
		o.Owner[k] = e.Token
	}
	o.Tokens[e.Token] = &offer{Digest: e.Digest, Keys: e.Keys, First: e.First, Last: e.Last}
	return nil
}

// write is the sink's own work; refused asks for halves.
func (o *outside) write(e event) (reject []uint64, refused bool, err error) {
	t := o.Tokens[e.Token]
	t.Sent = true
	if t.Written {
		return t.Reject, false, nil
	}
	for _, k := range t.Keys {
		if poison(k) && !o.Healed[k] {
			reject = append(reject, k)
		}
	}
	if o.Halves && len(reject) > 0 && len(t.Keys) > 1 {
		return nil, true, nil
	}
	for _, k := range t.Keys {
		switch was, here := o.Rows[k]; {
		case poison(k) && !o.Healed[k]:
		case here && !e.ByKey:
			return nil, false, fmt.Errorf("row %d came as %s and comes again as %s", k, was, e.Token)
		case !here:
			o.Rows[k] = e.Token
		}
	}
	t.Written, t.Reject = true, reject
	return reject, false, nil
}

// settling says that the end of a delivery is about to be committed: the rows that the sink refused
// become dead letters, which may come again under another token.
func (o *outside) settling(e event) {
	for _, k := range o.Tokens[e.Token].Reject {
		delete(o.Owner, k)
	}
}

// splitting says that all plans for these blocks are about to be cut or given up.
func (o *outside) splitting(first, last uint64) {
	for _, t := range o.Tokens {
		if t.First <= last && t.Last >= first {
			t.Split = true
		}
	}
}

// replaying says that these blocks come again: under their old tokens or under others, and by key.
func (o *outside) replaying(first, last uint64) {
	for _, t := range o.Tokens {
		if t.First <= last && t.Last >= first {
			t.Split, t.Settled, t.Sent = true, false, false
		}
	}
}

// forget drops a row that can't come again.
func (o *outside) forget(key uint64) {
	delete(o.Tokens, o.Owner[key])
	delete(o.Owner, key)
	delete(o.Rows, key)
	delete(o.Healed, key)
}
