package api

import (
	"context"
	"encoding/json"
	"net/http"

	"holdfast/app/desk"
	"holdfast/kernel/engine"
)

const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// Health says that the process lives: it answers.
type Health struct {
	Alive bool `json:"alive"`
}

func healthy(context.Context, *call) (any, error) { return Health{true}, nil }

// Readiness says whether every job is at work, and what those do that are not.
type Readiness struct {
	Ready bool                    `json:"ready"`
	Jobs  map[string]engine.State `json:"jobs"` // those that are not ready
}

// ready answers 200 if the store of every job is open and none waits to be started again; else 503.
func ready(d *desk.Desk, c *call) (any, error) {
	jobs, running := d.Unready()
	out := Readiness{Ready: running && len(jobs) == 0, Jobs: jobs}
	if out.Jobs == nil {
		out.Jobs = map[string]engine.State{}
	}
	if c.lines || out.Ready {
		return out, nil
	}
	c.told = true
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusServiceUnavailable)
	return nil, json.NewEncoder(c.w).Encode(out)
}
