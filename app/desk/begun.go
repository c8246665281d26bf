package desk

import (
	"os"
	"slices"

	"holdfast/app"
	"holdfast/kernel/engine"
)

// noteBegun tells where the configuration of a job is that was begun at the running process, and what can be done with it.
func (d *Desk) noteBegun(s *engine.Status) {
	if d.eng == nil {
		if _, err := os.Stat(app.BegunFile(d.plan.Place.Dir, s.Name)); err != nil {
			return
		}
	} else if !d.plan.WasBegun(s.Name) {
		return
	}
	file := app.BegunFile("", s.Name)
	text := file + ", for it was begun at the running process; put what it holds below jobs: of the configuration file " +
		"and reload, or remove it and reload: that ends the crawl for good"
	if d.eng != nil && d.plan.File() == "" {
		text = file + ", for it was begun at the running process; remove it and start again to end the crawl for good"
	}
	s.Notes = append(slices.Clone(s.Notes), [2]string{"configuration", text})
}
