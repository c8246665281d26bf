package crawl

// recent holds values by their keys, and drops the ones that were not asked for longest: it has at least most of them, and at
// most twice as many. If most is zero it holds none.
type recent[V any] struct {
	most       int
	young, old map[string]V
}

// get is the value of a key.
func (r *recent[V]) get(key string) (v V, ok bool) {
	if v, ok = r.young[key]; ok {
		return v, true
	}
	if v, ok = r.old[key]; ok {
		r.put(key, v)
	}
	return v, ok
}

// put sets the value of a key.
func (r *recent[V]) put(key string, v V) {
	if _, is := r.young[key]; !is && len(r.young) >= r.most {
		r.old, r.young = r.young, nil
	}
	if r.young == nil {
		r.young = map[string]V{}
	}
	r.young[key] = v
}

// drop forgets a key.
func (r *recent[V]) drop(key string) {
	delete(r.young, key)
	delete(r.old, key)
}
