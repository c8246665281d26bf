package fault

import (
	"fmt"
	"runtime/debug"
)

// Panic is a panic that was caught: a bug, with the stack where it happened.
type Panic struct {
	Value any
	Stack []byte
}

// Error returns the value; the stack goes to the log.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Catch runs f and turns a panic into an error, so that a bug ends the work it is in and not the process. A
// goroutine that works for a job runs all it does under it.
func Catch(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
