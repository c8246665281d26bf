package files

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// TestMain lets the test binary be a child: another process that writes files.
func TestMain(m *testing.M) {
	if os.Getenv("HOLDFAST_FILES_CHILD") == "" {
		os.Exit(m.Run())
	}
	s, err := New(Config{Path: os.Args[1], Format: os.Args[2]})
	n, _ := strconv.ParseUint(os.Args[3], 10, 64)
	for ; err == nil; n++ {
		_, d := numbered(n)
		if _, err = s.Write(context.Background(), d); err == nil {
			fmt.Println("acknowledged", n)
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// TestKilled ends a writing process at random moments, some two hundred times under make torture. What it
// had acknowledged is there, every file is whole, and the next process doubles nothing.
func TestKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := regexp.MustCompile(`acknowledged (\d+)\n`)
	for _, format := range []string{formatParquet, formatJSONL} {
		random := rand.New(rand.NewPCG(testenv.Seed(t), 1))
		d := newDirectory(t)
		last, left := uint64(0), 0
		for range testenv.Count(t, 200) {
			p := testenv.Start(t, testenv.Command{Path: self, Env: []string{"HOLDFAST_FILES_CHILD=1"},
				Args: []string{d.path, format, strconv.FormatUint(max(last, 1), 10)}})
			p.WaitFor(t, "acknowledged", 30*time.Second)
			time.Sleep(time.Duration(random.IntN(20_000)) * time.Microsecond)
			p.Kill()
			if out := p.Output(); strings.Contains(out, "error") {
				t.Fatalf("child: %s", out)
			}
			all := acknowledged.FindAllStringSubmatch(p.Stdout(), -1)
			last, _ = strconv.ParseUint(all[len(all)-1][1], 10, 64)
			left += len(d.temps())
			rows, err := d.spots()
			if n := uint64(len(rows)); err != nil || n != last*perDelivery && n != (last+1)*perDelivery {
				t.Fatalf("%d rows after a kill, %d deliveries of %d were acknowledged: %v", n, last,
					perDelivery, err)
			}
		}
		t.Logf("%s: %d deliveries, %d unfinished files", format, last, left)
		var want []sinktest.Spot
		sink := prepared(t, d, Config{Format: format})
		if got := d.temps(); len(got) > 0 {
			t.Errorf("unfinished files after Prepare: %v", got)
		}
		for n := uint64(1); n <= last+1; n++ {
			spots, del := numbered(n)
			write(t, sink, del)
			want = append(want, spots...)
		}
		d.has(t, want)
	}
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
		spots, del := numbered(n)
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
	spots, _ := numbered(failed.Token.First)
	write(t, sink, failed)
	d.has(t, append(want, spots...))
}
