package serve

import (
	"container/list"
	"net/http"
	"sync"
	"time"
)

const (
	// maxAnswer is the largest answer that is kept; of a larger one it is kept when it was given.
	maxAnswer = 1 << 20
	// maxMemory and maxAnswers are how much is kept of all together.
	maxMemory  = 32 << 20
	maxAnswers = 10_000
	// overhead is about what an answer takes beside its bytes.
	overhead = 500
)

// kept is an answer that was given.
type kept struct {
	at     time.Time
	kind   string
	body   []byte // nil if it was too large
	header http.Header
	key    string
}

func (k *kept) cost() int { return len(k.key) + len(k.body) + overhead }

// recent keeps the last answers, those that nobody asked for the longest go first.
type recent struct {
	mu    sync.Mutex // guards what is below
	byKey map[string]*list.Element
	order *list.List // of *kept, the newest in front
	used  int
}

func newRecent() *recent { return &recent{byKey: map[string]*list.Element{}, order: list.New()} }

// keep remembers the answer to a question in the place of the one before.
func (m *recent) keep(key string, k *kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(m.byKey[key])
	k.key = key
	m.byKey[key] = m.order.PushFront(k)
	m.used += k.cost()
	for m.used > maxMemory || len(m.byKey) > maxAnswers {
		m.dropLocked(m.order.Back())
	}
}

// forget is for a question that has no answer any more.
func (m *recent) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(m.byKey[key])
}

func (m *recent) dropLocked(e *list.Element) {
	if e == nil {
		return
	}
	k := m.order.Remove(e).(*kept)
	delete(m.byKey, k.key)
	m.used -= k.cost()
}

// find returns the last answer to a question.
func (m *recent) find(key string) (*kept, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[key]
	if e == nil {
		return nil, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*kept), true
}
