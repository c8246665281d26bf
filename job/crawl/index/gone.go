package index

import (
	"context"
	"errors"
	"slices"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// GiveUp makes the index of a store that nobody has open forget the captures of a WARC file that stand after so many bytes;
// captures is how many stand before. If the file was being written to, it has ended. Runs are made again. If the file comes
// back, the next start takes its captures in again.
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

// Captures returns how many captures of a WARC file a store knows.
func Captures(r store.Reader, warc string) (n int64, err error) {
	s, err := readState(r)
	if err != nil {
		return 0, err
	}
	is, err := knownOf(r, s, warc)
	return is.Captures, err
}

// knownOf returns how far a WARC file counts.
func knownOf(r store.Reader, s state, warc string) (is known, err error) {
	if s.open.WARC == warc {
		return known{s.open.Bytes, s.open.Captures}, nil
	}
	k := key(knownPart).Str(warc)
	_, err = r.Look(k, func(v []byte) error { return get(k, v, &is) })
	return is, err
}

// back takes in again the captures of WARC files that were given up and have come back.
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

// Each calls each for the line of every committed capture, once, in no order; its error ends it. What is gone or damaged of
// the index is made again first from whatever there is. If a capture has no line after that, no more is known of it than that
// it was made. The crawl may not commit meanwhile.
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

// pieces returns all files in which committed lines stand.
func (s state) pieces(mark string) []piece {
	all := slices.Concat(s.runs, s.waits)
	if s.open.Serial != 0 {
		all = append(all, piece{File: linesName(s.open.Serial, mark), Size: s.open.Size})
	}
	return all
}

// eachOf gives the lines of a piece, except damaged ones.
func (x *Index) eachOf(ctx context.Context, p piece, each func(cdxj.Line) error) error {
	return eachLine(x.dir.join(p.File), p.Size, func(line []byte) error {
		l, err := cdxj.Parse(line)
		if err != nil {
			return nil
		}
		return errors.Join(ctx.Err(), each(l))
	})
}
