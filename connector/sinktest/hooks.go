package sinktest

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

// HookOf is a Hook of functions that fail their test themselves.
func HookOf(do, undo func()) Hook {
	return Hook{Do: func() error { do(); return nil }, Undo: func() error { undo(); return nil }}
}

// Toxic is a Hook that has a proxy do something to a stream; see testenv.FaultyProxy.Toxic.
func Toxic(t testing.TB, p *testenv.FaultyProxy, kind, stream string, attrs map[string]any) Hook {
	return HookOf(func() { p.Toxic(t, kind, kind, stream, attrs) }, func() { p.Remove(t, kind) })
}

// Slowly is a Hook that has a proxy hold up every answer a little.
func Slowly(t testing.TB, p *testenv.FaultyProxy) Hook {
	return Toxic(t, p, "latency", "downstream", map[string]any{"latency": 30})
}

// CutBy is a Target's Cut by a proxy.
func CutBy(t testing.TB, p *testenv.FaultyProxy) func(bytes int64) Hook {
	return func(bytes int64) Hook {
		return Toxic(t, p, "limit_data", "upstream", map[string]any{"bytes": bytes})
	}
}

// Losing is a Hook that has a proxy lose the next answer which says that something is done.
func Losing(l *testenv.Lossy) Hook {
	return Hook{Do: func() error { l.Lose.Store(true); return nil },
		Undo: func() error { l.Lose.Store(false); return nil }}
}

// FullDisk is the Pressure of a target in a directory on a small disk.
func FullDisk(t testing.TB, disk string) Pressure {
	ballast := filepath.Join(disk, "ballast")
	return Pressure{Kinds: []fault.Kind{fault.Full}, Hook: Hook{
		Do:   func() error { testenv.Fill(t, ballast); return nil },
		Undo: func() error { return os.Remove(ballast) }}}
}
