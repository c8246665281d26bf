package fits

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// frame is an image of 64 MB with sums, as a telescope writes them.
func frame() []byte {
	return unit{bits: 16, axes: []int{8192, 4096}, data: pattern(2 * 8192 * 4096), sums: true,
		cards: []string{strings.Repeat(card("KEYWORD", "1", "one of many"), 150)}}.bytes()
}

// BenchmarkCheck: a whole file in memory, alone and beside the hash of the same pass.
func BenchmarkCheck(b *testing.B) {
	f := frame()
	check := func(b *testing.B, r io.Reader) {
		if r, err := Check(r); err != nil || r.Verdict != Good {
			b.Fatal(r, err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		for b.Loop() {
			check(b, bytes.NewReader(f))
		}
	})
	b.Run("with sha1", func(b *testing.B) {
		b.SetBytes(int64(len(f)))
		for b.Loop() {
			check(b, io.TeeReader(bytes.NewReader(f), sha1.New()))
		}
	})
	small := primary().bytes()
	b.Run("small", func(b *testing.B) {
		b.SetBytes(int64(len(small)))
		for b.Loop() {
			check(b, bytes.NewReader(small))
		}
	})
}

// BenchmarkScale: other sums of the same bytes.
func BenchmarkScale(b *testing.B) {
	f := frame()
	for name, h := range map[string]hash.Hash{"sha1": sha1.New(), "sha256": sha256.New(), "crc32": crc32.NewIEEE()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(f)))
			for b.Loop() {
				h.Write(f)
			}
		})
	}
}

// BenchmarkSkim: what asking for a file's size costs that is still being written.
func BenchmarkSkim(b *testing.B) {
	f := frame()
	for b.Loop() {
		if r, err := Skim(bytes.NewReader(f), int64(len(f))); err != nil || r.Verdict != Whole {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkFitscheck: a run of fitscheck for the same file, with what it takes to start.
func BenchmarkFitscheck(b *testing.B) {
	f := frame()
	name := written(b, b.TempDir(), "frame.fits", f)
	path := command(b, "fitscheck", "astropy-utils")
	b.SetBytes(int64(len(f)))
	for b.Loop() {
		if out, err := exec.CommandContext(b.Context(), path, name).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
