package supervise

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/store"
)

// place is what is kept of a source beside its position: what it is a position in, and for which rules. By it a position
// survives a change of the configuration of the source.
type place struct {
	Title string   `json:"title"`
	Place string   `json:"place"` // rule.Source.Place
	Uses  []string `json:"uses"`  // rule.Set.Uses
	// Gone is the time since which no rule has watched it; zero while one does.
	Gone time.Time `json:"gone,omitzero"`
}

// keepPlaces is how long the position of a source is kept after the last rule stopped watching it.
const keepPlaces = 7 * 24 * time.Hour

func placeKey(source string) store.Key { return key('O').Str(source) }

// settle gives each source of a set that has no position the position that its rules had in the same place before: a rule
// whose source was configured differently goes on where it was. Where that is impossible, people are told. Called with mu
// held, so that nothing is seen meanwhile; after a crash it is done again at the next start.
func (j *Job) settle(set *rule.Set) error {
	var s settling
	err := j.env.Store.Update(func(tx *store.Tx) error {
		s = settling{tx: tx, now: time.Now(), uses: set.Uses()}
		return s.do(set.Sources)
	})
	if err != nil {
		return fmt.Errorf("find out where sources stood: %w", err)
	}
	for _, text := range s.moved {
		j.env.History.Note("watch.moved", "%s", text)
	}
	for _, text := range s.lost {
		j.env.History.Warn("watch.gap", "%s", text)
	}
	return nil
}

// settling is the work of one call of settle.
type settling struct {
	tx          *store.Tx
	now         time.Time
	uses        map[string][]string
	known       map[string]*place
	moved, lost []string
}

func (s *settling) do(sources []*rule.Source) (err error) {
	if s.known, err = readPlaces(s.tx); err != nil {
		return err
	}
	want := map[string]*place{}
	for _, src := range sources {
		want[src.ID] = &place{Title: src.Title, Place: src.Place(), Uses: s.uses[src.ID]}
		if src.Place() == "" {
			continue
		}
		if err := s.source(src); err != nil {
			return err
		}
	}
	for id, p := range s.known {
		if want[id] == nil && p.Gone.IsZero() {
			p.Gone = s.now
			want[id] = p
		} else if reflect.DeepEqual(p, want[id]) {
			delete(want, id)
		}
	}
	for id, p := range want {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		s.tx.Set(placeKey(id), b)
	}
	return nil
}

// source finds out where a new source begins.
func (s *settling) source(src *rule.Source) error {
	if was := s.known[src.ID]; was != nil && was.Gone.IsZero() {
		return nil // it goes on
	}
	from, other := s.heir(src)
	position, err := s.position(from)
	if err != nil {
		return err
	}
	switch {
	case position != nil:
		s.tx.Set(positionKey(src.ID), position)
		s.moved = append(s.moved, fmt.Sprintf("%s goes on where %s stood", src.Title, s.known[from].Title))
	case from == "" && other != "":
		s.lost = append(s.lost, fmt.Sprintf("%s is watched instead of %s: what that had behind where it stood is not read any more",
			src.Title, s.known[other].Title))
	}
	return nil
}

// heir returns the source whose rules src has taken over: same stood in the same place; or, if there is none, other stood
// elsewhere.
func (s *settling) heir(src *rule.Source) (same, other string) {
	best := 0
	for id, p := range s.known {
		shared := 0
		for _, u := range s.uses[src.ID] {
			if slices.Contains(p.Uses, u) {
				shared++
			}
		}
		if id == src.ID || shared == 0 || !p.Gone.IsZero() { // what is gone for longer, its rules have left already
			continue
		}
		switch {
		case p.Place != src.Place():
			if _, kept := s.uses[id]; !kept && p.Place != "" && (other == "" || id < other) {
				other = id
			}
		case shared > best || shared == best && id < same:
			best, same = shared, id
		}
	}
	return same, other
}

func (s *settling) position(source string) (b []byte, err error) {
	if source == "" {
		return nil, nil
	}
	_, err = s.tx.Look(positionKey(source), func(v []byte) error {
		b = slices.Clone(v)
		return nil
	})
	return b, err
}

// readPlaces returns the places of all sources that have a position, or had one.
func readPlaces(r store.Reader) (map[string]*place, error) {
	all := map[string]*place{}
	entries, failed := r.Scan(key('O'), key('O').End())
	for k, v := range entries {
		p := &place{}
		if err := json.Unmarshal(v, p); err != nil {
			return nil, fault.New(fault.Corrupt, "what is known of a source can't be read: %w", err)
		}
		all[strings.TrimPrefix(string(k), string(key('O')))] = p
	}
	if err := failed(); err != nil {
		return nil, err
	}
	entries, failed = r.Scan(key('P'), key('P').End()) // from before there were places
	for k := range entries {
		if id := strings.TrimPrefix(string(k), string(key('P'))); all[id] == nil {
			all[id] = &place{Title: id}
		}
	}
	return all, failed()
}

// forgetPlaces forgets the positions of sources that no rule has watched for keepPlaces.
func forgetPlaces(tx *store.Tx, now time.Time) error {
	all, err := readPlaces(tx)
	for id, p := range all {
		if !p.Gone.IsZero() && now.Sub(p.Gone) > keepPlaces {
			tx.Delete(placeKey(id))
			tx.Delete(positionKey(id))
		}
	}
	return err
}
