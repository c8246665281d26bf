package sqlite

import (
	"context"
	"crypto/sha1"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// TestGroup: callers that come at once share a transaction, and what is wrong with one is wrong with no other.
func TestGroup(t *testing.T) {
	f := ledgerFile{t, filepath.Join(t.TempDir(), "ledger.sqlite")}
	l, err := f.ledger("us")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Check(t.Context(), []string{"run"}); err != nil {
		t.Fatal(err)
	}
	file := func(i int, run string) connector.Original {
		return connector.Original{Source: fmt.Sprintf("/data/%d", i), SHA1: sha1.Sum(fmt.Append(nil, i)), Size: 1, Created: time.Unix(1, 0),
			Meta: map[string]string{"run": run}}
	}
	const n, bad, gone = 40, 7, 8
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	claims, errs := make([]connector.Claim, n), make([]error, n)
	if err := l.file.turn.Take(ctx); err != nil { // nobody writes, and all come together
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			switch i {
			case bad:
				claims[i], errs[i] = l.Lock(t.Context(), file(i, "no number"), false)
			case gone:
				claims[i], errs[i] = l.Lock(ctx, file(i, "1"), false)
			default:
				claims[i], errs[i] = l.Lock(t.Context(), file(i, "1"), false)
			}
		})
	}
	wait(t, "all to come", func() bool {
		l.group.mu.Lock()
		defer l.group.mu.Unlock()
		return len(l.group.waiting) == n
	})
	cancel()
	wait(t, "one to go", func() bool {
		l.group.mu.Lock()
		defer l.group.mu.Unlock()
		return len(l.group.waiting) == n-1
	})
	l.file.turn.Give()
	callers.Wait()
	for i := range n {
		switch {
		case i == bad && fault.KindOf(errs[i]) != fault.Invalid:
			t.Errorf("metadata that do not fit: got %v", errs[i])
		case i == gone && !fault.Is(errs[i], fault.Transient):
			t.Errorf("one who went: got %v", errs[i])
		case i != bad && i != gone && (errs[i] != nil || !claims[i].Held):
			t.Errorf("file %d: got %+v, %v", i, claims[i], errs[i])
		}
	}
	held, err := f.query("SELECT count(*) FROM goto_holdfast_locks")
	if err != nil || held[0][0] != fmt.Sprint(n-2) {
		t.Errorf("%v files are held, want %d (%v)", held, n-2, err)
	}
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}
