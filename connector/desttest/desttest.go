// Package desttest is the contract suite of destinations: every implementation of connector.Destination runs it against
// the real thing. Called by tests only.
package desttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Target is one fresh, empty destination.
type Target struct {
	// New returns the destination. Called again it gives what a restarted process would have.
	New func() (connector.Destination, error)
	// Files reads all files without the destination, those under way too: by name, their bytes.
	Files func() (map[string][]byte, error)
	// Put makes a file without the destination.
	Put func(name string, data []byte) error
	// Absolute is what Placed.Path says of a name.
	Absolute func(name string) string
	// OwnTimes: List tells when files were placed, and not the times that they had.
	OwnTimes bool
}

// Content is what a file of these bytes is to a destination.
func Content(data []byte) connector.Content {
	return connector.Content{ReaderAt: bytes.NewReader(data), Size: int64(len(data)), SHA256: sha256.Sum256(data),
		ModTime: time.Date(2026, 7, 15, 1, 2, 3, 0, time.UTC)}
}

// Bytes are n bytes that nothing packs.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	for r, i := rand.NewPCG(seed, 1), 0; i < n; i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v >> (8 * (j - i)))
		}
	}
	return b
}

// Run runs the suite; open makes a fresh target for each case.
func Run(t *testing.T, open func(t *testing.T) *Target) {
	for _, c := range []struct {
		name string
		run  func(r *rig)
	}{
		{"sizes", sizes},
		{"names", names},
		{"names that lead away", badNames},
		{"the same again", again},
		{"other bytes under the name", conflict},
		{"another file comes meanwhile", meanwhile},
		{"cut off and resumed", resumed},
		{"a part of something else", foreignPart},
		{"content that changes", changed},
		{"whole or not there", whole},
		{"copy", copies},
		{"sums", sums},
		{"read", read},
		{"list", list},
		{"sweep", sweep},
		{"many at once", atOnce},
		{"probe", probe},
	} {
		t.Run(c.name, func(t *testing.T) {
			tg := open(t)
			d, err := tg.New()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
			c.run(&rig{T: t, Target: tg, d: d})
		})
	}
}

type rig struct {
	*testing.T
	*Target
	d connector.Destination
}

// place places bytes, and fails the test if that fails.
func (r *rig) place(name string, data []byte) connector.Placed {
	r.Helper()
	p, err := r.d.Place(r.Context(), name, Content(data), nil)
	if err != nil {
		r.Fatalf("place %q: %v", name, err)
	}
	if want := r.Absolute(name); p.Path != want || p.Verified == "" {
		r.Errorf("placed %+v, want the path %s, and how it was verified", p, want)
	}
	if want := strings.TrimSuffix(r.d.Traits().Path, "/") + "/" + name; p.Path != want {
		r.Errorf("placed at %q, and the traits say %q", p.Path, want)
	}
	return p
}

// holds compares what is there with what has to be.
func (r *rig) holds(want map[string][]byte) {
	r.Helper()
	got, err := r.Files()
	if err != nil {
		r.Fatal(err)
	}
	for name, data := range want {
		if have, ok := got[name]; !ok || !bytes.Equal(have, data) {
			r.Errorf("%q: there is %v, %d bytes, want %d others", name, ok, len(have), len(data))
		}
	}
	for name, data := range got {
		if _, ok := want[name]; !ok {
			r.Errorf("there is %q with %d bytes, which should not be", name, len(data))
		}
	}
}

func sizes(r *rig) {
	want := map[string][]byte{}
	for _, n := range []int{0, 1, 2879, 1<<15 - 1, 1 << 15, 1<<20 + 1, 5 << 20} {
		name := fmt.Sprintf("a/b/%d", n)
		want[name] = Bytes(uint64(n), n)
		if p := r.place(name, want[name]); p.Already || p.Sent != int64(n) {
			r.Errorf("%d bytes: placed %+v", n, p)
		}
	}
	r.holds(want)
}

