package app

import (
	"holdfast/base/fault"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Intake is how rows are taken into a collect job that does not run.
type Intake struct {
	plan *Plan
	job  string
	c    *collectConfig
}

// Intake is that of a job.
func (p *Plan) Intake(job string) (in Intake, err error) {
	j, _ := p.Job(job)
	c, ok := j.work.(*collectConfig)
	if !ok {
		return in, fault.WithHint(fault.New(fault.NotFound, "the configuration of job %s is not known here", job),
			"give it with -c FILE, or ask while holdfast runs")
	}
	return Intake{p, job, c}, nil
}

// Over runs f with the intake over the open store of the job.
func (i Intake) Over(st *store.Store, f func(*collect.Intake) error) error {
	src, err := i.c.Source.open(opening{dataDir: i.plan.Place.Dir, jobDir: engine.JobDir(i.plan.Place.Dir, i.job),
		log: i.plan.Log})
	if err != nil {
		return err
	}
	defer src.Close()
	in, err := collect.OpenIntake(st, i.job, i.c.Source.kind, src.Schema(), src.Traits(),
		collect.IntakeOptions{Window: i.c.DedupeWindow, Parse: src.parse})
	if err != nil {
		return err
	}
	return f(in)
}
