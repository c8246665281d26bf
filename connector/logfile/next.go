package logfile

import "slices"

// next returns the file that follows the one of a place. If that file is in no directory any more, it is the oldest file that
// was not read and is not older than the place. Its path is empty if there is none.
func (r rotation) next(p *place) (next, error) {
	return steady(func() (next, error) {
		all, err := r.list()
		if err != nil {
			return next{}, err
		}
		if i := indexOf(all, p); i >= 0 {
			e, err := r.behind(all[i+1:], p)
			return next{e, true}, err
		}
		read := *p // it may have been packed just now
		read.Left = append(slices.Clip(p.Left), left{known: p.known})
		e, err := r.oldest(all, &read)
		if err != nil || p.Any {
			return next{e, true}, err
		}
		sure, err := r.reaches(all, &read)
		return next{e, sure}, err
	})
}

// behind returns the first of the files after the place that was not read to its end before: names may mislead, and so may the
// time of a line that came late. Only the very same file counts as read, because packed files may begin alike.
func (r rotation) behind(all []entry, p *place) (entry, error) {
	for _, e := range all {
		if e.path == r.path || !slices.ContainsFunc(p.Left, func(k left) bool { return k.identity == e.identity }) {
			return e, nil
		}
		if left, err := r.left(p, e); !left || err != nil {
			return e, err
		}
	}
	return entry{}, nil
}

// next is a file to go on with. That there was none before it is sure if a still older one is there, because the oldest is
// removed first.
type next struct {
	entry
	sure bool
}

// untouched reports whether a file of which nothing was read is still there, and nothing that it held was moved elsewhere.
func (r rotation) untouched(p *place) (bool, error) {
	all, err := r.list()
	i := indexOf(all, p)
	return i >= 0 && (all[i].path != r.path || len(all) == 1), err
}

// reaches reports whether one of the rotated files is older than what was not read.
func (r rotation) reaches(all []entry, p *place) (bool, error) {
	for _, e := range all {
		if e.path == r.path {
			continue
		}
		if unread, err := r.unread(p, e); err != nil || !unread {
			return err == nil, err
		}
	}
	return false, nil
}

// oldest returns the oldest of the files that was not read and is not older than the place, or the file at the path.
func (r rotation) oldest(all []entry, p *place) (entry, error) {
	read := -1 // what stands before it, and is not younger by its time, is older than what was read
	for i, e := range all {
		if slices.ContainsFunc(p.Left, func(k left) bool { return k.Offset > 0 && k.identity == e.identity }) {
			read = i
		}
	}
	for i, e := range all {
		if e.path == r.path {
			return e, nil
		}
		if i < read && e.mod.UnixNano() <= p.Mod {
			continue
		}
		if unread, err := r.unread(p, e); unread || err != nil {
			return e, err
		}
	}
	return entry{}, nil
}

// passed reports whether there is an older file that was not read before the one that was begun: its copy from before it was
// truncated.
func (r rotation) passed(p *place) (bool, error) {
	return steady(func() (bool, error) {
		all, err := r.list()
		i := indexOf(all, p)
		if err != nil || i < 0 {
			return false, err
		}
		e, err := r.oldest(all[:i], p)
		return e.path != "", err
	})
}
