package frontier

import (
	"container/heap"
	"slices"

	"holdfast/kernel/store"
)

// enter puts a host into the window at the place that its due time has, unless it is asked already for as much as it may be.
func (f *Frontier) enter(h *host) {
	switch {
	case h.index >= 0:
		heap.Fix(&f.window, h.index)
	case h.asked < f.opts.PerHost:
		heap.Push(&f.window, h)
	}
	if len(f.window) > f.most {
		f.trim()
	}
}

// trim drops from the window the hosts that come last; the store has them. It is called again only after as many hosts came as
// a window holds. Hosts that have something in flight, or are asked as guests, stay, however many they are.
func (f *Frontier) trim() {
	all := slices.Clone(f.window)
	slices.SortFunc(all, func(a, b *host) int { return order(a, b) })
	for _, h := range all[f.opts.Window:] {
		if h.asked > 0 || len(h.flying) > 0 || h.due != h.stored { // the store does not know its time yet
			continue
		}
		if k := readyKey(h.due).U32(h.id); f.edge == nil || string(k) < string(f.edge) {
			f.edge = k
		}
		heap.Remove(&f.window, h.index)
		delete(f.hosts, h.id)
	}
	f.most = len(f.window) + f.opts.Window
}

// refill reads the hosts that come next.
func (f *Frontier) refill() error {
	return f.st.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(f.edge, key('r').End())
		n, edge := 0, []byte(nil)
		for k := range entries {
			if n == f.opts.Window/2+1 {
				edge = slices.Clone(k)
				break
			}
			due, id, err := readReady(k)
			if err != nil {
				return err
			}
			if n++; f.hosts[id] != nil {
				continue
			}
			f.hosts[id] = &host{id: id, due: due, stored: due, index: -1}
			heap.Push(&f.window, f.hosts[id])
		}
		if err := failed(); err != nil {
			return err
		}
		f.edge = edge
		return nil
	})
}

// window is a heap of hosts by time.
type window []*host

func order(a, b *host) int {
	switch {
	case a.due != b.due:
		if a.due < b.due {
			return -1
		}
		return 1
	case a.id < b.id:
		return -1
	}
	return 1
}

func (w window) Len() int           { return len(w) }
func (w window) Less(i, j int) bool { return order(w[i], w[j]) < 0 }
func (w window) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push is for package heap.
func (w *window) Push(x any) {
	h := x.(*host)
	h.index = len(*w)
	*w = append(*w, h)
}

// Pop is for package heap.
func (w *window) Pop() any {
	h := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	h.index = -1
	return h
}
