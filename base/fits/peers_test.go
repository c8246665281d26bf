package fits

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

// astropyData is where Debian's python3-astropy has its test files.
const astropyData = "/usr/lib/python3/dist-packages/astropy"

// command returns the path of a peer's program.
func command(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testenv.Missing(t, "Debian's "+pkg, err)
	}
	return path
}

// refused is what we and fitscheck say of a file that can't be read, each in other words.
const refused = "refused"

var fitscheckLine = regexp.MustCompile(`(?m)^(OK|MISSING|BAD|EXCEPTION) '([^']*)'`)

// fitscheck returns what fitscheck says of each file: good, absent, bad or refused. It stops at the first HDU
// without sums, so it is asked a second time to go on.
func fitscheck(t testing.TB, files []string) map[string]string {
	t.Helper()
	path := command(t, "fitscheck", "astropy-utils")
	said := func(flags ...string) map[string]string {
		args := slices.Concat(flags, []string{"-v"}, files)
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		words := map[string]string{}
		for _, m := range fitscheckLine.FindAllStringSubmatch(string(out), -1) {
			words[m[2]] = m[1]
		}
		if len(words) != len(files) {
			t.Fatalf("fitscheck speaks of %d files of %d: %s", len(words), len(files), out)
		}
		return words
	}
	strict, lenient := said(), said("-i")
	verdicts := map[string]string{}
	for _, f := range files {
		switch {
		case strict[f] == "EXCEPTION" || lenient[f] == "EXCEPTION":
			verdicts[f] = refused
		case lenient[f] == "BAD":
			verdicts[f] = string(Bad)
		case strict[f] == "OK":
			verdicts[f] = string(Good)
		default:
			verdicts[f] = string(Absent)
		}
	}
	return verdicts
}

