package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// shelf is a target in a store: what a frontier promises to an import, in the plainest form.
//
//	k key      state
//	q seq(8)   the key, URL, hops and via of a URL that is queued
//	x key      a URL that is queued and that another crawl ended: state
type shelf struct{ fail func() error } // nil: nothing fails

func shelfKey(kind byte) store.Key { return store.Key{byte(store.Job), 'Y', kind} }

var ranks = []frontier.State{frontier.Queued, frontier.Left, frontier.Failed, frontier.Done}

func rankOf(s frontier.State) int { return slices.Index(ranks, s) }

func (s *shelf) Import(tx *store.Tx, items []frontier.Item, states []frontier.State) (learned int, err error) {
	for n, it := range items {
		k, to := shelfKey('k').Str(it.Key), states[n]
		v, known, err := tx.Get(k)
		if err != nil {
			return 0, err
		}
		var was frontier.State
		if known {
			was = frontier.State(v[0])
		}
		switch {
		case !known && to == frontier.Queued:
			seq := uint64(0)
			entries, failed := tx.ScanBack(shelfKey('q'), shelfKey('q').End())
			for k := range entries {
				seq = binary.BigEndian.Uint64(k[3:]) + 1
				break
			}
			if err := failed(); err != nil {
				return 0, err
			}
			tx.Set(k, []byte{byte(to)})
			tx.Set(shelfKey('q').U64(seq), []byte(it.Key+"\x00"+it.URL+"\x00"+it.Hops+"\x00"+it.Via))
		case to == frontier.Queued || known && was != frontier.Queued && rankOf(to) <= rankOf(was):
			continue
		case was == frontier.Queued:
			mark, marked, err := tx.Get(shelfKey('x').Str(it.Key))
			if err != nil {
				return 0, err
			}
			if marked && rankOf(to) <= rankOf(frontier.State(mark[0])) {
				continue
			}
			tx.Set(shelfKey('x').Str(it.Key), []byte{byte(to)})
		default:
			tx.Set(k, []byte{byte(to)})
		}
		learned++
	}
	if s.fail != nil {
		err = s.fail()
	}
	return learned, err
}

func (s *shelf) Settle(tx *store.Tx) (more bool, err error) {
	marks := map[string]byte{}
	entries, failed := tx.Scan(shelfKey('x'), shelfKey('x').End())
	for k, v := range entries {
		marks[string(k[3:])] = v[0]
	}
	var gone []store.Key
	entries, failed2 := tx.Scan(shelfKey('q'), shelfKey('q').End())
	for k, v := range entries {
		if _, ok := marks[string(v[:bytes.IndexByte(v, 0)])]; ok {
			gone = append(gone, store.Key(nil).Raw(k))
		}
	}
	for _, k := range gone {
		tx.Delete(k)
	}
	for k, to := range marks {
		tx.Set(shelfKey('k').Str(k), []byte{to})
		tx.Delete(shelfKey('x').Str(k))
	}
	err = errors.Join(failed(), failed2())
	if s.fail != nil && err == nil {
		err = s.fail()
	}
	return len(marks) > 0, err
}

// itemOf is the URL of a line as the job has it.
func itemOf(l Line) (frontier.Item, bool, error) {
	if strings.HasPrefix(l.URL, "dns:") {
		return frontier.Item{}, false, nil
	}
	u, err := weburl.Parse(l.URL)
	if err != nil {
		return frontier.Item{}, false, err
	}
	return frontier.Item{URL: u.String(), Key: u.SURT(), Queue: u.QueueKey(), Hops: l.Hops, Via: l.Via, Precedence: 3}, true, nil
}

// content is all that a store has of its shelf, a line each.
func content(t testing.TB, st *store.Store) []string { return contentOf(t, st, 'Y') }

