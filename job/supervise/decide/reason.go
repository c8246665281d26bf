package decide

import (
	"fmt"
	"time"
)

// Reason says why a decision is what it is. It is put into words only when somebody reads it: most decisions came to nothing,
// and nobody reads their reasons.
type Reason struct {
	form   reasonForm
	text   string // said, and beside others what they are about
	n, of  int
	within time.Duration
}

type reasonForm uint8

const (
	inWords   reasonForm = iota // as text has it
	counted                     // 3 of 5 within 1m
	cooling                     // for 12s more
	ofTheRule                   // a limit
	ofLoops
	ofAll
	holding // it has to for some time
	old
)

func because(text string) Reason { return Reason{text: text} }

// String is the reason in words; "" if there is none.
func (r Reason) String() string {
	switch r.form {
	case counted:
		return fmt.Sprintf("%d of %d within %v", r.n, r.of, r.within)
	case cooling:
		return fmt.Sprintf("for %v more", r.within)
	case ofTheRule:
		return fmt.Sprintf("of the rule: %d within %v", r.n, r.within)
	case ofLoops:
		return fmt.Sprintf("loop guard: our own actions led to %d within %v", r.n, r.within)
	case ofAll:
		return fmt.Sprintf("of all rules: %d within %v", r.n, r.within)
	case holding:
		return fmt.Sprintf("it holds, and has to for %v", r.within)
	case old:
		return fmt.Sprintf("it was %v old when it was read", r.within)
	}
	return r.text
}
