package app

import (
	"log/slog"
	"time"

	"holdfast/kernel/store"
)

// BesideStore is a kind of job that writes files beside its store, which end at each checkpoint.
type BesideStore interface {
	// CheckpointName is the name of the checkpoint that a number is of, which is made at a time.
	CheckpointName(serial uint64, at time.Time) string
	// Facts are what the job has, as they stand in its store.
	Facts(r store.Reader) (map[string]int64, error)
	// Prepare has the files end while the job does not run.
	Prepare(st *store.Store, log *slog.Logger, dataDir, job, checkpoint string) error
}

// BesideStore is what the job writes beside its store; ok is false for none.
func (j Job) BesideStore() (b BesideStore, ok bool) {
	b, ok = j.work.(BesideStore)
	return b, ok
}
