package shipment

import (
	"time"

	"holdfast/connector"
)

// Main is a row of the first table that has the hash or the source of a file.
type Main struct {
	Same        bool // its hash is that of the file
	Source      string
	Transferred bool
	Ours        bool          // there is a lock of ours with its hash
	Age         time.Duration // since created_at
	Mine        bool          // without Extra: this process made it, and it was not made anew since
}

// Lock is a lock of ours with the hash of a file.
type Lock struct {
	Source, Owner string
	Alive         bool
	Left          time.Duration // until it is not, if its owner falls silent
}

// Found is what the tables say of a file that is to be claimed.
type Found struct {
	Rows    []Main
	Locks   []Lock
	Entries []connector.Entry // of its source, and one at least of its content if there is one
}

// Step says what is to be done to the first table with a claim that is held.
type Step uint8

// What is to be done to the first table.
const (
	Leave Step = iota
	Insert
	Update // of the row with the hash, which has no file_transferred_at
)

// Ask is who asks for which file.
type Ask struct {
	connector.Original
	Owner string
	Again bool
	Extra bool
}

const (
	// soon is when to ask again for a file whose bytes the same owner transfers.
	soon = time.Second
	// ofOld is when to ask again at most while rawtransfer has it: it may be done at any time.
	ofOld = time.Minute
	// other is who a lock of the first table belongs to for all that it says.
	other = "rawtransfer"
)

// Decide says who has the file, and what is to be done to the first table if it is held. With Extra the lock is
// to be written then, and if there is no shipment of the content, all other locks of the hash are to be
// removed: they are dead.
func (f Found) Decide(a Ask) (connector.Claim, Step) {
	done, same := f.sort(a)
	switch lock := f.own(a); {
	case lock != nil && lock.Owner == a.Owner:
		return connector.Claim{Held: true, Same: same}, f.step(a)
	case lock != nil && lock.Alive:
		return held(lock.Owner, min(lock.Left, connector.RenewEvery)), Leave
	case done != nil && (lock == nil || done.SHA1 != a.SHA1):
		return connector.Claim{Done: done}, Leave
	}
	if c := f.others(a, same); c.By != "" {
		return c, Leave
	}
	return connector.Claim{Held: true, Same: same}, f.step(a)
}

func held(by string, wait time.Duration) connector.Claim {
	return connector.Claim{By: by, Until: time.Now().Add(max(wait, 0))}
}

// sort finds the entry that Done may be, and Same.
func (f Found) sort(a Ask) (done, same *connector.Entry) {
	for i := range f.Entries {
		switch e := &f.Entries[i]; {
		case e.Source != a.Source && e.SHA1 == a.SHA1:
			if same == nil || e.Of == connector.ByHoldfast {
				same = e
			}
		case e.Source == a.Source && (done == nil || done.SHA1 != a.SHA1 &&
			(e.SHA1 == a.SHA1 || newest(*done).Before(newest(*e)))):
			done = e
		}
	}
	return done, same
}

// own is the lock of the very file.
func (f Found) own(a Ask) *Lock {
	for i := range f.Locks {
		if f.Locks[i].Source == a.Source {
			return &f.Locks[i]
		}
	}
	return nil
}

// others says who works on the same bytes, or on the same source as rawtransfer does.
func (f Found) others(a Ask, same *connector.Entry) connector.Claim {
	shipped := same != nil
	for _, e := range f.Entries {
		shipped = shipped || e.SHA1 == a.SHA1
	}
	for _, l := range f.Locks {
		switch {
		case shipped || !l.Alive || l.Source == a.Source:
		case l.Owner == a.Owner:
			return held(l.Owner, soon)
		default:
			return held(l.Owner, min(l.Left, connector.RenewEvery))
		}
	}
	for _, r := range f.Rows {
		mine := !a.Extra && r.Same && (r.Mine || a.Again && r.Source == a.Source)
		if !r.Transferred && !r.Ours && !mine && r.Age < connector.StaleOfOld {
			return held(other, min(connector.StaleOfOld-r.Age, ofOld))
		}
	}
	return connector.Claim{}
}

// step is what is to be done to the first table: its row of the hash is left to who has it.
func (f Found) step(a Ask) Step {
	for _, r := range f.Rows {
		if !r.Same {
			continue
		}
		if r.Transferred || r.Mine { // made anew, it would not be known to be ours if the commit fails
			return Leave
		}
		for _, l := range f.Locks {
			if l.Alive && l.Source == r.Source && l.Source != a.Source {
				return Leave
			}
		}
		return Update
	}
	return Insert
}

// Shipped reports whether the content of a file is at a destination already.
func (f Found) Shipped(a Ask) bool {
	for _, e := range f.Entries {
		if e.SHA1 == a.SHA1 {
			return true
		}
	}
	return false
}
