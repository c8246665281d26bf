package engine

import (
	"context"

	"golang.org/x/sync/errgroup"

	"holdfast/base/fault"
)

// Group runs the goroutines of a job. The first that ends with an error ends the others; a panic in
// one is an error of the group, so that it restarts the job and not the process.
type Group struct{ g *errgroup.Group }

// NewGroup returns a group and the context that its goroutines work under.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{g}, ctx
}

// Go runs f in a goroutine.
func (g *Group) Go(f func() error) { g.g.Go(func() error { return fault.Catch(f) }) }

// Wait returns when all goroutines have ended, with the first error.
func (g *Group) Wait() error { return g.g.Wait() }
