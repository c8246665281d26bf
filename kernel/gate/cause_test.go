package gate

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
)

// causes is a gate in virtual time that keeps what it tells.
func causes(t *testing.T, f func(g *Gate, told *[]string)) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		f(New("sink", Options{OnChange: func(s Status) { told = append(told, s.Cause) }}), &told)
	})
}

// A configured URL may have a password in front of its host.
func TestCausesHaveNoPassword(t *testing.T) {
	causes(t, func(g *Gate, told *[]string) {
		err := fault.New(fault.Transient, "ask http://me:geheim123@h/: refused")
		g.Report(fault.WithHint(err, "is http://me:geheim123@h/ right?"))
		if s := g.Status(); !slices.Equal(*told, []string{"ask http://***@h/: refused"}) || s.Hint != "is http://***@h/ right?" {
			t.Errorf("told %q, and the status is %+v", *told, s)
		}
	})
}

// A server that was down and comes up answering nonsense: the log says so, but not with every
// attempt.
func TestAnotherCauseOfTheSameKindIsTold(t *testing.T) {
	causes(t, func(g *Gate, told *[]string) {
		report := func(format string, args ...any) { g.Report(fault.New(fault.Transient, format, args...)) }
		for i := range 300 {
			report("dial 127.0.0.1:%d: connection refused", 1000+i)
			report("insert %d rows: connection refused", i)
			time.Sleep(time.Second)
		}
		for i := range 300 {
			report("probe: HELLO %d", i)
			time.Sleep(time.Second)
		}
		want := []string{"dial 127.0.0.1:1000: connection refused", "probe: HELLO 0"}
		if !slices.Equal(*told, want) {
			t.Errorf("told %q, want %q", *told, want)
		}
	})
}

// Causes that take turns are told once a minute; one that came too soon is told when it is time.
func TestOtherCausesAreToldOnceAMinute(t *testing.T) {
	causes(t, func(g *Gate, told *[]string) {
		g.Report(fault.New(fault.Transient, "refused"))
		time.Sleep(time.Second)
		for range 58 {
			g.Report(fault.New(fault.Transient, "garbage"))
			time.Sleep(time.Second)
		}
		if len(*told) != 1 {
			t.Errorf("told %q within a minute", *told)
		}
		for i := range 182 {
			g.Report(fault.New(fault.Transient, "%s", []string{"garbage", "nonsense"}[i%2]))
			time.Sleep(time.Second)
		}
		if n := len(*told); n < 3 || n > 4 {
			t.Errorf("told %d times in four minutes: %q", n, *told)
		}
	})
}

func TestCauseIsFitToBeShown(t *testing.T) {
	causes(t, func(g *Gate, told *[]string) {
		g.Report(fault.WithHint(fmt.Errorf("got \x1b[2J\nfake entry\x07"), "look \x1b]0;at it"))
		s := g.Status()
		if s.Cause != `got \u001b[2J fake entry\u0007` || s.Hint != `look \u001b]0;at it` {
			t.Errorf("got cause %q, hint %q", s.Cause, s.Hint)
		}
	})
}

// A listener that panics leaves the gate as usable as before.
func TestAListenerThatPanics(t *testing.T) {
	told := 0
	g := New("sink", Options{OnChange: func(Status) {
		if told++; told == 1 {
			panic("a bug")
		}
	}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		g.Report(fault.New(fault.Transient, "connection refused"))
	}()
	if g.OpenByHand(); told != 2 || !g.Status().Open {
		t.Errorf("told of %d changes, want 2; open %v", told, g.Status().Open)
	}
}
