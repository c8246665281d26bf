package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/face/api"
)

func (f *face) crawlWhy() *cobra.Command {
	var ask desk.CrawlAsked
	var job string
	c := f.asking(&cobra.Command{
		Use:   "why URL",
		Short: "What is known of a URL, and why it is crawled or not",
		Long: "What is known of a URL, which rule of the scope decides about it, what\n" +
			"robots.txt says, and the settings in force. It is told as of a seed, unless\n" +
			"--hops says how it was found, such as L for a link of a seed.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJobOf(cmd.Context(), "crawl", job, func(a asked, job string) error {
				var why desk.CrawlWhy
				q := url.Values{"url": {args[0]}, "hops": {ask.Hops}, "via": {ask.Via}}
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: path(job, "crawl", "why") + "?" + q.Encode(), Result: &why})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(why)
				}
				f.showWhy(why)
				return nil
			})
		},
	})
	c.Flags().StringVar(&job, "job", "", "name of the crawl (default the only one)")
	c.Flags().StringVar(&ask.Hops, "hops", "", "how it was found, in Heritrix's letters: L, LLE, R")
	c.Flags().StringVar(&ask.Via, "via", "", "URL that led to it")
	return c
}

func (f *face) showWhy(w desk.CrawlWhy) {
	say := func(format string, args ...any) { fmt.Fprint(f.out, wrap(fmt.Sprintf(format, args...), "  ")) }
	fmt.Fprint(f.out, wrap(w.URL, ""))
	state := w.State
	if w.Status != 0 {
		state += fmt.Sprintf(", status %d", w.Status)
	}
	if w.Seed {
		state += ", a seed"
	}
	say("state: %s", state)
	if hint := desk.CrawlStatusHint(w.Status); hint != "" {
		say("%s", hint)
	}
	f.showScope(w)
	robots := "forbidden"
	if w.Robots.Allowed {
		robots = "allowed"
	}
	if w.Robots.Line > 0 {
		robots += fmt.Sprintf(" by line %d", w.Robots.Line)
	}
	say("robots.txt: %s (%s)", robots, w.Robots.From)
	if w.Pattern != "" {
		say("pattern: %s, of which %s are queued at most", w.Pattern, count(w.PatternBudget))
	}
	if h := w.Host; h != nil {
		text := fmt.Sprintf("%s queued, %s put off, %s done", count(h.Queued), count(h.Waiting), count(h.Done))
		if h.Held {
			text += ", held by a person"
		}
		if h.Exhausted {
			text += ", over its budget"
		}
		if !h.Due.IsZero() {
			text += ", due " + h.Due.Local().Format("15:04:05")
		}
		say("host %s: %s", h.Host, text)
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(w.Settings)) {
		word := key + "=" + w.Settings[key]
		if _, ordered := w.Set[key]; ordered {
			word += " (set while it ran)"
		}
		words = append(words, word)
	}
	say("settings: %s", strings.Join(words, ", "))
	if len(w.Sheets) > 0 {
		say("sheets: %s", strings.Join(w.Sheets, ", "))
	}
}

// showScope says which rule of the scope decides, and what the others have to say.
func (f *face) showScope(w desk.CrawlWhy) {
	verdict := "rejects it"
	if w.Scope.Accept {
		verdict = "accepts it"
	}
	if w.Scope.Rule == 0 {
		fmt.Fprint(f.out, wrap("scope: no rule applies to it, so it is not crawled", "  "))
	} else {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("scope: rule %d (%s) %s: %s", w.Scope.Rule, w.Scope.Name, verdict, w.Scope.Why), "  "))
	}
	fmt.Fprint(f.out, wrap("rules, of which the last one that applies decides:", "  "))
	for _, r := range w.Rules {
		var said string
		switch {
		case r.Decides:
			said = "APPLIES AND DECIDES, it " + verdict
		case r.Verdict == "accept", r.Verdict == "reject":
			said = fmt.Sprintf("applies, but rule %d comes later", w.Scope.Rule)
		case r.Verdict == "later":
			said = "shows when the head of the answer is there; it is for"
		default:
			said = "does not apply; it is for"
		}
		fmt.Fprint(f.out, wrap(fmt.Sprintf("%d %s: %s: %s", r.Rule, r.Name, said, r.Why), "    "))
	}
}

func (f *face) crawlReport() *cobra.Command {
	var job, save string
	c := f.asking(&cobra.Command{
		Use:   "report [JOB] [NAME...]",
		Short: "Reports of a crawl, in Heritrix's columns",
		Long:  "Reports: " + strings.Join(desk.CrawlReports, ", ") + ";\nall of them without a NAME.",
		RunE: func(cmd *cobra.Command, names []string) error {
			if job == "" && len(names) > 0 && !slices.Contains(desk.CrawlReports, names[0]) {
				job, names = names[0], names[1:]
			}
			for _, name := range names {
				if !slices.Contains(desk.CrawlReports, name) {
					return &fault.Usage{Err: fmt.Errorf("there is no report %s: they are %s", name,
						strings.Join(desk.CrawlReports, ", "))}
				}
			}
			if len(names) == 0 {
				names = desk.CrawlReports
			}
			return f.withJobOf(cmd.Context(), "crawl", job, func(a asked, job string) error {
				for _, name := range names {
					if err := f.report(cmd.Context(), a, job, name, save); err != nil {
						return err
					}
				}
				return nil
			})
		},
	})
	c.Flags().StringVar(&job, "job", "", "name of the crawl (default the only one)")
	c.Flags().StringVar(&save, "save", "", "write them into this directory, as Heritrix names them")
	return c
}

// reportFile is what Heritrix calls the file of a report.
func reportFile(name string) string {
	if name == "frontier" {
		name = "frontier-summary"
	}
	return name + "-report"
}

// report writes one report, page by page.
func (f *face) report(ctx context.Context, a asked, job, name, save string) (err error) {
	var out io.Writer = f.out
	if save != "" {
		ending := ".txt"
		if f.json {
			ending = ".jsonl"
		}
		if err := os.MkdirAll(save, 0o755); err != nil {
			return err
		}
		file, err := os.Create(filepath.Join(save, reportFile(name)+ending))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	} else if !f.json {
		fmt.Fprintf(f.out, "\n%s\n", reportFile(name))
	}
	for after, first := "", true; first || after != ""; first = false {
		var page desk.CrawlReport
		p := path(job, "crawl", "reports", name) + "?" + url.Values{"after": {after}}.Encode()
		if err := a.client.Do(ctx, api.Request{Method: "GET", Path: p, Result: &page}); err != nil {
			return err
		}
		after = page.Next
		if f.json {
			err = json.NewEncoder(out).Encode(page)
		} else {
			err = desk.WriteCrawlReport(out, page, first)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
