package cli

// The exit codes, all of them.
const (
	Done          = 0  // done
	Failed        = 1  // failed
	WrongUsage    = 2  // wrong usage or configuration
	LeftOver      = 3  // done, with something left over: rows that wait for a sink, files that were not taken in, an interrupted pass
	StorageFailed = 75 // a store could not be written; started again, it waits until there is room
)

// exitError ends a command with a code of its own, and a message unless err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }
