package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"holdfast/base/disk"
)

// Judgement is what the last verification of a checkpoint found. It stands beside its directory, in which nothing is ever
// written.
type Judgement struct {
	Of  time.Time `json:"of"` // when the checkpoint was made: another may have had its name
	At  time.Time `json:"at"`
	Bad string    `json:"bad,omitempty"` // the first that is bad
}

const judgementSuffix = ".verified"

// Judge keeps what a verification of the checkpoint at a path found that was made at a time.
func Judge(path string, made time.Time, bad []string) error {
	v := Judgement{Of: made, At: time.Now().UTC()}
	if len(bad) > 0 {
		v.Bad = "verified and found invalid: " + bad[0]
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = disk.WriteFile(path+judgementSuffix, b, 0o644)
	}
	return err
}

// Judged reads it; one that can't be read is none.
func (c Checkpoint) Judged() (v Judgement, ok bool) {
	b, err := os.ReadFile(c.Path + judgementSuffix)
	return v, err == nil && json.Unmarshal(b, &v) == nil && v.Of.Equal(c.Created)
}

// Forget removes what a verification of the checkpoint at a path found, if there is anything.
func Forget(path string) error {
	if err := os.Remove(path + judgementSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
