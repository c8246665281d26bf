package checkpoint_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc64"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func TestMain(m *testing.M) {
	if run := children[os.Getenv(childVar)]; run != nil {
		run(os.Getenv(childDir))
		os.Exit(0)
	}
	if os.Getenv(freezing) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// freezing is set in a process whose stores freeze, for failed writes: a frozen store never ends.
const freezing = "HOLDFAST_TEST_FREEZING"

// alone runs the test in a process of its own and returns false; there it returns true.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(freezing) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), freezing+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("alone: %v: %.4000s", err, out)
	}
	return false
}

var onDisk = checkpoint.Work{}

func key(n uint64) store.Key { return store.Job.K().U64(n) }

// value is what a key holds: so large that a few thousand make tables, and nothing to compress.
func value(n, generation uint64) []byte {
	b := make([]byte, 0, 1000)
	for x := n<<8 | generation; len(b) < cap(b); {
		x = x*6364136223846793005 + 1442695040888963407
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

// put writes the keys from up to to, many in a commit.
func put(t testing.TB, s *store.Store, from, to, generation uint64) {
	t.Helper()
	for from < to {
		end := min(from+100, to)
		err := s.Update(func(tx *store.Tx) error {
			for ; from < end; from++ {
				tx.Set(key(from), value(from, generation))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// contents is every key and value of a store but its meta space, as one number and a count.
type contents struct {
	keys int
	hash uint64
}

func read(t testing.TB, s *store.Store) contents {
	t.Helper()
	var c contents
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	err := s.View(context.Background(), func(r store.Reader) error {
		seq, fail := r.Scan(store.Key{byte(store.Meta) + 1}, store.Key{0xff})
		for k, v := range seq {
			h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(k))))
			h.Write(k)
			h.Write(v)
			c.keys++
		}
		return fail()
	})
	if err != nil {
		t.Fatal(err)
	}
	c.hash = h.Sum64()
	return c
}

func open(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, storetest.Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func readDir(t testing.TB, dir string) contents {
	t.Helper()
	s := open(t, dir)
	defer shut(t, s)
	return read(t, s)
}

func create(t testing.TB, s *store.Store, o checkpoint.Options) checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Create(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Seal(t.Context(), s, c.Name, onDisk); err != nil {
		t.Fatal(err)
	}
	return c
}

func sound(t testing.TB, path string) checkpoint.Report {
	t.Helper()
	r, err := checkpoint.Verify(t.Context(), path, onDisk)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// filled returns a store directory whose store holds tables of more than one level and a log.
func filled(t testing.TB, keys uint64) (dir string, s *store.Store) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "job")
	s = open(t, dir)
	put(t, s, 0, keys, 1)
	// What a store finds in its logs when it opens, it puts into tables.
	shut(t, s)
	s = open(t, dir)
	put(t, s, 0, 10, 1)
	return dir, s
}

func TestRestoreTwiceGivesTheSameStateTwice(t *testing.T) {
	dir, s := filled(t, 4_000)
	lineage := s.Lineage().String()
	want, commit := read(t, s), s.Durable()
	c := create(t, s, checkpoint.Options{Config: "password: ${SECRET}"})
	if c.Commit != commit || c.Lineage != lineage || c.Config != "password: ${SECRET}" || c.Pinned {
		t.Errorf("got %+v, want commit %d of lineage %s", c.Manifest, commit, lineage)
	}
	put(t, s, 3_000, 8_000, 2) // the live store goes on, and compacts
	if r := sound(t, c.Path); r.Unsealed != 0 || r.Bytes != c.Bytes() {
		t.Errorf("verify: %d unsealed, %d bytes, want 0 and %d", r.Unsealed, r.Bytes, c.Bytes())
	}
	seen := map[string]bool{lineage: true}
	for _, name := range []string{"a", "b"} {
		into := filepath.Join(t.TempDir(), name)
		o, err := checkpoint.Restore(t.Context(), c.Path, into, onDisk)
		if err != nil {
			t.Fatal(err)
		}
		r := open(t, into)
		if got := read(t, r); got != want {
			t.Errorf("restore %s: got %+v, want %+v", name, got, want)
		}
		if l := r.Lineage().String(); seen[l] {
			t.Errorf("restore %s: lineage %s is not new", name, l)
		} else {
			seen[l] = true
		}
		err = r.Latest(func(r store.Reader) error {
			got, ok, err := checkpoint.Restored(r)
			if !ok || got.Name != c.Name || got.Commit != commit || got.Lineage != lineage ||
				!got.Created.Equal(c.Created) || !got.Restored.Equal(o.Restored) {
				t.Errorf("origin: got %+v %v", got, ok)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		// The restored store lives, and the checkpoint must not notice.
		put(t, r, 0, 5_000, 3)
		shut(t, r)
		sound(t, c.Path)
	}
	shut(t, s)
	if got := readDir(t, dir); got == want {
		t.Error("the live store went back as well")
	}
}

func TestNames(t *testing.T) {
	dir, s := filled(t, 10)
	defer shut(t, s)
	for _, name := range []string{".x", "a/b", "..", "a b", "-x", string(make([]byte, 200))} {
		_, err := checkpoint.Create(t.Context(), s, checkpoint.Options{Name: name})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("name %q: got %v, want invalid", name, err)
		}
	}
	a, b := create(t, s, checkpoint.Options{}), create(t, s, checkpoint.Options{})
	n := create(t, s, checkpoint.Options{Name: "before-upgrade"})
	if a.Name == b.Name || b.Parent != a.Name || b.Serial <= a.Serial || n.Parent != b.Name ||
		!n.Pinned {
		t.Errorf("got %+v, then %+v, then %+v", a.Manifest, b.Manifest, n.Manifest)
	}
	_, err := checkpoint.Create(t.Context(), s, checkpoint.Options{Name: n.Name})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one of a name: got %v, want a conflict", err)
	}
	all, err := checkpoint.List(dir, onDisk)
	if err != nil || len(all) != 3 || all[0].Name != a.Name || all[2].Name != n.Name ||
		!all[2].Sealed {
		t.Errorf("list: got %+v, %v", all, err)
	}
	if all, err := checkpoint.List(t.TempDir(), onDisk); err != nil || len(all) != 0 {
		t.Errorf("list of nothing: got %+v, %v", all, err)
	}
}

// sealedLater closes the store and makes a checkpoint whose tables had no checksums when it was
// made.
func sealedLater(t testing.TB, s *store.Store) string {
	t.Helper()
	dir := s.Dir()
	shut(t, s)
	shut(t, open(t, dir)) // what is in the log becomes a table before its checksum is forgotten
	if err := os.Remove(filepath.Join(dir, "tables.sum")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer shut(t, s)
	put(t, s, 0, 5, 1)
	c, err := checkpoint.Create(t.Context(), s, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Sealed {
		t.Error("checksums came from nowhere")
	}
	if r := sound(t, c.Path); r.Unsealed == 0 {
		t.Error("verify: no table without a checksum")
	}
	if err := checkpoint.Seal(t.Context(), s, c.Name, onDisk); err != nil {
		t.Fatal(err)
	}
	if r := sound(t, c.Path); r.Unsealed != 0 {
		t.Errorf("verify: %d tables without a checksum once sealed", r.Unsealed)
	}
	// The next one reads none of these tables again; it may have others, from a compaction.
	next, err := checkpoint.Create(t.Context(), s, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range next.Files {
		same := func(g checkpoint.File) bool { return f.Path == g.Path }
		if f.Sum == "" && slices.ContainsFunc(c.Files, same) {
			t.Errorf("%s has to be read again", f.Path)
		}
	}
	return c.Path
}

// clean wants that nothing of a checkpoint is there but the finished ones with the names.
func clean(t testing.TB, fs store.FS, dir string, want ...string) {
	t.Helper()
	left, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	left = slices.DeleteFunc(left, func(name string) bool { return name == "LOCK" || name == "SERIAL" })
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("there is %v, want %v", left, want)
	}
}

// TestAnyKeyspaceIsInACheckpoint: whoever adds a keyspace, or a kind of job with keys of its own, need tell nobody here: all
// that a store holds is in its checkpoints, and comes back.
func TestAnyKeyspaceIsInACheckpoint(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "job"))
	spaces := 0
	err := s.Update(func(tx *store.Tx) error {
		for space := range 0xff {
			if space != int(store.Meta) { // the store's own
				tx.Set(store.Space(space).K().Str("of a package that nobody knows yet"), []byte{byte(space)})
				spaces++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := create(t, s, checkpoint.Options{})
	shut(t, s)
	into := filepath.Join(t.TempDir(), "restored")
	if _, err := checkpoint.Restore(t.Context(), c.Path, into, onDisk); err != nil {
		t.Fatal(err)
	}
	r := open(t, into)
	defer shut(t, r)
	err = r.View(t.Context(), func(rd store.Reader) error {
		for space := range 0xff {
			if space == int(store.Meta) {
				continue
			}
			v, ok, err := rd.Get(store.Space(space).K().Str("of a package that nobody knows yet"))
			if err != nil || !ok || !bytes.Equal(v, []byte{byte(space)}) {
				t.Errorf("keyspace %#x: got %q, %v, %v", space, v, ok, err)
			}
			spaces--
		}
		return nil
	})
	if err != nil || spaces != 0 {
		t.Errorf("%v; %d keyspaces were not looked at", err, spaces)
	}
}
