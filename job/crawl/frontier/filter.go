package frontier

import (
	"math/bits"
	"sync"

	"holdfast/kernel/store"
)

// filter says of most keys that are not known that they are not, without a look into the store: a Bloom filter of ten bits a key,
// whose bits of one key share a line of the processor's cache; one in a hundred is looked up in vain. It grows by parts, each
// twice as large as the last.
//
// Nothing of it is stored. A start begins with an empty one, which is not asked before every known key went in: those who take
// URLs see to that, some thousand keys at a time.
type filter struct {
	mu       sync.Mutex // guards all below
	parts    []part
	complete bool
	next     store.Key // the first key that did not go in yet
}

type part struct {
	lines   [][8]uint64
	n, most int // keys
}

const (
	bitsOfKey    = 10
	smallestPart = 1 << 16
)

func newFilter(keys uint64) *filter {
	f := &filter{next: key('k')}
	f.grow(max(int(keys+keys/2), smallestPart))
	return f
}

func (f *filter) grow(keys int) {
	f.parts = append(f.parts, part{lines: make([][8]uint64, keys*bitsOfKey/512+1), most: keys})
}

// absent reports whether a key is certain not to be known.
func (f *filter) absent(k sum) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.complete && !f.has(k)
}

func (f *filter) has(k sum) bool {
	for i := range f.parts {
		if f.parts[i].has(k) {
			return true
		}
	}
	return false
}

// put makes a key known from now on. It may be called before that is durable.
func (f *filter) put(k sum) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(k)
}

func (f *filter) add(k sum) {
	if f.has(k) {
		return
	}
	last := &f.parts[len(f.parts)-1]
	if last.n == last.most {
		f.grow(2 * last.most)
		last = &f.parts[len(f.parts)-1]
	}
	last.put(k)
}

// bitsSet is how many bits of a line a key sets, each by nine bits of its sum.
const bitsSet = 6

func (p *part) line(k sum) *[8]uint64 {
	at, _ := bits.Mul64(k.Hi, uint64(len(p.lines)))
	return &p.lines[at]
}

func (p *part) has(k sum) bool {
	line, bits := p.line(k), k.Lo
	for range bitsSet {
		if line[bits>>6&7]&(1<<(bits&63)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

func (p *part) put(k sum) {
	line, bits := p.line(k), k.Lo
	for range bitsSet {
		line[bits>>6&7] |= 1 << (bits & 63)
		bits >>= 9
	}
	p.n++
}

// keysOfStep is how many keys go into a filter at once, which takes some milliseconds.
const keysOfStep = 4096

// learn adds some more of the known keys. Keys that become known meanwhile are added by whoever adds the URLs.
func (f *filter) learn(st *store.Store) error {
	f.mu.Lock()
	from, complete := f.next, f.complete
	f.mu.Unlock()
	if complete {
		return nil
	}
	var sums []sum
	var next store.Key
	err := st.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(from, key('k').End())
		for k := range entries {
			if len(sums) == keysOfStep {
				next = store.Key(nil).Raw(k)
				break
			}
			sums = append(sums, sumOf(string(k[len(key('k')):])))
		}
		return failed()
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range sums {
		f.add(k)
	}
	f.next, f.complete = next, next == nil
	return nil
}
