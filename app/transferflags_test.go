package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestOnePassOverwritesNothing: in one pass originals stay, whatever is said of those that are unpacked; and that is told.
func TestOnePassOverwritesNothing(t *testing.T) {
	for _, once := range []bool{false, true} {
		var said bytes.Buffer
		p, err := Transfer(TransferFlags{From: t.TempDir(), To: t.TempDir(), DataDir: t.TempDir(), BackfillOnly: once,
			OverwriteEvery: time.Minute}, func(string) (string, bool) { return "", false }, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if w := p.Jobs[0].work.(*transferConfig); (w.OverwriteUnpacked == nil) != once {
			t.Errorf("one pass %v: %v", once, w.OverwriteUnpacked)
		}
		if strings.Contains(said.String(), "--overwrite-unpacked-interval") != once {
			t.Errorf("one pass %v: it says %q", once, said.String())
		}
	}
}
