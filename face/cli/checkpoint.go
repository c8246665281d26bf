package cli

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/face/api"
)

func (f *face) checkpointCommand() *cobra.Command {
	c := &cobra.Command{Use: "checkpoint", Short: "Make checkpoints of jobs, and go back to them"}
	c.AddCommand(f.checkpointCreate(), f.checkpointList(), f.checkpointVerify(), f.checkpointRestore(),
		f.checkpointExport(), f.checkpointImport(), f.checkpointRemove())
	return c
}

func (f *face) checkpointCreate() *cobra.Command {
	var name, to string
	c := f.asking(&cobra.Command{
		Use:   "create [JOB]",
		Short: "Make a checkpoint, without a pause",
		Long: "Make a checkpoint, without a pause. One with a --name stays until it is removed;\n" +
			"one without goes when it is old, like those that are made by themselves.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &fault.Usage{Err: fmt.Errorf("want one job, got %q: the name of a checkpoint is --name %s", args, args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				var out desk.Checkpoint
				err := f.long(cmd.Context(), a, path(job, "checkpoints"), api.Order{Name: name}, &out)
				text := fmt.Sprintf("checkpoint %s of job %s is made: %s in %d ms", out.Name, job, disk.Size(out.Bytes), out.TookMS)
				if err == nil && to != "" {
					var copied desk.Checkpoint
					file, err := f.exportTo(cmd.Context(), a, job, out.Name, filepath.Join(to, job+"-"+out.Name+".tar"), &copied)
					if err != nil {
						return fmt.Errorf("checkpoint %s is made, and not copied: %w", out.Name, err)
					}
					text += "; a copy is in " + file
				}
				return f.tell(err, out, text)
			})
		},
	})
	c.Flags().StringVar(&name, "name", "", "name of the checkpoint (default: the time)")
	c.Flags().StringVar(&to, "to", "", "directory for a verified copy, as by export: JOB-NAME.tar")
	return c
}

// tell shows the answer to an order.
func (f *face) tell(err error, answer any, text string) error {
	if err != nil {
		return err
	}
	if f.json {
		return f.printJSON(answer)
	}
	_, err = fmt.Fprint(f.out, wrap(text, ""))
	return err
}

func (f *face) checkpointList() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "ls [JOB]",
		Short: "List checkpoints, oldest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			type list struct {
				Checkpoints []desk.Checkpoint `json:"checkpoints"`
			}
			all := list{Checkpoints: []desk.Checkpoint{}}
			err := f.each(func(a asked) error {
				var one list
				q := url.Values{"job": {first(args)}}
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: "/api/v1/checkpoints?" +
					q.Encode(),
					Result: &one})
				all.Checkpoints = append(all.Checkpoints, one.Checkpoints...)
				return err
			})
			if err != nil || f.json {
				return f.tell(err, all, "")
			}
			if len(all.Checkpoints) == 0 {
				fmt.Fprintln(f.out, "there are no checkpoints")
				return nil
			}
			t := newTable("job", "~name", "made", ">size", "stays", "state")
			for _, c := range all.Checkpoints {
				stays, state := "while new", "good"
				if c.Pinned {
					stays = "always"
				}
				if !c.Verified.IsZero() {
					state = "verified"
				}
				if c.Error != "" {
					state = "invalid"
				}
				t.add(c.Job, c.Name, ago(c.Created, time.Now()), disk.Size(c.Bytes), stays, state)
			}
			t.write(f.out, "")
			for _, c := range all.Checkpoints {
				if len(c.Facts) > 0 {
					fmt.Fprint(f.out, wrap(checkpointFacts(c), ""))
				}
			}
			for _, c := range all.Checkpoints {
				if c.Error != "" {
					fmt.Fprint(f.out, wrap(fmt.Sprintf("! %s %s: %s", c.Job, c.Name, c.Error), ""))
				}
			}
			return nil
		},
	})
}

// checkpointFacts is what a job had at the moment of a checkpoint.
func checkpointFacts(c desk.Checkpoint) string {
	var facts []string
	for _, name := range slices.Sorted(maps.Keys(c.Facts)) {
		facts = append(facts, count(c.Facts[name])+" "+name)
	}
	text := fmt.Sprintf("%s: %s, %s held", c.Name, strings.Join(facts, ", "), disk.Size(uint64(c.Held)))
	if c.Parent != "" {
		text += ", behind " + c.Parent
	}
	return text
}

// named is a command on one checkpoint: JOB NAME, or NAME alone where there is one job.
func (f *face) named(use, short string, do func(ctx context.Context, a asked, job,
	name string) error) *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   use + " [JOB] NAME",
		Short: short,
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, name := "", args[len(args)-1]
			if len(args) == 2 {
				job = args[0]
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				return do(cmd.Context(), a, job, name)
			})
		},
	})
}