func contentOf(t testing.TB, st *store.Store, space byte) (all []string) {
	t.Helper()
	err := st.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(store.Key{byte(store.Job), space}, store.Key{byte(store.Job), space + 1})
		for k, v := range entries {
			if space == 'F' && string(k[2:]) == "m" { // the clock of the frontier: what time it is
				continue
			}
			all = append(all, fmt.Sprintf("%q %q", k[2:], v))
		}
		return failed()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func newStore(t testing.TB) *store.Store {
	return storetest.Open(t, filepath.Join(t.TempDir(), "store"))
}

// files writes texts into files.
func files(t testing.TB, all ...[]byte) (names []string) {
	t.Helper()
	dir := t.TempDir()
	for n, b := range all {
		names = append(names, filepath.Join(dir, fmt.Sprintf("%s.%d", Name, n)))
		if err := os.WriteFile(names[n], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// byHeritrix is a journal as Heritrix 3 writes it, with every type of line.
const byHeritrix = `F+ http://a.example/  
F+ dns:a.example P http://a.example/
Fe dns:a.example
Fs dns:a.example P http://a.example/
F+ http://a.example/robots.txt P http://a.example/
Fe http://a.example/robots.txt
Fs http://a.example/robots.txt P http://a.example/
Fe http://a.example/
F+ http://a.example/one L http://a.example/
F+ http://a.example/two L http://a.example/
F+ http://b.example/img.png E http://a.example/
F+ http://a.example/private/x L http://a.example/
Fs http://a.example/  
Fe http://a.example/one
Fr http://a.example/one
Fe http://a.example/private/x
Fd http://a.example/private/x
T 20110623120000
E 20110623120001 java.io.IOException: connection reset

Fe http://b.example/img.png
Ff http://b.example/img.png E http://a.example/
Fi http://a.example/three
Fx http://a.example/nothing
F+ http://[not/a/url L http://a.example/
Fs not a url at all
F+ http://a.example/four L http://a.example/one
Fe http://a.example/four
Fs http://a.example/five LL http://a.example/four
F+ http://a.example/five LL http://a.example/four
`

func TestImportOfHeritrix(t *testing.T) {
	wantState := map[string]frontier.State{
		"/": frontier.Done, "/robots.txt": frontier.Done, "/one": frontier.Queued, "/two": frontier.Queued, "/private/x": frontier.Left,
		"/four": frontier.Queued, "/five": frontier.Done,
	}
	for name, b := range map[string][]byte{"packed": pack(t, byHeritrix), "plain": []byte(byHeritrix)} {
		st := newStore(t)
		var bad []string
		o := Options{Item: itemOf, Bad: func(err error) { bad = append(bad, err.Error()) }}
		in := files(t, b)
		got, err := Import(t.Context(), st, &shelf{}, in, o)
		if err != nil {
			t.Fatal(err)
		}
		want := Report{Lines: int64(strings.Count(byHeritrix, "\n")), Bad: 3, Foreign: 2, Ended: 5, Queued: 3}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		slices.Sort(bad)
		for i, start := range []string{", line 24: it is of no kind", ", line 25: not a URL", ", line 26: not a URL"} {
			if len(bad) != 3 || !strings.HasPrefix(bad[i], in[0]+start) {
				t.Errorf("%s: bad lines %q, want %q", name, bad, start)
			}
		}
		all := strings.Join(content(t, st), "\n")
		for path, s := range wantState {
			if line := fmt.Sprintf("%q %q", "khttp://(example,a,)"+path, string(byte(s))); !strings.Contains(all+"\n", line+"\n") {
				t.Errorf("%s: %s is not there:\n%s", name, line, all)
			}
		}
		queue := []string{"/one\x00L\x00http://a.example/", "/two\x00L\x00http://a.example/", "/four\x00L\x00http://a.example/one"}
		at := 0
		for _, q := range queue {
			n := strings.Index(all[at:], strings.Trim(fmt.Sprintf("%q", "http://a.example"+q), `"`)+`"`)
			if n < 0 {
				t.Fatalf("%s: %q is not queued, or in another order:\n%s", name, q, all)
			}
			at += n
		}
		again, err := Import(t.Context(), st, &shelf{fail: func() error { return errors.New("it was asked for") }}, in, o)
		if want.Again = true; err != nil || fmt.Sprint(again) != fmt.Sprint(want) {
			t.Errorf("%s: again: %+v, %v", name, again, err)
		}
	}
}

// TestRetryFailed: URLs that failed are queued again if that is asked for.
func TestRetryFailed(t *testing.T) {
	st := newStore(t)
	in := files(t, []byte("F+ http://a.example/ L http://b.example/\n"+
		"Ff http://a.example/ L http://b.example/\nFd http://c.example/\n"))
	r, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf, RetryFailed: true})
	if err != nil || r.Ended != 1 || r.Queued != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestOrderOfFilesAndLines: whatever the order of the lines, and however they are spread over files, one state comes of them,
// also if the files are imported one by one.
func TestOrderOfFilesAndLines(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	var text []string
	for n := range 60 {
		u := fmt.Sprintf("http://a.example/%d", n)
		text = append(text, "F+ "+u+" L http://a.example/")
		for _, kind := range []string{"Fe", "Fs", "Ff", "Fd", "Fr"} {
			if rnd.IntN(3) == 0 {
				text = append(text, kind+" "+u)
			}
		}
	}
	var want []string
	for round := range 12 {
		st := newStore(t)
		parts := make([][]byte, 3)
		for n, line := range text {
			part := n * 3 / len(text)
			if round > 0 {
				part = rnd.IntN(3)
			}
			parts[part] = append(parts[part], line+"\n"...)
		}
		in := files(t, parts...)
		if round%2 == 0 {
			if _, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf}); err != nil {
				t.Fatal(err)
			}
		} else {
			for _, f := range in {
				if _, err := Import(t.Context(), st, &shelf{}, []string{f}, Options{Item: itemOf}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got []string
		for _, line := range content(t, st) {
			if strings.HasPrefix(line, `"q`) { // their order is that of their lines
				_, line, _ = strings.Cut(line, `" "`)
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: got\n%s\nwant\n%s", round, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		rnd.Shuffle(len(text), func(i, j int) { text[i], text[j] = text[j], text[i] })
	}
}

// journalOf writes a journal of some URLs in two pieces, the second of which is cut off.
func journalOf(t testing.TB, urls int) []string {
	rnd := rand.New(rand.NewPCG(9, 9))
	var parts [2]bytes.Buffer
	for n := range urls {
		out := &parts[n*2/urls]
		u := fmt.Sprintf("http://h%d.example/%x", n%100, rnd.Uint64())
		fmt.Fprintf(out, "F+ %s LL http://h%d.example/\n", u, n%100)
		switch rnd.IntN(5) {
		case 0:
			fmt.Fprintf(out, "Fe %s\nFs %s LL http://h%d.example/\n", u, u, n%100)
		case 1:
			fmt.Fprintf(out, "Fe %s\nFf %s\n", u, u)
		case 2:
			fmt.Fprintln(out, "Fz", u)
		}
	}
	second := pack(t, parts[1].String())
	return files(t, pack(t, parts[0].String()), second[:len(second)-20])
}

// TestStopAnywhere: an import that ends with each transaction, or fails in it, and goes on again and again comes to the same end.
func TestStopAnywhere(t *testing.T) {
	defer shrink(t, 300)()
	in := journalOf(t, 4000)
	st := newStore(t)
	want, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf})
	if err != nil || len(want.Cut) != 1 || want.Bad == 0 {
		t.Fatalf("%+v, %v", want, err)
	}
	whole := content(t, st)
	broken := errors.New("broken")
	st2 := newStore(t)
	for runs := 0; ; runs++ {
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		s := &shelf{fail: func() error {
			if n++; n == 2 {
				if runs%2 == 0 {
					return broken
				}
				stop()
			}
			return nil
		}}
		got, err := Import(ctx, st2, s, in, Options{Item: itemOf})
		stop()
		if err == nil {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("in %d runs: %+v, want %+v", runs, got, want)
			}
			break
		}
		if !errors.Is(err, broken) && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if runs > 1000 {
			t.Fatal("it comes to no end")
		}
	}
	if got := content(t, st2); !slices.Equal(got, whole) {
		t.Errorf("%d entries, want %d", len(got), len(whole))
	}
}

// shrink makes transactions small for a test, so that there are many.
func shrink(t testing.TB, n int) func() {
	t.Helper()
	was := urlsAtOnce
	urlsAtOnce = n
	return func() { urlsAtOnce = was }
}

// killEnv has the test program import, to be killed.
const killEnv = "HOLDFAST_TEST_IMPORT"

func TestMain(m *testing.M) {
	if args := os.Getenv(killEnv); args != "" {
		os.Exit(importToBeKilled(strings.Split(args, "\n")))
	}
	os.Exit(m.Run())
}

func importToBeKilled(args []string) int {
	urlsAtOnce = 300
	st, err := store.Open(args[0], store.Options{})
	if err == nil {
		_, err = intoFrontier(context.Background(), st, args[1:])
	}
	if err == nil {
		err = st.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// intoFrontier imports into the frontier of a store, in which a person has queued two URLs.
func intoFrontier(ctx context.Context, st *store.Store, files []string) (Report, error) {
	f, err := frontier.Open(st, frontier.Options{})
	if err != nil {
		return Report{}, err
	}
	err = st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		for _, u := range []string{"http://a.example/", "http://seed.example/"} {
			item, _, err := itemOf(Line{URL: u})
			if err != nil {
				return err
			}
			if _, err := b.Add(item); err != nil {
				return err
			}
		}
		return b.Write()
	})
	if err != nil {
		return Report{}, err
	}
	into, err := f.Importer()
	if err != nil {
		return Report{}, err
	}
	return Import(ctx, st, into, files, Options{Item: itemOf})
}

// TestKilled: an import that is killed at random moments, again and again, leaves the frontier of one that was not, byte for
// byte.
func TestKilled(t *testing.T) {
	defer shrink(t, 300)()
	in := append(journalOf(t, 15_000), files(t, []byte("Fs http://a.example/\n"))...)
	st := newStore(t)
	begun := time.Now()
	want, err := intoFrontier(t.Context(), st, in)
	if err != nil || want.Bad == 0 || len(want.Cut) != 1 {
		t.Fatalf("%+v, %v", want, err)
	}
	took := time.Since(begun)
	whole := contentOf(t, st, 'F')
	kills, _ := strconv.Atoi(os.Getenv("HOLDFAST_TEST_KILLS"))
	rnd := rand.New(rand.NewPCG(11, uint64(time.Now().UnixNano())))
	dir := filepath.Join(t.TempDir(), "killed")
	killed := 0
	for range max(kills, 12) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+dir+"\n"+strings.Join(in, "\n"))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := 20*time.Millisecond + time.Duration(rnd.Int64N(int64(took)/4))
		timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			killed++
		}
		timer.Stop()
	}
	st2, err := store.Open(dir, storetest.Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer st2.Close()
	got, err := intoFrontier(t.Context(), st2, in)
	if got.Again = false; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("killed %d times: %+v (%v), want %+v", killed, got, err, want)
	}
	if got := contentOf(t, st2, 'F'); !slices.Equal(got, whole) {
		t.Errorf("killed %d times: %d entries, want %d", killed, len(got), len(whole))
	}
	t.Logf("killed %d times in imports of %v", killed, took)
}