func names(r *rig) {
	want := map[string][]byte{}
	for i, name := range []string{"plain", "with space", " leading", "-rf", "--", "$(touch x)", "`id`", `quote"s'`, "semi;colon|pipe&",
		"new\nline", "tab\t", "glob*?[a]", "~home", "ümläut 🎈", "back\\slash", "a/b c/d'e", ".hidden", "x.part", "%2e%2e", "#",
		strings.Repeat("l", 255), strings.Repeat("é", 127)} {
		want[name] = Bytes(uint64(i), 100+i)
		r.place(name, want[name])
	}
	r.holds(want)
}

func badNames(r *rig) {
	for _, name := range []string{"", ".", "..", "../x", "a/../b", "/abs", "a//b", "a/", "./a", "nul\x00", ".x.part", strings.Repeat("l", 256)} {
		if _, err := r.d.Place(r.Context(), name, Content([]byte("x")), nil); !fault.Is(err, fault.Invalid) {
			r.Errorf("%q: got %v, want an invalid name", name, err)
		}
	}
	r.holds(nil)
}

func again(r *rig) {
	data := Bytes(1, 100_000)
	r.place("d/x", data)
	for range 2 {
		d, err := r.New()
		if err != nil {
			r.Fatal(err)
		}
		p, err := d.Place(r.Context(), "d/x", Content(data), nil)
		if err = errors.Join(err, d.Close()); err != nil || !p.Already || p.Sent != 0 {
			r.Errorf("placed %+v, %v; want it to be there already", p, err)
		}
	}
	if err := r.Put(connector.PartName("d/y"), data[:10]); err != nil { // what a crash behind the rename leaves
		r.Fatal(err)
	}
	r.place("d/y", data)
	if p := r.place("d/y", data); !p.Already {
		r.Errorf("placed %+v, want it to be there already", p)
	}
	r.holds(map[string][]byte{"d/x": data, "d/y": data})
}

func conflict(r *rig) {
	mine := Bytes(1, 1000)
	for name, other := range map[string][]byte{"longer": Bytes(2, 1001), "as long": Bytes(3, 1000), "empty": nil, "begin": mine[:10]} {
		if err := r.Put(name, other); err != nil {
			r.Fatal(err)
		}
		if _, err := r.d.Place(r.Context(), name, Content(mine), nil); !fault.Is(err, fault.Conflict) {
			r.Errorf("%s: got %v, want a conflict", name, err)
		}
		defer r.holdsOne(name, other)
	}
	if _, err := r.d.Place(r.Context(), "longer/below", Content(mine), nil); err == nil {
		r.Error("a file was placed below a file")
	}
}

func (r *rig) holdsOne(name string, data []byte) {
	r.Helper()
	got, err := r.Files()
	if have, ok := got[name]; err != nil || !ok || !bytes.Equal(have, data) {
		r.Errorf("%q was touched: %v, %d bytes, %v", name, ok, len(have), err)
	}
}

// meanwhile has somebody else make the file while it is under way: other bytes, and the same.
func meanwhile(r *rig) {
	mine := Bytes(1, 3<<20)
	for name, theirs := range map[string][]byte{"other": Bytes(2, 10), "same": mine} {
		var once sync.Once
		_, err := r.d.Place(r.Context(), name, Content(mine), func(int64) {
			once.Do(func() {
				if err := r.Put(name, theirs); err != nil {
					r.Error(err)
				}
			})
		})
		if same := name == "same"; same && err != nil || !same && !fault.Is(err, fault.Conflict) {
			r.Errorf("%s: got %v", name, err)
		}
		r.holdsOne(name, theirs)
	}
}

// resumed cuts a transfer off again and again, each time a little later.
func resumed(r *rig) {
	data := Bytes(7, 8<<20)
	var sent int64
	for cut := int64(1 << 20); cut < 8<<20; cut += 3 << 20 {
		ctx, cancel := context.WithCancel(r.Context())
		var got int64
		_, err := r.d.Place(ctx, "big", Content(data), func(n int64) {
			if got += n; got+sent >= cut {
				cancel()
			}
		})
		cancel()
		if err == nil {
			r.Fatal("a transfer that was cut off did not fail")
		}
		if files, err := r.Files(); err != nil || files["big"] != nil {
			r.Fatalf("the file has its name before it is whole (%v)", err)
		}
		sent += got
	}
	p := r.place("big", data)
	if r.d.Traits().Resumes && p.Sent > 6<<20 {
		r.Errorf("%d of %d bytes travelled at last, though it had been cut off behind 7 MiB", p.Sent, len(data))
	}
	r.holds(map[string][]byte{"big": data})
}

