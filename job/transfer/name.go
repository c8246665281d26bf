package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"holdfast/base/fault"
	"holdfast/base/fits"
	"holdfast/connector"
)

// Placer gives a file its directory at the destinations.
type Placer struct {
	// Card is the keyword of the header card that has the time of a FITS file; "" for the time of the file itself.
	Card string
	// Layout makes a directory of a time, in the words of package time; "" keeps the directory that the file has below its
	// root. The default of the commands is 2006/01/02.
	Layout string
}

// place gives the file its name.
func (j *Job) place(_ context.Context, f *file) (*file, error) {
	name, from := path.Base(string(f.Path)), ""
	dir := path.Dir(string(f.Path))
	if j.cfg.Place.Layout != "" {
		at := time.Unix(0, f.Mtime).UTC()
		if j.cfg.Place.Card != "" && isFITS(string(f.Path)) {
			t, err := j.timeOf(f)
			var e end
			switch {
			case err == nil:
				at = t
			case errors.As(err, &e), isOfSource(err): // whatever card it has, it is none of another night
				return f, err
			default:
				from = fmt.Sprintf("the day is that of the file: %v", err)
			}
		}
		dir = at.Format(j.cfg.Place.Layout)
	}
	if f.Packed != nil {
		name += j.cfg.Pack.Suffix
	}
	name = path.Join(dir, name)
	if err := connector.CheckName(name); err != nil {
		return f, err
	}
	if from != "" {
		j.env.History.Warn("file.no_time", "%s: %s", f.Path, from)
	}
	step := stepNow(Named, "", 0, "%s", name)
	f.note(func(f *file) {
		f.Name, f.Placed = Name(name), from
		f.add(step)
	})
	return f, nil
}

// timeOf is the time that a card of the file gives.
func (j *Job) timeOf(f *file) (at time.Time, err error) {
	in, err := j.open(f)
	if err != nil {
		return at, err
	}
	defer in.Close()
	return j.cfg.Place.timeIn(in, f.Size)
}

// timeIn is timeOf in a file that is open.
func (p *Placer) timeIn(in io.ReaderAt, size int64) (at time.Time, err error) {
	for h, err := range fits.Headers(&reading{ReaderAt: in}, size) {
		if err != nil {
			return at, err
		}
		at, _, err = h.Time(p.Card)
		if y := at.Year(); err == nil && (y < 0 || y > 9999) { // the second behind the last of a year that has four digits
			err = fault.New(fault.Invalid, "%s is of the year %d", p.Card, y)
		}
		if !fault.Is(err, fault.NotFound) {
			return at, err
		}
	}
	return at, fault.New(fault.NotFound, "no header has a card %s", p.Card)
}
