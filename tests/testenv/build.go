package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Binary builds holdfast once per test process, with the race detector when the test itself has
// it, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	if raceEnabled {
		return built(t, buildRace)
	}
	return PlainBinary(t)
}

// PlainBinary builds holdfast as make build does, whatever the test itself is built with. Bounds
// on time and memory are for this one.
func PlainBinary(t testing.TB) string {
	t.Helper()
	return built(t, buildPlain)
}

func built(t testing.TB, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// With the settings of make build: with others, all packages would be compiled once more.
var (
	buildRace = sync.OnceValues(func() (string, error) {
		return goBuild("holdfast-race", "holdfast", "CGO_ENABLED=1", "-race")
	})
	buildPlain = sync.OnceValues(func() (string, error) {
		return goBuild("holdfast", "holdfast", "CGO_ENABLED=0")
	})
	buildNATS = sync.OnceValues(func() (string, error) {
		return goBuild("nats-server", "github.com/nats-io/nats-server/v2", "CGO_ENABLED=0")
	})
	buildFront = sync.OnceValues(func() (string, error) {
		return goBuild("chfront", "holdfast/tests/testenv/chfront", "CGO_ENABLED=0")
	})
)

func goBuild(name, pkg, env string, flags ...string) (string, error) {
	dir, err := processDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", path}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// processDir is a directory that lives as long as the test process: what is built is shared by
// its tests, so none of their cleanups may remove it.
var processDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return "", fmt.Errorf("make build directory: %w", err)
	}
	done, err := afterwards("rm", "-rf", dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	atEnd = append(atEnd, done)
	return dir, nil
})

// atEnd keeps what the end of the process does: collected as garbage, a pipe would be closed.
var atEnd []func()

// afterwards runs a command when done is called or this process has ended, however it ended: a
// shell waits for the end of a pipe that only this process holds. The caller keeps done.
func afterwards(command ...string) (done func(), err error) {
	quoted := make([]string, len(command))
	for i, word := range command {
		quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	cmd := exec.Command("/bin/sh", "-c", "trap '' INT TERM HUP; read -r _; "+strings.Join(quoted, " "))
	held, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start shell: %w", err)
	}
	return func() {
		_ = held.Close()
		_ = cmd.Wait()
	}, nil
}