// foreignPart finds something under the name of what is under way that is no beginning of the file.
func foreignPart(r *rig) {
	data, other := Bytes(1, 300_000), Bytes(2, 400_000)
	for name, there := range map[string][]byte{"other": other, "longer": append(slices.Clone(data), 1), "spoilt": spoilt(data[:200_000])} {
		if err := r.Put(connector.PartName(name), there); err != nil {
			r.Fatal(err)
		}
		r.place(name, data)
	}
	r.holds(map[string][]byte{"other": data, "longer": data, "spoilt": data})
}

func spoilt(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)/2] ^= 4
	return b
}

// changed gives other bytes than those that were hashed.
func changed(r *rig) {
	data := Bytes(1, 100_000)
	for name, c := range map[string]connector.Content{
		"other": {ReaderAt: bytes.NewReader(spoilt(data)), Size: 100_000, SHA256: sha256.Sum256(data), ModTime: time.Now()},
		"short": {ReaderAt: bytes.NewReader(data[:99_999]), Size: 100_000, SHA256: sha256.Sum256(data), ModTime: time.Now()},
	} {
		if _, err := r.d.Place(r.Context(), name, c, nil); !fault.Is(err, fault.Corrupt) {
			r.Errorf("%s: got %v, want that it is not what was hashed", name, err)
		}
		if files, err := r.Files(); err != nil || files[name] != nil {
			r.Errorf("%s has its name (%v)", name, err)
		}
		r.place(name, data) // it is put right by the next attempt
	}
	r.holds(map[string][]byte{"other": data, "short": data})
}

// whole looks at a file while it is placed.
func whole(r *rig) {
	data := Bytes(9, 4<<20)
	_, err := r.d.Place(r.Context(), "d/w", Content(data), func(int64) {
		if files, err := r.Files(); err != nil || files["d/w"] != nil {
			r.Errorf("the file has its name before it is whole (%v)", err)
		}
	})
	if err != nil {
		r.Fatal(err)
	}
	r.holds(map[string][]byte{"d/w": data})
}

func copies(r *rig) {
	data := Bytes(1, 50_000)
	r.place("from", data)
	p, err := r.d.Copy(r.Context(), "from", "e/to", Content(data))
	if err != nil || p.Sent != 0 || p.Path != r.Absolute("e/to") {
		r.Fatalf("copied %+v, %v", p, err)
	}
	if p, err := r.d.Copy(r.Context(), "from", "e/to", Content(data)); err != nil || !p.Already {
		r.Errorf("copied again: %+v, %v", p, err)
	}
	for from, c := range map[string]connector.Content{"nowhere": Content(data), "from": Content(data[1:])} {
		if _, err := r.d.Copy(r.Context(), from, "no", c); !fault.Is(err, fault.NotFound) {
			r.Errorf("copy of %s: got %v, want that it is not there", from, err)
		}
	}
	if err := r.Put("taken", data[:5]); err != nil {
		r.Fatal(err)
	}
	if _, err := r.d.Copy(r.Context(), "from", "taken", Content(data)); !fault.Is(err, fault.Conflict) {
		r.Errorf("got %v, want a conflict", err)
	}
	r.holds(map[string][]byte{"from": data, "e/to": data, "taken": data[:5]})
}

