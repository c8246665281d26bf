package engine

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// Panic is a panic that was caught: a bug, with the stack where it happened.
type Panic struct {
	Value any
	Stack []byte
}

// Error returns the value; the stack goes to the log.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Group runs the goroutines of a job. The first that ends with an error ends the others; a panic in
// one is an error of the group, so that it restarts the job and not the process.
type Group struct{ g *errgroup.Group }

// NewGroup returns a group and the context that its goroutines work under.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{g}, ctx
}

// Go runs f in a goroutine.
func (g *Group) Go(f func() error) { g.g.Go(func() error { return Catch(f) }) }

// Wait returns when all goroutines have ended, with the first error.
func (g *Group) Wait() error { return g.g.Wait() }

// Catch runs f and turns a panic into an error.
func Catch(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
