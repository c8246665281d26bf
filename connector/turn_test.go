package connector

import (
	"context"
	"testing"

	"holdfast/base/fault"
)

// One has the turn, others wait for it or give up; behind Close nobody gets it.
func TestTurn(t *testing.T) {
	turn := NewTurn("the thing")
	if err := turn.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turn.Take(gone); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want that somebody else has it", err)
	}
	closed := make(chan struct{})
	go func() { turn.Close(func() { close(closed) }) }()
	turn.Give()
	<-closed
	if err := turn.Take(t.Context()); !fault.Is(err, fault.Permanent) {
		t.Errorf("got %v, want that it is closed", err)
	}
}
