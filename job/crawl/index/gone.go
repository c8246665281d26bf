package index

import (
	"context"
	"errors"
	"slices"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// GiveUp has the index of a store, that nobody has open, know no captures of a WARC file behind so many bytes: captures are how
// many it has in front of that. One that was written to has ended. Runs are made again. If the file is there again, so are its
// captures, with the next start.
func GiveUp(tx *store.Tx, warc string, bytes, captures int64) error {
	s, err := readState(tx)
	if err != nil {
		return err
	}
	was, err := knownOf(tx, s, warc)
	if err == nil && was.Captures > captures {
		err = set(tx, key(givenPart).Str(warc), was)
	}
	if err != nil {
		return err
	}
	if s.open.WARC == warc {
		if err := set(tx, key(openPart), open{Lineage: s.open.Lineage}); err != nil {
			return err
		}
	}
	tx.Set(key(mendPart), nil)
	k := key(knownPart).Str(warc)
	if captures == 0 {
		tx.Delete(k)
		return nil
	}
	return set(tx, k, known{bytes, captures})
}

// Captures is how many captures a store knows of a WARC file.
func Captures(r store.Reader, warc string) (n int64, err error) {
	s, err := readState(r)
	if err != nil {
		return 0, err
	}
	is, err := knownOf(r, s, warc)
	return is.Captures, err
}

// knownOf is how far a WARC file counts.
func knownOf(r store.Reader, s state, warc string) (is known, err error) {
	if s.open.WARC == warc {
		return known{s.open.Bytes, s.open.Captures}, nil
	}
	k := key(knownPart).Str(warc)
	_, err = r.Look(k, func(v []byte) error { return get(k, v, &is) })
	return is, err
}

// back has the captures of WARC files known again that were given up, and are there again.
func (x *Index) back() error {
	all := map[string]known{}
	err := x.st.Latest(func(r store.Reader) (err error) { all, err = readKnown(r, givenPart); return err })
	if err != nil {
		return err
	}
	for name, was := range all {
		if (files{path: x.warcs}).size(name) < was.Bytes {
			continue
		}
		err := x.st.Update(func(tx *store.Tx) error {
			tx.Delete(key(givenPart).Str(name))
			tx.Set(key(mendPart), nil)
			return set(tx, key(knownPart).Str(name), was)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Each gives the line of each capture that is committed, once each, in no order. What is gone or damaged of the index is made
// again first, of whatever there is: of a capture that has no line then nothing is known but that it was. An error of each ends
// it. The crawl may not commit meanwhile.
func (x *Index) Each(ctx context.Context, each func(cdxj.Line) error) error {
	return x.take(ctx, func() error {
		if err := x.tidy(ctx, false); err != nil {
			return err
		}
		s, err := x.state(ctx)
		if err != nil {
			return err
		}
		for _, p := range s.pieces(x.mark) {
			if err := x.eachOf(ctx, p, each); err != nil {
				return err
			}
		}
		return nil
	})
}

// pieces are all files in which lines that are committed stand.
func (s state) pieces(mark string) []piece {
	all := slices.Concat(s.runs, s.waits)
	if s.open.Serial != 0 {
		all = append(all, piece{File: linesName(s.open.Serial, mark), Size: s.open.Size})
	}
	return all
}

// eachOf gives the lines of a piece, but for those that are damaged.
func (x *Index) eachOf(ctx context.Context, p piece, each func(cdxj.Line) error) error {
	return eachLine(x.dir.join(p.File), p.Size, func(line []byte) error {
		l, err := cdxj.Parse(line)
		if err != nil {
			return nil
		}
		return errors.Join(ctx.Err(), each(l))
	})
}