func (f *face) checkpointVerify() *cobra.Command {
	return f.named("verify", "Read a checkpoint and compare it with its checksums",
		func(ctx context.Context, a asked, job, name string) error {
			var out desk.Findings
			if err := f.long(ctx, a, path(job, "checkpoints", name, "verify"), nil, &out); err != nil {
				return err
			}
			text := fmt.Sprintf("checkpoint %s of job %s is good: %s read", name, job, disk.Size(out.Bytes))
			if len(out.Bad) > 0 {
				text = fmt.Sprintf("checkpoint %s of job %s is damaged", name, job)
			}
			if err := f.tell(nil, out, text); err != nil || len(out.Bad) == 0 {
				return err
			}
			if !f.json {
				for _, b := range out.Bad {
					fmt.Fprint(f.out, wrap("! "+b, "  "))
				}
			}
			return &exitError{code: Failed}
		})
}

func (f *face) checkpointRestore() *cobra.Command {
	var into string
	c := f.named("restore", "Take a job back to a checkpoint; what is there now is kept",
		func(ctx context.Context, a asked, job, name string) error {
			var out desk.Restored
			var o api.Order
			if into != "" {
				dir, err := filepath.Abs(into)
				if err != nil {
					return err
				}
				o.Dir = dir
			}
			err := f.long(ctx, a, path(job, "checkpoints", name, "restore"), o, &out)
			text := fmt.Sprintf("job %s is as it was %s (checkpoint %s); the store that was there is kept in %s", job,
				ago(out.Created, time.Now()), name, out.Quarantine)
			if out.Into != "" {
				text = fmt.Sprintf("job %s is in %s as it was %s (checkpoint %s); here nothing changed", job, out.Into,
					ago(out.Created, time.Now()), name)
			}
			return f.tell(err, out, text)
		})
	c.Flags().StringVar(&into, "into", "", "another data directory, in the place of going back")
	return c
}

func (f *face) checkpointRemove() *cobra.Command {
	return f.named("rm", "Remove a checkpoint", func(ctx context.Context, a asked, job,
		name string) error {
		out, err := a.post(ctx, path(job, "checkpoints", name, "remove"), nil)
		return f.tell(err, out, fmt.Sprintf("checkpoint %s of job %s is removed", name, job))
	})
}

func (f *face) checkpointExport() *cobra.Command {
	c := f.asking(&cobra.Command{
		Use:   "export JOB NAME FILE",
		Short: "Write a checkpoint into one file, verified: a backup",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				var out desk.Checkpoint
				file, err := f.exportTo(cmd.Context(), a, job, args[1], args[2], &out)
				return f.tell(err, out, fmt.Sprintf("checkpoint %s of job %s is in %s", args[1], job, file))
			})
		},
	})
	return c
}

// exportTo has a checkpoint written into a file, and returns its whole name.
func (f *face) exportTo(ctx context.Context, a asked, job, name, file string, out *desk.Checkpoint) (string, error) {
	file, err := filepath.Abs(file)
	if err == nil {
		err = f.long(ctx, a, path(job, "checkpoints", name, "export"), api.Order{File: file}, out)
	}
	return file, err
}

func (f *face) checkpointImport() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "import JOB FILE",
		Short: "Read a file that export wrote; restore it then by its name",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			file, err := filepath.Abs(args[1])
			if err != nil {
				return err
			}
			a, err := f.placeFor(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer a.close()
			var out desk.Checkpoint
			err = f.long(cmd.Context(), a, path(args[0], "checkpoints", "import"), api.Order{File: file},
				&out)
			return f.tell(err, out, fmt.Sprintf("checkpoint %s of job %s is here; `holdfast checkpoint "+
				"restore %s %s` goes back to it", out.Name, args[0], args[0], out.Name))
		},
	})
}

// placeFor finds the data directory for a job that need not exist yet: where it is, else the one
// that was named, which may be empty.
func (f *face) placeFor(ctx context.Context, job string) (asked, error) {
	if all, err := f.places(); err == nil {
		var hit *asked
		for i, a := range all {
			rep, err := a.status(ctx)
			for _, j := range rep.Jobs {
				if err == nil && j.Name == job {
					hit = &all[i]
				}
			}
		}
		for i := range all {
			if hit == nil && len(all) == 1 {
				hit = &all[0]
			}
			if &all[i] != hit {
				all[i].close()
			}
		}
		if hit != nil {
			return *hit, nil
		}
	}
	place, err := datadir.Locate(f.dataDir, "")
	if err != nil {
		return asked{}, err
	}
	return open(place, nil)
}
