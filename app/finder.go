package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/base/plural"
	filetree "holdfast/connector/tree"
	"holdfast/job/transfer"
)

// finder finds the files of a tree for the job.
type finder struct {
	*filetree.Tree
	window backfill
	last   *atomic.Pointer[filetree.Pass] // the scan of one pass, once it has ended
}

func (f finder) Run(ctx context.Context, give func(context.Context, []transfer.Seen) error) error {
	return f.Tree.Run(ctx, seen(give))
}

func (f finder) Scan(ctx context.Context, give func(context.Context, []transfer.Seen) error) error {
	pass, err := f.Tree.Scan(ctx, filetree.Back(time.Now(), f.window.Within, f.window.Recency), seen(give))
	f.last.Store(&pass)
	return err
}

// Missed says what the scans of one pass did not find, though it is there.
func (p *Plan) Missed() (texts []string) {
	for name, last := range p.passes.Range {
		pass := last.(*atomic.Pointer[filetree.Pass]).Load()
		if pass == nil {
			continue
		}
		if n := pass.Unreadable; n > 0 {
			texts = append(texts, fmt.Sprintf("job %s: directories that can't be read, so that what is in them stays: %d", name, n))
		}
		if n := pass.Left; n > 0 {
			texts = append(texts, fmt.Sprintf("job %s: files that were still being written, and stay: %d", name, n))
		}
	}
	slices.Sort(texts)
	return texts
}

func seen(give func(context.Context, []transfer.Seen) error) filetree.Give {
	return func(ctx context.Context, files []filetree.File) error {
		all := make([]transfer.Seen, len(files))
		for i, f := range files {
			all[i] = transfer.Seen{Identity: transfer.Identity{Path: transfer.Name(f.Path), Device: f.Device, Inode: f.Inode, Size: f.Size,
				Mtime: f.Mtime}, By: string(f.Found), Live: f.Found.Live(), Overdue: f.Incomplete}
		}
		return give(ctx, all)
	}
}

// Notes are what a person should know of the watch.
func (f finder) Notes() (notes [][2]string) {
	s := f.Status()
	add := func(name, format string, args ...any) {
		notes = append(notes, [2]string{name, fmt.Sprintf(format, args...)})
	}
	mode := string(s.Mode)
	if s.Cause != nil {
		mode += ": " + s.Cause.Error()
	}
	add("finding files by", "%s", mode)
	add("found", "%d by the watch, %d by scans, of which the watch had missed %d", s.ByWatch, s.ByScan, s.Missed)
	if s.Waiting > 0 {
		add("not finished yet", "%s", plural.Of(s.Waiting, "file"))
	}
	if some, n := f.Held(showHeld); n > 0 {
		add("not whole yet", "%s", heldText(some, n, time.Now()))
	}
	if s.Overflow != nil {
		add("overflow", "%v", s.Overflow)
	}
	if s.Unreadable != nil {
		add("unreadable", "%v", s.Unreadable)
	}
	return notes
}

// showHeld is how many of the files that are not whole are named.
const showHeld = 3

// heldText names files that wait because they are not whole by their own header.
func heldText(some []filetree.Held, n int, now time.Time) string {
	var b strings.Builder
	for i, h := range some {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (for %v)", transfer.Name(h.Path), now.Sub(h.Since).Round(time.Second))
	}
	if more := n - len(some); more > 0 {
		fmt.Fprintf(&b, ", and %d more", more)
	}
	return b.String()
}
