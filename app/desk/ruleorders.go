package desk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/engine"
)

// Order gives a job an order of a rule, and tells what came of it.
func (d *Desk) Order(ctx context.Context, job, order string, with map[string]string) (string, error) {
	switch order {
	case "pause":
		return "", d.Pause(job)
	case "resume":
		return "", d.Resume(job)
	case "backfill":
		return d.Command(ctx, job, "backfill")
	case "checkpoint":
		c, err := d.CreateCheckpoint(ctx, job, with["name"], nil)
		return c.Name, err
	case "replay":
		return d.replayBetween(ctx, job, with["sink"], with["from"], with["to"])
	}
	return "", fault.New(fault.Invalid, "there is no order %s", order)
}

func (d *Desk) replayBetween(ctx context.Context, job, sink, since, until string) (string, error) {
	now := time.Now()
	from, err := ParseTime(since, now)
	if err != nil {
		return "", fault.As(fault.Invalid, err)
	}
	to, err := ParseTime(until, now)
	if err != nil {
		return "", fault.As(fault.Invalid, err)
	}
	done, err := d.Replay(ctx, job, sink, from, to, nil)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s in %s will come again", plural.Of(done.Rows, "row"), plural.Of(done.Blocks, "block")), nil
}

// reloadRules has supervise jobs read their rule files again, and says what is new in them.
func (d *Desk) reloadRules(ctx context.Context, jobs []string) (news map[string]string, err error) {
	news = map[string]string{}
	for _, name := range jobs {
		if j, ok := d.plan.Job(name); !ok || j.Kind != app.SuperviseKind {
			continue
		}
		text, err := d.Command(ctx, name, "reload")
		if errors.Is(err, engine.ErrNotRunning) {
			news[name] = "read when the job runs, which it does not now"
			continue
		}
		if err != nil {
			return news, fmt.Errorf("job %s: %w", name, err)
		}
		news[name] = text
	}
	return news, nil
}