func checkFile(t testing.TB, name string) Report {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Check(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// word is a verdict as fitscheck could say it.
func (r Report) word() string {
	if r.Verdict == Truncated || r.Verdict == NotFITS {
		return refused
	}
	return string(r.Verdict)
}

// difference is where we and fitscheck do not say the same, and why.
type difference struct{ theirs, ours, why string }

// TestAstropysFiles: on every file that astropy tests itself with, fitscheck and we say the same, or the table
// says why not.
func TestAstropysFiles(t *testing.T) {
	const (
		whyPacked = "fitscheck unpacks it first; we look at the bytes that are to be shipped"
		whyOrder  = "BITPIX is not the second card (4.4.1.1), and CFITSIO does not open such a file"
		whyFails  = "both want it rejected: fitscheck fails on a blank sum, and a sum behind it is wrong"
	)
	differences := map[string]difference{
		"io/fits/tests/data/memtest.fits":              {refused, "bad", whyFails},
		"io/fits/tests/data/verify.fits":               {"absent", "bad", whyOrder},
		"wcs/tests/data/dist_lookup.fits.gz":           {"absent", refused, whyPacked},
		"wcs/tests/data/dss.14.29.56-62.41.05.fits.gz": {"absent", refused, whyPacked},
	}
	command(t, "fitscheck", "astropy-utils")
	var files []string
	err := filepath.WalkDir(astropyData, func(name string, d os.DirEntry, err error) error {
		if strings.Contains(d.Name(), ".fits") && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil || len(files) < 40 {
		t.Fatalf("got %d files, %v, want the test data of python3-astropy", len(files), err)
	}
	compare(t, files, func(name string, _ Report) difference {
		rel, _ := filepath.Rel(astropyData, name)
		d := differences[rel]
		delete(differences, rel)
		return d
	})
	for name := range differences {
		t.Errorf("%s is in the table and not among the files", name)
	}
}

// compare fails for every file on which the verdicts are neither the same nor the difference that is expected.
func compare(t *testing.T, files []string, explained func(name string, r Report) difference) {
	t.Helper()
	same := 0
	for name, theirs := range fitscheck(t, files) {
		r := checkFile(t, name)
		want := explained(name, r)
		switch ours := r.word(); {
		case want.why == "" && ours == theirs:
			same++
		case want.why == "":
			t.Errorf("%s: fitscheck says %s, we %v", name, theirs, r)
		case want.theirs != theirs || want.ours != ours:
			t.Errorf("%s: fitscheck says %s and we %s, the table %s and %s", name, theirs, ours, want.theirs,
				want.ours)
		}
	}
	t.Logf("%d files, on %d of them the same verdict", len(files), same)
}

// TestOurFiles: the files of the tables of verdicts, by fitscheck. Those whose structure is wrong are left out:
// some of them keep fitscheck busy for minutes.
func TestOurFiles(t *testing.T) {
	const (
		whyTail    = "fitscheck does not look at what follows the last HDU, or takes it for a header"
		whyFails   = "both want it rejected: fitscheck's parser does not survive the value"
		whyFlipped = "to fitscheck it is a card like any other"
		whyBlank   = "a blank sum is not known (4.4.2.7); fitscheck takes it for a number and fails"
	)
	differences := map[string]difference{
		"sums that are blank":              {refused, "absent", whyBlank},
		"CHECKSUM that can't be read":      {refused, "bad", whyFails},
		"DATASUM that is no number":        {refused, "bad", whyFails},
		"CHECKSUM's name changed by a bit": {"absent", "bad", whyFlipped},
		"within XTENSION":                  {"good", refused, whyCutHeader},
		"zeros, a block":                   {"good", "absent", whyTail},
		"special records":                  {refused, "absent", whyTail},
		"garbage":                          {"good", "bad", whyTail},
		"garbage behind zeros":             {"good", "bad", whyTail},
		"another file":                     {"good", "bad", whyTail},
	}
	dir := t.TempDir()
	names := map[string]string{}
	for i, c := range slices.Concat(sumCases(), cutCases(), tailCases(), remarkCases()) {
		names[written(t, dir, fmt.Sprintf("%d.fits", i), c.file)] = c.name
	}
	compare(t, slices.Collect(maps.Keys(names)), func(file string, _ Report) difference {
		return differences[names[file]]
	})
}

const (
	whyCutHeader = "fitscheck leaves out, without a word, an extension whose header is cut within a block"
	whyUnread    = "fitscheck does not read the data of an HDU without sums"
)

func written(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCutFiles: files of astropy, of fpack and of ours, cut behind every block and at random bytes, by fitscheck.
func TestCutFiles(t *testing.T) {
	dir := t.TempDir()
	source, err := os.ReadFile(filepath.Join(astropyData, "io/fits/tests/data/checksum.fits"))
	if err != nil {
		testenv.Missing(t, "Debian's python3-astropy", err)
	}
	packed, err := os.ReadFile(fpacked(t, written(t, dir, "sound.fits", sound)))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	var files []string
	for name, b := range map[string][]byte{"astropy": source, "packed": packed, "sound": sound, "unsound": unsound} {
		cuts := map[int]bool{}
		for at := 0; at < len(b); at += BlockSize {
			cuts[at] = true
		}
		for range 15 {
			cuts[rnd.IntN(len(b))] = true
		}
		for at := range cuts {
			files = append(files, written(t, dir, fmt.Sprintf("%s-%d.fits", name, at), b[:at]))
		}
	}
	compare(t, files, func(name string, r Report) difference {
		whole := slices.DeleteFunc(slices.Clone(r.HDUs), func(h HDU) bool { return h.End() > r.Size })
		cut := r.HDUs[len(whole):] // the HDU that is cut, if its END is there
		switch {
		case len(whole) > 0 && r.Size%BlockSize != 0 && (r.InHeader || r.Size < cut[0].Offset+cut[0].Header):
			return difference{string(Good), refused, whyCutHeader}
		case len(cut) > 0 && strings.HasPrefix(filepath.Base(name), "unsound-") && r.Size >= cut[0].Header:
			return difference{string(Absent), refused, whyUnread}
		}
		return difference{}
	})
}

// fpacked packs a file and returns the name of the packed one.
func fpacked(t testing.TB, name string, flags ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command(t, "fpack", "libcfitsio-bin"),
		append(flags, name)...).CombinedOutput()
	if err != nil {
		t.Fatalf("fpack: %v: %s", err, out)
	}
	return name + ".fz"
}

// TestPackedFilesAreGood: what fpack writes is good and known to be packed, and a change of it is found.
func TestPackedFilesAreGood(t *testing.T) {
	float := unit{bits: -32, axes: []int{100, 100}, data: pattern(40000)}
	short := unit{bits: 16, axes: []int{100, 100}, data: pattern(20000)}
	table := unit{kind: "BINTABLE", bits: 8, axes: []int{4, 5000}, data: pattern(20000), cards: []string{
		card("TFIELDS", "1", ""), card("TFORM1", "'1J'", "")}}
	for name, c := range map[string]struct {
		file  []byte
		flags []string
	}{
		"lossless floats": {float.bytes(), []string{"-g", "-q", "0"}},
		"rice":            {short.bytes(), nil},
		"hcompress":       {short.bytes(), []string{"-h"}},
		"an extension":    {sound, nil},
		"a table":         {file(unit{bits: 8}, table), []string{"-table"}},
	} {
		packed := fpacked(t, written(t, t.TempDir(), "a.fits", c.file), c.flags...)
		if r := checkFile(t, packed); r.Verdict != Good || !r.Packed || r.Count < 2 {
			t.Errorf("%s: got %+v, want it good and packed", name, r)
		}
		b, err := os.ReadFile(packed)
		if err != nil {
			t.Fatal(err)
		}
		if r := mustCheck(t, flip(b, len(b)-BlockSize, 3), asIs); r.Verdict != Bad {
			t.Errorf("%s: got %v of a changed one, want it bad", name, r)
		}
	}
}
