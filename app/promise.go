package app

import (
	"fmt"

	"holdfast/connector"
)

// Warnings are what a person should know of a configuration that is good, each at its line.
func (c *Config) Warnings() (out Mistakes) {
	for _, job := range c.Jobs {
		if work, ok := job.work.(*collectConfig); ok {
			out = append(out, work.Source.warnings...)
		}
	}
	return out
}

// Weak says of each sink that promises less than exactly once that it does, one line each.
func (c *Config) Weak() (out []string) {
	for _, job := range c.Jobs {
		work, ok := job.work.(*collectConfig)
		if !ok {
			continue
		}
		for _, s := range work.Sinks {
			if s.promise() == connector.AtLeastOnce {
				out = append(out, fmt.Sprintf("job %s, sink %s (%s): at least once; a repeat may double rows "+
					"(docs/guarantees.md)", job.Name, s.name, s.kind))
			}
		}
	}
	return out
}

// promise is what the sink's traits say before it has met its server; "" where it can't be opened.
func (s sink) promise() connector.Exactness {
	k, err := s.open(opening{})
	if err != nil {
		return ""
	}
	defer k.Close()
	return k.Traits().Exactness
}
