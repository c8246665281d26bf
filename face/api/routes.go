package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
)

// routes are all that the API answers.
func routes(d *app.Desk) map[string]work {
	all := map[string]work{}
	for _, room := range []map[string]work{jobRoutes(d), spoolRoutes(d), deadRoutes(d),
		checkpointRoutes(d)} {
		maps.Copy(all, room)
	}
	return all
}

func jobRoutes(d *app.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs": func(ctx context.Context, c *call) (any, error) {
			return d.Status(ctx, c.FormValue("job"))
		},
		"GET /api/v1/audit": func(ctx context.Context, c *call) (any, error) {
			return d.Audit(ctx, c.FormValue("job"), c.flag("deep"), c.tell)
		},
		"GET /api/v1/events": func(ctx context.Context, c *call) (any, error) {
			return events(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/pause": func(_ context.Context, c *call) (any, error) {
			return done(d.Pause(c.job()))
		},
		"POST /api/v1/jobs/{job}/resume": func(_ context.Context, c *call) (any, error) {
			return done(d.Resume(c.job()))
		},
		"POST /api/v1/jobs/{job}/backfill": func(ctx context.Context, c *call) (any, error) {
			return said(d.Command(ctx, c.job(), "backfill"))
		},
	}
}

func spoolRoutes(d *app.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/spool": func(ctx context.Context, c *call) (any, error) {
			return blocks(ctx, d, c)
		},
		"GET /api/v1/jobs/{job}/spool/stats": func(ctx context.Context, c *call) (any, error) {
			return d.Stats(ctx, c.job())
		},
		"GET /api/v1/jobs/{job}/spool/rows": func(ctx context.Context, c *call) (any, error) {
			return rows(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/spool/verify": func(ctx context.Context, c *call) (any, error) {
			return d.VerifySpool(ctx, c.job(), c.tell)
		},
		"POST /api/v1/jobs/{job}/spool/replay": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return d.Replay(ctx, c.job(), o.Sink, o.From, o.To, c.tell)
		},
		"POST /api/v1/jobs/{job}/spool/import": func(ctx context.Context, c *call) (any, error) {
			return importDir(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/spool/export": func(ctx context.Context, c *call) (any, error) {
			return exportDir(ctx, d, c)
		},
	}
}

func deadRoutes(d *app.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/dead": func(ctx context.Context, c *call) (any, error) {
			return letters(ctx, d, c)
		},
		"GET /api/v1/jobs/{job}/dead/{id}": func(ctx context.Context, c *call) (any, error) {
			return letter(ctx, d, c)
		},
		"POST /api/v1/jobs/{job}/dead/{id}/retry": func(ctx context.Context, c *call) (any, error) {
			id, err := c.number("id", 0)
			if err != nil {
				return nil, err
			}
			return done(d.RetryDead(ctx, c.job(), id))
		},
		"POST /api/v1/jobs/{job}/dead/{id}/discard": func(ctx context.Context, c *call) (any, error) {
			id, err := c.number("id", 0)
			if err != nil {
				return nil, err
			}
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return done(d.DiscardDead(ctx, c.job(), id, o.Reason))
		},
	}
}

func checkpointRoutes(d *app.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/checkpoints": func(_ context.Context, c *call) (any, error) {
			list, err := d.ListCheckpoints(c.FormValue("job"))
			return map[string]any{"checkpoints": list}, err
		},
		"POST /api/v1/jobs/{job}/checkpoints": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return d.CreateCheckpoint(ctx, c.job(), o.Name, c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/import": func(ctx context.Context, c *call) (any, error) {
			o, err := c.order()
			if err != nil {
				return nil, err
			}
			return d.ImportCheckpoint(ctx, c.job(), o.File, c.tell)
		},
		"POST /api/v1/jobs/{job}/checkpoints/{name}/{what}": func(ctx context.Context, c *call) (any,
			error) {
			return onCheckpoint(ctx, d, c)
		},
	}
}

func onCheckpoint(ctx context.Context, d *app.Desk, c *call) (any, error) {
	o, err := c.order()
	if err != nil {
		return nil, err
	}
	switch job, name := c.job(), c.PathValue("name"); c.PathValue("what") {
	case "verify":
		return d.VerifyCheckpoint(ctx, job, name, c.tell)
	case "restore":
		return d.RestoreCheckpoint(ctx, job, name, c.tell)
	case "export":
		return d.ExportCheckpoint(ctx, job, name, o.File, c.tell)
	case "remove":
		return done(d.RemoveCheckpoint(job, name))
	}
	return nil, fault.New(fault.NotFound, "a checkpoint does not know %q", c.PathValue("what"))
}

