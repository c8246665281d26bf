package app

import (
	"crypto/sha256"
	"os"
)

// Job is one job of a configuration.
type Job struct {
	Name string
	Kind string
	// Text is its configuration as YAML, variables unexpanded and literal secrets hidden.
	Text string
	work jobConfig
	// sum is the hash of its configuration with variables expanded and secrets as they are: by it a reload
	// knows whether anything changed.
	sum [sha256.Size]byte
}

// Recorded is a job as it was configured when it ran last. Variables that are not set here read as
// hidden secrets: what needs them fails when it is tried, and says so.
func Recorded(dir, name string) Job {
	job := Job{Name: name, Kind: "collect"}
	text, err := os.ReadFile(configFile(dir, name))
	if err != nil {
		return job
	}
	dec := newDecoder(configFile(dir, name), leniently)
	if root := dec.Parse(text); root != nil {
		if j, ok := dec.job(entry{Key: name, At: root, Value: root}, name); ok {
			return j
		}
	}
	return job
}

// ParseJob reads a job from what a configuration has below its name.
func ParseJob(name string, text []byte) (j Job, err error) {
	dec := newDecoder(name, os.LookupEnv)
	if root := dec.Parse(text); root != nil {
		j, _ = dec.job(entry{Key: name, At: root, Value: root}, name)
	}
	return j, dec.Mistakes.Err()
}

// EndWhenDone has the job end by itself once there is nothing more to do, where its kind can.
func (j Job) EndWhenDone() {
	switch c := j.work.(type) {
	case *collectConfig:
		c.once = true
	case *crawlConfig:
		c.once = true
	case *streamConfig:
		c.once = true
	case *transferConfig:
		c.once = true
	}
}

// Same reports whether a job has the same configuration, secrets and the values of variables included.
func (j Job) Same(other Job) bool { return j.sum == other.sum && j.Kind == other.Kind }
