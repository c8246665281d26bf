package queue

// lane is whose turn it is, as far as this process remembers; it need not survive.
type lane struct {
	credit int
	again  bool // the due list is next
}

// lane returns the options of a lane, also of one that they no longer know.
func (q *Queue) lane(n int) Lane {
	if n < len(q.opts.Lanes) {
		return q.opts.Lanes[n]
	}
	return Lane{Weight: 1}
}

// turn picks a list that is not empty; ok is false if all are. Lanes take turns by weight (smooth
// weighted round-robin): each one with work gains its weight, the richest pays what all have
// gained.
func (q *Queue) turn(lists []list) (i int, ok bool) {
	best, sum := -1, 0
	for n := range len(lists) / 2 {
		l := &q.turns[n]
		if lists[2*n].ready+lists[2*n+1].ready == 0 {
			l.credit = 0 // what it did not use it does not keep
			continue
		}
		weight := q.lane(n).Weight
		l.credit += weight
		sum += weight
		if best < 0 || l.credit > q.turns[best].credit {
			best = n
		}
	}
	if best < 0 {
		return 0, false
	}
	l := &q.turns[best]
	l.credit -= sum
	i = 2 * best
	if due := lists[i+1].ready > 0; due && (l.again || lists[i].ready == 0) {
		i++
	}
	l.again = !l.again
	return i, true
}

// slots are numbers for the leases that are out: used again at once, so that the keys of leases
// stay few and Open finds them without walking over those that were.
type slots struct {
	next uint32
	free []uint32
}

func (q *Queue) takeSlot() uint32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.slots
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot
	}
	s.next++
	return s.next - 1
}

func (q *Queue) free(slot uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slot < q.slots.next { // else it was of another epoch
		q.slots.free = append(q.slots.free, slot)
	}
}
