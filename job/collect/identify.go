package collect

import (
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/identity"
	"holdfast/kernel/store"
)

// schemaOf returns the schema of a page's rows, with its marks: it may have more columns than the source
// is known for.
func (in *Intake) schemaOf(rows arrow.RecordBatch) (record.Schema, error) {
	if rows.Schema() == in.schema.Schema {
		return in.schema, nil
	}
	return record.SchemaOf(rows.Schema())
}

// fresh returns the rows that are not known, and keeps the rejects that are not. Rows without a key are
// known by the cursor alone.
func (in *Intake) fresh(r store.Reader, w *work) (arrow.RecordBatch, error) {
	var keyed, bare []connector.Reject
	for _, rej := range w.page.Rejected {
		if in.knownBy(rej) {
			keyed = append(keyed, rej)
		} else {
			bare = append(bare, rej)
		}
	}
	if err := in.freshLoose(r, w, bare); err != nil {
		return nil, err
	}
	var isNew []bool
	var err error
	if in.schema.TextKeyed() {
		isNew, err = in.freshTexts(r, w, keyed)
	} else {
		isNew, err = in.freshNumbers(r, w, keyed)
	}
	if err != nil {
		return nil, err
	}
	n := len(isNew) - len(keyed)
	for i, rej := range keyed {
		if isNew[n+i] {
			w.rejects = append(w.rejects, rej)
		}
	}
	w.taken.Rejected = int64(len(w.rejects))
	if n == 0 {
		return w.page.Rows, nil
	}
	return record.Keep(w.page.Rows, isNew[:n])
}

// knownBy reports whether a reject has a key by which it can be recognised.
func (in *Intake) knownBy(rej connector.Reject) bool {
	if rej.Loose {
		return false
	}
	if in.schema.TextKeyed() {
		return rej.Key != ""
	}
	_, err := strconv.ParseUint(rej.Key, 10, 64)
	return err == nil
}

// freshNumbers tells which integer keys are new: those of the rows, if they have such keys, and after them those of the
// rejects.
func (in *Intake) freshNumbers(r store.Reader, w *work, rejects []connector.Reject) ([]bool, error) {
	var keys []uint64
	if w.page.Rows != nil {
		keys, _ = record.Keys(in.schema, w.page.Rows)
	}
	n := len(keys)
	keys = slices.Clone(keys)
	for _, rej := range rejects {
		k, err := strconv.ParseUint(rej.Key, 10, 64)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	isNew, err := in.known.New(r, keys)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		w.taken.Highest = max(w.taken.Highest, k)
		if isNew[i] {
			w.keys = append(w.keys, k)
		}
		if i < n && w.held[k] {
			isNew[i] = false
		}
	}
	return isNew, nil
}

// freshTexts is freshNumbers for keys that are no integers.
func (in *Intake) freshTexts(r store.Reader, w *work, rejects []connector.Reject) ([]bool, error) {
	var seen []identity.Seen
	n, now, dated := 0, time.Now(), false
	if rows := w.page.Rows; rows != nil {
		s, err := in.schemaOf(rows)
		if err != nil {
			return nil, err
		}
		n = int(rows.NumRows())
		key, _ := record.TextKeys(s, rows)
		at, timed := record.EventTimes(s, rows)
		for i := range n {
			k := identity.Seen{Hash: identity.HashOf(key(i)), At: now}
			if timed {
				k.At = at(i)
			}
			seen = append(seen, k)
		}
		dated = timed
	}
	for _, rej := range rejects {
		seen = append(seen, identity.Seen{Hash: identity.HashOf([]byte(rej.Key)), At: now})
	}
	verdicts, err := in.texts.Check(r, seen)
	if err != nil {
		return nil, err
	}
	isNew := make([]bool, len(seen))
	for i, v := range verdicts {
		isNew[i] = v != identity.Known
		// A source may give the same items for ever. A key without a time is known from when it came last: else
		// it would be forgotten one day, and its row be new.
		if isNew[i] || i >= n || !dated {
			w.texts = append(w.texts, seen[i])
		}
		w.ask = w.ask || i < n && v == identity.Beyond
	}
	return isNew, nil
}

// freshLoose returns the rejects without a key that did not come before.
func (in *Intake) freshLoose(r store.Reader, w *work, bare []connector.Reject) error {
	seen := make([]identity.Seen, len(bare))
	for i, rej := range bare {
		seen[i] = identity.Seen{Hash: identity.HashOf([]byte(rej.Key), rej.Raw), At: time.Now()}
	}
	verdicts, err := in.loose.Check(r, seen)
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		if v != identity.Known {
			w.rejects = append(w.rejects, bare[i])
		}
	}
	w.loose = seen // also those that are known: as long as they come
	return nil
}
