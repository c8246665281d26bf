package decide

// dirty says which entries have changed since the last Changes.
type dirty struct {
	clock, whole bool
	rules        []*ruleState
	keys         []*keyState
	gone         map[string]bool // entries of keys that were forgotten
}

func (d *dirty) rule(rs *ruleState) {
	if !rs.dirty {
		rs.dirty = true
		d.rules = append(d.rules, rs)
	}
}

func (d *dirty) key(ks *keyState) {
	if !ks.dirty {
		ks.dirty = true
		d.keys = append(d.keys, ks)
	}
}

func (d *dirty) goneWith(entry string) {
	if d.gone == nil {
		d.gone = map[string]bool{}
	}
	d.gone[entry] = true
}

// touch marks a key as changed, and reschedules the next time of it that runs out.
func (m *Machine) touch(ks *keyState) {
	m.dirty.key(ks)
	m.schedule(ks)
}
