package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/kernel/gate"
)

// origin is the directory of the originals behind its gate: while its disk is away, its files are not gone.
type origin struct {
	gate *gate.Gate

	mu      sync.Mutex      // guards all below
	devices map[uint64]bool // on which files were found in this life
	missed  *Identity       // a file of which it is not sure that it is gone, and that closed the gate; nil for none
}

func newOrigin(j *Job) *origin {
	return &origin{devices: map[uint64]bool{}, gate: j.newGate(sourceGate, j.probeSource)}
}

// saw remembers where files are found.
func (o *origin) saw(files []Seen) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range files {
		o.devices[s.Device] = true
	}
}

// has reports whether a file was found on a device.
func (o *origin) has(device uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.devices[device]
}

// report closes the gate by what a file met.
func (o *origin) report(e *sourceError) {
	o.mu.Lock()
	o.missed = e.missed
	o.mu.Unlock()
	o.gate.Report(fault.As(fault.Transient, e))
}

// probeSource is nil if the originals can be read, and the disk of the one that was missed last is there.
func (j *Job) probeSource(context.Context) error {
	dir, err := os.Open(j.cfg.Root)
	if err != nil {
		return fault.As(fault.Transient, err)
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); err != nil && err != io.EOF {
		return fault.As(fault.Transient, err)
	}
	j.origin.mu.Lock()
	missed := j.origin.missed
	j.origin.mu.Unlock()
	if missed != nil && j.mayReturn(*missed) {
		return fault.As(fault.Transient, j.notMounted(*missed))
	}
	return nil
}

// sourceError is what went wrong with a file here. No gate of a destination hears of it, whatever it is wrapped in on its way.
type sourceError struct {
	err    error
	away   bool      // it speaks of the source as a whole, and costs no attempt
	missed *Identity // the file, if it is not there, and its disk may not be either
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// ofSource makes a sourceError of what a call for a file here gave.
func ofSource(err error) error {
	if err == nil {
		return nil
	}
	e := &sourceError{err: err}
	for _, no := range []error{unix.ESTALE, unix.ETIMEDOUT, unix.ENOTCONN, unix.EHOSTDOWN, unix.EHOSTUNREACH,
		unix.ENXIO, unix.ENODEV, unix.EMFILE, unix.ENFILE} {
		e.away = e.away || errors.Is(err, no)
	}
	return e
}

// isOfSource reports whether an error is that of a file here.
func isOfSource(err error) bool {
	_, is := errors.AsType[*sourceError](err)
	return is
}

// notThere says of a file that is not there that it is gone, or that its disk may be away.
func (j *Job) notThere(f *file) error {
	if stands, _ := j.stands(f.Identity); stands { // it came back just now
		return &sourceError{away: true, err: fmt.Errorf("%s was not there for a moment", f.Path)}
	}
	if !j.mayReturn(f.Identity) {
		return end{Gone, "it is not there any more"}
	}
	return j.notMounted(f.Identity)
}

func (j *Job) notMounted(i Identity) *sourceError {
	return &sourceError{away: true, missed: &i, err: fault.WithHint(
		fmt.Errorf("%s is not there, and its disk may not be mounted at %s", i.Path, j.cfg.Root),
		"mount it; if its files are gone for good, they are let go once another file is found there")}
}

// mayReturn reports whether a file that is not there may be so because its disk is away: the directories that are left of its
// path are not on its device, nor on one that files were found on since, as after a start that gave the disk another number.
func (j *Job) mayReturn(i Identity) bool {
	if stands, sure := j.stands(i); stands || sure {
		return false
	}
	device, ok := j.deviceAbove(i)
	return !ok || device != i.Device && !j.origin.has(device)
}

// reading is a file here that remembers why it could not be read, for whoever has it from a connector in other words.
type reading struct {
	io.ReaderAt
	mu  sync.Mutex
	err error // guarded by mu
}

func (r *reading) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	if err != nil && err != io.EOF {
		err = ofSource(err)
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
	}
	return n, err
}

// failed is why it could not be read, nil if it could.
func (r *reading) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