func sums(r *rig) {
	data, ask := map[string][]byte{}, []string{"not there"}
	for i := range 30 {
		name := fmt.Sprintf("s/it's %d\n$x", i)
		data[name] = Bytes(uint64(i), i*100)
		r.place(name, data[name])
		ask = append(ask, name)
	}
	got, how, err := r.d.Sums(r.Context(), ask)
	if err != nil || how == "" || len(got) != len(data) {
		r.Fatalf("got %d sums (%s), %v; want %d", len(got), how, err, len(data))
	}
	for name, b := range data {
		if got[name] != sha256.Sum256(b) {
			r.Errorf("%q has another sum", name)
		}
	}
}

func read(r *rig) {
	for _, n := range []int{0, 1, 1<<20 + 3} {
		name, want := fmt.Sprintf("r/it's %d\n$x", n), Bytes(uint64(n), n)
		r.place(name, want)
		var got bytes.Buffer
		if err := r.d.Read(r.Context(), name, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			r.Errorf("%d bytes: got %d, %v", n, got.Len(), err)
		}
	}
	for _, name := range []string{"not there", "r/not there", "no/directory"} {
		if err := r.d.Read(r.Context(), name, new(bytes.Buffer)); !fault.Is(err, fault.NotFound) {
			r.Errorf("%s: got %v, want that it is not found", name, err)
		}
	}
	if err := r.d.Read(r.Context(), "../away", new(bytes.Buffer)); !fault.Is(err, fault.Invalid) {
		r.Errorf("a name that leads away: got %v", err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := r.d.Read(ctx, "r/it's 1\n$x", new(bytes.Buffer)); err == nil {
		r.Error("it is read for somebody who has gone")
	}
}

func list(r *rig) {
	for _, name := range []string{"a", "d/b", "d/e/c", "f/g"} {
		r.place(name, []byte(name))
	}
	if err := r.Put(connector.PartName("d/under way"), []byte("x")); err != nil {
		r.Fatal(err)
	}
	for dir, want := range map[string]string{"": "a d/b d/e/c f/g", "d": "d/b d/e/c", "d/e": "d/e/c"} {
		var got []string
		err := r.d.List(r.Context(), dir, func(f connector.Found) error {
			got = append(got, f.Name)
			if f.Size != int64(len(f.Name)) || !r.OwnTimes && !f.ModTime.Equal(Content(nil).ModTime) {
				r.Errorf("found %+v", f)
			}
			return nil
		})
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			r.Errorf("below %q: got %v, %v; want %s", dir, got, err, want)
		}
	}
	stop := errors.New("enough")
	if err := r.d.List(r.Context(), "", func(connector.Found) error { return stop }); !errors.Is(err, stop) {
		r.Errorf("got %v, want the error of the one who was given a file", err)
	}
}

func sweep(r *rig) {
	r.place("d/x", []byte("x"))
	for _, name := range []string{connector.PartName("d/y"), connector.PartName("z"), "d/not.part", ".hidden"} {
		if err := r.Put(name, []byte("left")); err != nil {
			r.Fatal(err)
		}
	}
	if removed, err := r.d.Sweep(r.Context(), time.Hour); err != nil || len(removed) > 0 {
		r.Errorf("removed %v, %v of what is new", removed, err)
	}
	removed, err := r.d.Sweep(r.Context(), -time.Hour)
	slices.Sort(removed)
	if want := []string{connector.PartName("z"), connector.PartName("d/y")}; err != nil || !slices.Equal(removed, want) {
		r.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	r.holds(map[string][]byte{"d/x": []byte("x"), "d/not.part": []byte("left"), ".hidden": []byte("left")})
}

func atOnce(r *rig) {
	want := map[string][]byte{}
	var all sync.WaitGroup
	for i := range 40 {
		name, data := fmt.Sprintf("n/%d/%d", i%3, i), Bytes(uint64(i), i*1000)
		want[name] = data
		all.Go(func() {
			if _, err := r.d.Place(r.Context(), name, Content(data), nil); err != nil {
				r.Errorf("place %s: %v", name, err)
			}
		})
	}
	all.Wait()
	r.holds(want)
}

func probe(r *rig) {
	for range 2 {
		if err := r.d.Probe(r.Context()); err != nil {
			r.Errorf("probe: %v", err)
		}
	}
	r.holds(nil)
}