// Order is what comes with a POST.
type Order struct {
	Dir    string `json:"dir,omitempty"` // an absolute path
	Raw    bool   `json:"raw,omitempty"`
	Reason string `json:"reason,omitempty"`
	Name   string `json:"name,omitempty"`
	File   string `json:"file,omitempty"` // an absolute path
	Sink   string `json:"sink,omitempty"`
	// From and To are event times; zero is no bound.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

func (c *call) order() (o Order, err error) {
	err = json.NewDecoder(io.LimitReader(c.Body, 1<<20)).Decode(&o)
	if err != nil && err != io.EOF {
		return o, fault.New(fault.Invalid, "read request: %w", err)
	}
	for _, p := range []string{o.Dir, o.File} {
		if p != "" && !filepath.IsAbs(p) {
			return o, fault.New(fault.Invalid, "want an absolute path, got %q", p)
		}
	}
	return o, nil
}

// Said is the answer to an order.
type Said struct {
	Text string `json:"text"`
}

func done(err error) (any, error) { return Said{"done"}, err }

func said(text string, err error) (any, error) { return Said{text}, err }

func blocks(ctx context.Context, d *app.Desk, c *call) (any, error) {
	from, err := c.number("from", 0)
	if err != nil {
		return nil, err
	}
	max, err := c.number("max", 1000)
	if err != nil {
		return nil, err
	}
	list, err := d.Blocks(ctx, c.job(), from, int(max))
	return map[string]any{"blocks": append([]app.Block{}, list...)}, err
}

func rows(ctx context.Context, d *app.Desk, c *call) (any, error) {
	from, err := c.number("from", 0)
	if err != nil {
		return nil, err
	}
	to, err := c.number("to", 0)
	if err != nil {
		return nil, err
	}
	return nil, d.Cat(ctx, c.job(), from, to, func(row json.RawMessage) error { return c.item(row) })
}

func importDir(ctx context.Context, d *app.Desk, c *call) (any, error) {
	o, err := c.order()
	if err != nil {
		return nil, err
	}
	return d.Import(ctx, c.job(), o.Dir, c.tell)
}

func exportDir(ctx context.Context, d *app.Desk, c *call) (any, error) {
	o, err := c.order()
	if err != nil {
		return nil, err
	}
	return d.Export(ctx, c.job(), o.Dir, o.Raw, c.tell)
}

func letters(ctx context.Context, d *app.Desk, c *call) (any, error) {
	after, err := c.number("after", 0)
	if err != nil {
		return nil, err
	}
	max, err := c.number("max", 1000)
	if err != nil {
		return nil, err
	}
	list, err := d.DeadLetters(ctx, c.job(), after, int(max))
	return map[string]any{"dead": append([]app.DeadLetter{}, list...)}, err
}

func letter(ctx context.Context, d *app.Desk, c *call) (any, error) {
	id, err := c.number("id", 0)
	if err != nil {
		return nil, err
	}
	return d.DeadLetter(ctx, c.job(), id)
}

const (
	followEvery = 300 * time.Millisecond
	maxEvents   = 10_000
)

// events sends the newest events, and with follow each new one until the client goes away.
func events(ctx context.Context, d *app.Desk, c *call) (any, error) {
	max, err := c.number("max", 100)
	if err != nil {
		return nil, err
	}
	sent := map[string]uint64{}
	send := func(max int) error {
		list, err := d.Events(ctx, c.FormValue("job"), max)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.ID <= sent[e.Job] {
				continue
			}
			sent[e.Job] = e.ID
			if err := c.item(e); err != nil {
				return fmt.Errorf("%w: %w", errGone, err)
			}
		}
		return nil
	}
	if err := send(int(min(max, maxEvents))); err != nil || !c.flag("follow") || !c.lines {
		return nil, err
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil // the engine or the client ends: so does what there is to tell
		case <-tick.C:
		}
		if err := send(maxEvents); err != nil {
			return nil, err
		}
	}
}