// TestPowerCuts: the same when the power is cut, and the disk keeps of what was not synced what it likes.
func TestPowerCuts(t *testing.T) {
	defer shrink(t, 300)()
	in := journalOf(t, 4000)
	st := newStore(t)
	want, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf})
	if err != nil {
		t.Fatal(err)
	}
	whole := content(t, st)
	disk := storetest.NewCrashFS()
	for cut := uint64(0); ; cut++ {
		st, err := store.Open("store", storetest.Options(t, disk.FS()))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var after *storetest.CrashFS
		off := errors.New("the power is off")
		s := &shelf{fail: func() error {
			if n++; n < 4 {
				return nil
			}
			after = disk.After(50, cut+1)
			return off
		}}
		got, err := Import(t.Context(), st, s, in, Options{Item: itemOf})
		if err == nil {
			if fmt.Sprint(got) != fmt.Sprint(want) || !slices.Equal(content(t, st), whole) {
				t.Errorf("after %d cuts: %+v, want %+v", cut, got, want)
			}
			if err := st.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if !errors.Is(err, off) || cut > 100 {
			t.Fatalf("cut %d: %v", cut, err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		disk = after
	}
}

// TestChangedFiles: what is no journal, or is not there, or has shrunk below what was read of it, is told.
func TestChangedFiles(t *testing.T) {
	defer shrink(t, 10)()
	st := newStore(t)
	if _, err := Import(t.Context(), st, &shelf{}, nil, Options{Item: itemOf}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no files: %v", err)
	}
	if _, err := Import(t.Context(), st, &shelf{}, []string{t.TempDir()}, Options{Item: itemOf}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a directory: %v", err)
	}
	_, err := Import(t.Context(), st, &shelf{}, []string{"/no/such/file"}, Options{Item: itemOf})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
	in := files(t, []byte("no journal\nat all\n"), []byte{0x1f, 0x8b, 8, 0})
	r, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf})
	if !fault.Is(err, fault.Invalid) || r.Bad != 2 || len(r.Cut) != 1 {
		t.Errorf("no journal: %+v, %v", r, err)
	}
}

// TestImportOfNoJournal: a file whose name was mistyped is refused, and not taken for a journal that has nothing to say.
func TestImportOfNoJournal(t *testing.T) {
	for name, text := range map[string]string{"passwd": "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2::/bin:\n", "binary": "\x7fELF\x02\x01\n\x00\x00\n"} {
		st := newStore(t)
		in := files(t, []byte(text))
		for range 2 {
			if r, err := Import(t.Context(), st, &shelf{}, in, Options{Item: itemOf}); !fault.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
		}
	}
	if r, err := Import(t.Context(), newStore(t), &shelf{}, files(t, nil), Options{Item: itemOf}); err != nil {
		t.Errorf("an empty one: got %+v, %v", r, err)
	}
}
