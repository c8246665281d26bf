package desk

import (
	"context"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/job/transfer"
	"holdfast/kernel/store"
)

// FileRecord is what is known of a file of a transfer job.
type FileRecord = transfer.Record

// FileQuery says which files of a transfer job are meant.
type FileQuery = transfer.Query

// FileStates are the words for where a file is.
func FileStates() (words []string) {
	for _, s := range transfer.States {
		words = append(words, string(s))
	}
	return words
}

// NewFileQuery makes a query of what people write.
func NewFileQuery(text, path, state string, since time.Time, after string, limit int) FileQuery {
	return FileQuery{Text: text, Path: path, State: transfer.State(state), Since: since, After: after, Limit: limit}
}

// Files are some of the files of a transfer job.
type Files struct {
	Files []FileRecord `json:"files"`
	// Next is where to go on if there may be more.
	Next string `json:"next,omitempty"`
}

// Files lists files of a transfer job. A text that is an absolute path is one below the source directory.
func (d *Desk) Files(ctx context.Context, job string, q FileQuery) (out Files, err error) {
	out.Files = []FileRecord{}
	root, err := d.transferRoot(job)
	if err != nil {
		return out, err
	}
	q.Text, q.Whole = belowRoot(root, q.Text)
	q.Path, _ = belowRoot(root, q.Path)
	err = d.view(ctx, job, func(r store.Reader) error {
		list, next, err := transfer.List(r, q)
		out.Files, out.Next = append(out.Files, list...), next
		return err
	})
	return out, err
}

// File returns one file of a transfer job, with its history.
func (d *Desk) File(ctx context.Context, job string, id uint64) (rec FileRecord, err error) {
	if _, err := d.transferRoot(job); err != nil {
		return rec, err
	}
	err = d.view(ctx, job, func(r store.Reader) error {
		rec, err = transfer.Show(r, id)
		return err
	})
	return rec, err
}

// transferRoot is the source directory of a transfer job, "" if its configuration is not known. Of another job it is an error.
func (d *Desk) transferRoot(job string) (string, error) {
	if _, err := d.only(job); err != nil {
		return "", err
	}
	j, _ := d.plan.Job(job)
	if j.Kind != app.TransferKind {
		return "", fault.New(fault.Invalid, "job %s is no %s, and has no files", job, app.TransferKind)
	}
	return j.From(), nil
}

// belowRoot takes the source directory off an absolute path.
func belowRoot(root, text string) (below string, was bool) {
	if root == "" {
		return text, false
	}
	return strings.CutPrefix(text, strings.TrimSuffix(root, "/")+"/")
}

// FileStep is what happened to a file.
type FileStep = transfer.Step

// ShippedStep is that it was brought to a destination.
const ShippedStep = transfer.Shipped

// FirstSteps is how many steps stand in front of those that are not kept.
const FirstSteps = transfer.FirstSteps
