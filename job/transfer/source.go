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

// origin is the directory of the originals, with a gate: while its disk is away, its files do not count as gone.
type origin struct {
	gate *gate.Gate

	mu      sync.Mutex      // guards what is below
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

// report closes the gate because of what went wrong with a file.
func (o *origin) report(e *sourceError) {
	o.mu.Lock()
	o.missed = e.missed
	o.mu.Unlock()
	o.gate.Report(fault.As(fault.Transient, e))
}

// probeSource returns nil if the originals can be read, and the disk of the file that was missed last is there.
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

// sourceError is an error of a file of the source. Whatever it is wrapped in on its way, it never closes the gate of a
// destination.
type sourceError struct {
	err    error
	away   bool      // it speaks of the source as a whole, and costs no attempt
	missed *Identity // the file, if it is not there, and its disk may not be either
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// ofSource makes a sourceError of an error that a call for a file of the source gave.
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

// isOfSource reports whether an error is one of a file of the source.
func isOfSource(err error) bool {
	_, is := errors.AsType[*sourceError](err)
	return is
}

// notThere returns the error for a file that is not there: it is gone, or its disk may be away.
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

// mayReturn reports whether a file may be missing because its disk is away: what is left of the directories of its path is not
// on the device that it was on, nor on one on which files were found since (a start can give a disk another number).
func (j *Job) mayReturn(i Identity) bool {
	if stands, sure := j.stands(i); stands || sure {
		return false
	}
	device, ok := j.deviceAbove(i)
	return !ok || device != i.Device && !j.origin.has(device)
}

// reading is an open file of the source that remembers why it could not be read, because a connector may report the error in
// other words.
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
