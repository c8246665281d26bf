package crawl

import (
	"context"
	"errors"

	"holdfast/kernel/engine"
)

// AtRest carries out what a person asks of a crawl that does not run, as Job.Command does for one that runs. Nothing else may have its
// store open for work. env needs no Room.
func AtRest(ctx context.Context, env engine.Env, cfg Config, name string, args []string) (text string, err error) {
	cfg.Seeds, cfg.Again = nil, false
	j, err := open(env, cfg, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, j.files.close()) }()
	return j.Command(ctx, name, args)
}
