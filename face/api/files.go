package api

import (
	"context"

	"holdfast/app/desk"
)

// maxFiles is how many files one answer has at most.
const maxFiles = 1000

// files answers with files of a transfer job.
func files(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	since, err := c.time("since")
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", 100)
	if err != nil {
		return nil, err
	}
	return d.Files(ctx, c.job(), desk.NewFileQuery(c.FormValue("text"), c.FormValue("path"), c.FormValue("state"), since,
		c.FormValue("after"), int(min(limit, maxFiles))))
}

// file answers with one of them, and its history.
func file(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	id, err := c.number("id", 0)
	if err != nil {
		return nil, err
	}
	return d.File(ctx, c.job(), id)
}

func fileRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/files": func(ctx context.Context, c *call) (any, error) { return files(ctx, d, c) },
		"GET /api/v1/jobs/{job}/files/{id}": func(ctx context.Context, c *call) (any, error) {
			return file(ctx, d, c)
		},
	}
}
