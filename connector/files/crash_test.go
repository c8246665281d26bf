package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// TestMain lets the test binary be a child: another process that writes files.
func TestMain(m *testing.M) {
	sinktest.Main(m, func(args []string) (connector.Sink, error) {
		return New(Config{Path: args[0], Format: args[1], Compression: args[2]})
	})
}

func (d *directory) temps() (out []string) {
	for _, n := range d.names() {
		if ok, _ := filepath.Match(tempPattern, n); ok {
			out = append(out, n)
		}
	}
	return out
}

// TestSweep: an unfinished file of a writer that lives, in this process or another, stays; so does what
// has another name.
func TestSweep(t *testing.T) {
	d := newDirectory(t)
	one := prepared(t, d, Config{Format: formatJSONL})
	alive, err := one.temp()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	for _, n := range []string{".holdfast-1234.tmp", "notes.txt", ".other.tmp"} {
		if err := os.WriteFile(filepath.Join(d.path, n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	prepared(t, d, Config{Format: formatJSONL})
	got := strings.Join(d.names(), " ")
	if want := filepath.Base(alive.Name()) + " .other.tmp notes.txt"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFullDisk fills a real file system: nothing acknowledged is lost, the error says what it is, nothing
// of the file that did not fit stays, and it goes on by itself when there is room.
func TestFullDisk(t *testing.T) {
	d := newDirectory(t)
	d.path = filepath.Join(testenv.SmallDisk(t, 4<<20), "spots")
	sink := prepared(t, d, Config{Format: formatJSONL})
	ballast := filepath.Join(filepath.Dir(d.path), "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var want []sinktest.Spot
	var failed connector.Delivery
	for n := uint64(1); failed.Rows == nil; n++ {
		spots, del := sinktest.Numbered(n)
		_, err := sink.Write(t.Context(), del)
		switch {
		case err == nil && n < 1000:
			want = append(want, spots...)
		case fault.Is(err, fault.Full):
			failed = del
		default:
			t.Fatalf("delivery %d: got %v (kind %v), want full", n, err, fault.KindOf(err))
		}
	}
	if got := d.temps(); len(got) > 0 {
		t.Errorf("unfinished files on a full disk: %v", got)
	}
	if err := sink.Probe(t.Context()); !fault.Is(err, fault.Full) {
		t.Errorf("probe of a full disk: got %v (kind %v)", err, fault.KindOf(err))
	}
	d.has(t, want)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := sink.Probe(t.Context()); err != nil {
		t.Fatalf("probe when there is room: %v", err)
	}
	spots, _ := sinktest.Numbered(failed.Token.First)
	write(t, sink, failed)
	d.has(t, append(want, spots...))
}
