package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestChainKeepsKindHintAndWait(t *testing.T) {
	inner := WithHint(New(Credentials, "log in to %s: %w", "feed", io.EOF), "set %s", "password")
	outer := fmt.Errorf("fetch page: %w", inner)
	if got := KindOf(outer); got != Credentials {
		t.Errorf("kind: got %v, want %v", got, Credentials)
	}
	if got := HintOf(outer); got != "set password" {
		t.Errorf("hint: got %q", got)
	}
	if !errors.Is(outer, io.EOF) {
		t.Error("the cause is lost")
	}
	if got := WaitOf(fmt.Errorf("x: %w", WithWait(io.EOF, time.Second))); got != time.Second {
		t.Errorf("wait: got %v, want 1s", got)
	}
	if got := KindOf(As(Transient, outer)); got != Transient {
		t.Errorf("outermost kind: got %v, want %v", got, Transient)
	}
	if As(Transient, nil) != nil || WithHint(nil, "x") != nil {
		t.Error("nil must stay nil")
	}
}

func TestUnclassifiedIsUnknown(t *testing.T) {
	if got := KindOf(io.EOF); got != Unknown {
		t.Errorf("got %v, want unknown", got)
	}
	for k := Unknown; k <= Busy; k++ {
		if k.String() == "" || k.String()[0] == 'k' {
			t.Errorf("kind %d has no word", k)
		}
	}
}
