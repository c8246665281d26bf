package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
)

// maxActions is how many actions a page has at most.
const maxActions = 1000

// superviseRoutes are for supervise jobs.
func superviseRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/supervise/rules": func(ctx context.Context, c *call) (any, error) {
			all, err := d.RuleStatus(ctx, c.job())
			return map[string]any{"rules": all}, err
		},
		"GET /api/v1/jobs/{job}/supervise/actions": func(ctx context.Context, c *call) (any, error) {
			q := desk.ActionQuery{Rule: c.FormValue("rule"), State: desk.ActionState(c.FormValue("state"))}
			most, err := c.number("max", 100)
			if err != nil {
				return nil, err
			}
			if q.Before, err = c.time("before"); err != nil {
				return nil, err
			}
			q.Max = int(min(max(1, most), maxActions))
			return d.Actions(ctx, c.job(), q)
		},
		"GET /api/v1/jobs/{job}/supervise/actions/{id}": func(ctx context.Context, c *call) (any, error) {
			return d.Action(ctx, c.job(), c.PathValue("id"))
		},
		"GET /api/v1/jobs/{job}/supervise/silences": func(ctx context.Context, c *call) (any, error) {
			all, err := d.Silences(ctx, c.job())
			return map[string]any{"silences": all}, err
		},
		"GET /api/v1/jobs/{job}/supervise/explain": func(ctx context.Context, c *call) (any, error) {
			fields := map[string]string{}
			for _, f := range c.URL.Query()["field"] {
				name, value, _ := strings.Cut(f, "=")
				fields[name] = value
			}
			all, err := d.ExplainLine(ctx, c.job(), c.FormValue("source"), c.FormValue("line"), fields)
			return map[string]any{"rules": all}, err
		},
		"GET /api/v1/jobs/{job}/supervise/replay": func(ctx context.Context, c *call) (any, error) {
			since, err := c.time("since")
			if err != nil {
				return nil, err
			}
			if since.IsZero() {
				since = time.Now().Add(-24 * time.Hour)
			}
			return d.ReplayRules(ctx, c.job(), since, c.flag("all"))
		},
		"POST /api/v1/jobs/{job}/supervise/{order}": func(ctx context.Context, c *call) (any, error) {
			var o SuperviseOrder
			if err := c.body(&o); err != nil {
				return nil, err
			}
			name := c.PathValue("order")
			args, ok := o.words(name)
			if !ok {
				return nil, fault.WithHint(fault.New(fault.NotFound, "a supervise job can't %.100q", name),
					"orders are: reload, silence, unsilence, repeat, abandon")
			}
			return said(d.Supervise(ctx, c.job(), name, args...))
		},
	}
}

// SuperviseOrder is what a person asks of a supervise job, beside the name of the order.
type SuperviseOrder struct {
	// Rule and Key are what a silence is of, all if they are empty; Until is its end, and Reason why.
	Rule   string    `json:"rule,omitempty"`
	Key    string    `json:"key,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// Silence is the number of the one that ends.
	Silence uint64 `json:"silence,omitempty"`
	// Action is the one that is to be done again, or given up.
	Action string `json:"action,omitempty"`
}

// words are those of the order as the job takes it.
func (o SuperviseOrder) words(name string) ([]string, bool) {
	switch name {
	case "reload":
		return nil, true
	case "silence":
		return []string{o.Rule, o.Key, o.Until.Format(time.RFC3339), o.Reason}, true
	case "unsilence":
		return []string{strconv.FormatUint(o.Silence, 10)}, true
	case "repeat", "abandon":
		return []string{o.Action}, true
	}
	return nil, false
}
