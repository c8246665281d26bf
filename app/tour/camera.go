package tour

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fits"
)

// The directories of the tour's transfer, in the data directory.
const (
	cameraDir  = "camera"
	archiveDir = "archive"
)

// frameEvery is the time between two frames of the tour, frameSide how many pixels their sides have.
const (
	frameEvery = 5 * time.Second
	frameSide  = 128
)

// Camera writes a frame of the sky every few seconds, as a telescope does: under another name, then renamed.
type Camera struct{ dir string }

// Camera is the camera of the tour.
func (t *Tour) Camera() Camera { return Camera{filepath.Join(t.dir, cameraDir)} }

// Archive is where its frames go.
func (t *Tour) Archive() string { return filepath.Join(t.dir, archiveDir) }

// Run writes frames until ctx ends.
func (c Camera) Run(ctx context.Context) error {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		now := time.Now().UTC()
		if err := c.expose(now); err != nil {
			return fmt.Errorf("the camera of the tour: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// expose writes the frame of a moment. Runs are counted by the clock, so that the tour goes on where an earlier one ended.
func (c Camera) expose(at time.Time) error {
	night := filepath.Join(c.dir, at.Format(time.DateOnly))
	if err := disk.MkdirAll(night, 0o755); err != nil {
		return err
	}
	run := int(at.Sub(firstDay) / frameEvery)
	at = firstDay.Add(time.Duration(run) * frameEvery) // behind a crash the same frame again, to the byte
	name := filepath.Join(night, fmt.Sprintf("t1_r%07d_ut1.fits", run))
	if err := os.WriteFile(name+".tmp", frameOf(at, uint64(run)), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// frameOf is an image in FITS: a dark sky with some stars, the same for a run each time.
func frameOf(at time.Time, run uint64) []byte {
	rng := rand.New(rand.NewPCG(run, frameSide))
	sky := make([]int16, frameSide*frameSide)
	for i := range sky {
		sky[i] = int16(100 + rng.IntN(12))
	}
	for range 30 {
		star := (1+rng.IntN(frameSide-2))*frameSide + 1 + rng.IntN(frameSide-2)
		light := int16(500 + rng.IntN(6000))
		sky[star] += light
		for _, beside := range []int{1, -1, frameSide, -frameSide} {
			sky[star+beside] += light / 3
		}
	}
	return fits.Image(frameSide, sky, fmt.Sprintf("DATE-OBS= '%s'", at.Format("2006-01-02T15:04:05")),
		fmt.Sprintf("RUN     = %20d", run))
}

// framesJob is the job that brings the frames of the camera into the archive, packed where there is a program for it.
func framesJob(dir string) map[string]any {
	type m = map[string]any
	pack := "fpack"
	if _, err := exec.LookPath(pack); err != nil {
		pack = "none"
	}
	return m{"transfer": m{"from": filepath.Join(dir, cameraDir), "to": archiveDir, "patterns": []string{"t?_r*_ut?.fits"},
		"header_card": "DATE-OBS", "metadata_regex": `t(?P<tel>\d)_r(?P<run>\d+)_ut(?P<ut>\d).fits`, "after": "delete",
		"pack": m{"by": pack}, "ledger": m{"sqlite": m{"path": transfersDB}}}}
}
