package transfer

import (
	"crypto/sha256"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fits"
	"holdfast/connector"
)

// again is a rig with the destinations of another, and nothing else of it: what that knew is lost.
func (r *rig) again() *rig {
	other := newRig(r.t, len(r.to))
	other.from, other.to = r.from, r.to
	return other
}

// otherwise packs the same to other bytes.
func otherwise() *Packer {
	p := FPack()
	p.Command = []string{"fpack", "-r", "-O", "{out}", "{in}"}
	return p
}

// TestPackedAnotherTime: a packed form that a former life brought, of which nothing is known any more, is the file's own; one
// with the same data of another file is not.
func TestPackedAnotherTime(t *testing.T) {
	needFpack(t)
	r := newRig(t, 2)
	r.change = func(c *Config) { c.Pack, c.Place.Card = FPack(), "DATE-OBS" }
	const date = "DATE-OBS= '2023-09-19T01:02:03'"
	pixels := make([]int16, 40*50)
	r.write("same.fits", frame("2023-09-19", 1))
	r.write("other.fits", fits.Image(40, pixels, date))
	r.write("garbage.fits", frame("2023-09-19", 2))
	r.run(nil)
	for _, to := range r.to {
		garbage := filepath.Join(to, "2023/09/19/garbage.fits.fz")
		if err := os.WriteFile(garbage, []byte("what is no FITS file"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was := tree(t, r.to[0])
	r = r.again()
	r.change = func(c *Config) { c.Pack, c.After, c.Place.Card = otherwise(), Remove, "DATE-OBS" }
	r.write("other.fits", fits.Image(40, pixels, date, "OBSERVER= 'another'"))
	r.run(nil)
	files := r.files()
	if f := files["same.fits"]; f.State != Done || f.To[0].Verified != connector.ByReadBack || f.To[1].SHA256 == f.SHA256 {
		t.Errorf("same.fits: %+v", f)
	}
	for _, name := range []string{"other.fits", "garbage.fits"} {
		if f := files[name]; f.State != Dead || !strings.Contains(f.Why, "and was not touched") {
			t.Errorf("%s: %s: %s", name, f.State, f.Why)
		}
	}
	if got := tree(t, r.to[0]); !maps.Equal(got, was) {
		t.Errorf("there are %v, and were %v", got, was)
	}
	if got := tree(t, r.from); len(got) != 2 {
		t.Errorf("%d originals are there, want those of the dead", len(got))
	}
}

// TestPackedAlready: a frame that is packed though its name does not say so is shipped as it is.
func TestPackedAlready(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	r.write("a.fits", frame("2023-09-19", 1))
	packed := filepath.Join(t.TempDir(), "a")
	if out, err := exec.Command("fpack", "-O", packed, filepath.Join(r.from, "a.fits")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	r.write("a.fits", content)
	r.change = func(c *Config) { c.Pack, c.Place.Card = FPack(), "DATE-OBS" }
	r.run(nil)
	want := map[string][sha256.Size]byte{"2023/09/19/a.fits": sha256.Sum256(content)}
	if got := tree(t, r.to[0]); !maps.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}
