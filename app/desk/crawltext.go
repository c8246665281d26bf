package desk

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/connector"
	"holdfast/job/crawl"
)

// WriteCrawlReport writes a page of a report as text, in the columns of Heritrix's files of that name; first is the page with
// their names: those of release 3.4. What is not counted is a -.
// https://heritrix.readthedocs.io/en/latest/operating.html#reports
// https://github.com/internetarchive/heritrix3/tree/master/engine/src/main/java/org/archive/crawler/reporting
func WriteCrawlReport(w io.Writer, r CrawlReport, first bool) error {
	b := []byte{}
	if first {
		b = append(b, heads[r.Name]...)
	}
	for _, s := range r.Seeds {
		status := "NOTCRAWLED"
		if s.Crawled() {
			status = "CRAWLED"
		}
		b = fmt.Appendf(b, "%d %s %s", s.Status, status, s.URL)
		if s.Redirect != "" {
			b = append(b, " "+s.Redirect...)
		}
		b = append(b, '\n')
	}
	for _, h := range r.Hosts { // with a blank at the end, as Heritrix has it
		b = fmt.Appendf(b, "%d %d %s %d %d %d %d %d %d %d %d \n", h.Done, h.Bytes, hostOfQueue(h.Host), h.Left, h.Queued+h.Waiting, h.NovelURLs,
			h.NovelBytes, h.DuplicateURLs, h.DuplicateBytes, h.NotModifiedURLs, h.NotModifiedBytes)
	}
	for _, t := range r.Types {
		b = fmt.Appendf(b, "%d %d %s\n", t.N, t.Bytes, cmp.Or(t.Of, "unknown"))
	}
	for _, t := range r.Codes {
		b = fmt.Appendf(b, "%d %s\n", t.N, t.Of)
	}
	for _, s := range r.Sources {
		b = fmt.Appendf(b, "%s - %d\n", cmp.Or(s.Source, "-"), s.Done)
	}
	if r.Crawl != nil {
		b = append(b, summaryText(r.Job, *r.Crawl)...)
	}
	if r.Frontier != nil {
		b = append(b, frontierText(r.Job, r.At, *r.Frontier)...)
	}
	_, err := w.Write(b)
	return err
}

// hostOfQueue is the host of a queue such as com,example,www,#443. http and https are two queues, and so two rows.
func hostOfQueue(queue string) string {
	labels, _, _ := strings.Cut(queue, "#")
	if !strings.HasSuffix(labels, ",") {
		return labels // an address
	}
	parts := strings.Split(strings.TrimSuffix(labels, ","), ",")
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// heads are the first lines of those that are tables.
var heads = map[string]string{"seeds": "[code] [status] [seed] [redirect]\n", "mimetype": "[#urls] [#bytes] [mime-types]\n",
	"hosts": "[#urls] [#bytes] [host] [#robots] [#remaining] [#novel-urls] [#novel-bytes] [#dup-by-hash-urls] " +
		"[#dup-by-hash-bytes] [#not-modified-urls] [#not-modified-bytes]\n",
	"responsecode": "[#urls] [rescode]\n", "source": "[source] [host] [#urls]\n"}

// summaryText has Heritrix's lines, and below them those of what it does not have.
func summaryText(job string, s crawl.Summary) string {
	seconds := max(s.Elapsed.Seconds(), 1e-3)
	return fmt.Sprintf("crawl name: %s\ncrawl status: %s\nduration: %s\n\nseeds crawled: %d\nseeds uncrawled: %d\n\nhosts visited: %d\n\n"+
		"URIs processed: %d\nURI successes: %d\nURI failures: %d\nURI disregards: %d\n\nnovel URIs: %d\n%s\n"+
		"total crawled bytes: %d (%s) \nnovel crawled bytes: %d (%s) \n%s\nURIs/sec: %s\nKB/sec: %d\n\n"+
		"URIs queued: %d\nhosts held: %d\nhosts exhausted: %d\nlinks left out by pattern: %d\nbudget: %s\n",
		job, s.State[:1]+strings.ToLower(s.State[1:]), conventional(s.Elapsed), s.SeedsCrawled, s.Seeds-s.SeedsCrawled, s.Hosts,
		s.Done+s.Failed+s.Left, s.Done, s.Failed, s.Left, s.NovelURLs, repeats(" URIs", s.DuplicateURLs, s.NotModifiedURLs, func(n uint64) string { return fmt.Sprint(n) }), s.Bytes,
		roughly(s.Bytes), s.NovelBytes, roughly(s.NovelBytes), repeats(" crawled bytes", s.DuplicateBytes, s.NotModifiedBytes, sized), decimals(float64(s.Done)/seconds),
		uint64(float64(s.Bytes)/1024/seconds), s.Queued+s.Waiting, s.HeldHosts, s.ExhaustedHosts, s.Refused, s.Budget)
}

// repeats are the lines of what was archived already: Heritrix has them if there is any.
func repeats(what string, byHash, notModified uint64, text func(uint64) string) (lines string) {
	if byHash > 0 {
		lines += "duplicate-by-hash" + what + ": " + text(byHash) + "\n"
	}
	if notModified > 0 {
		lines += "not-modified" + what + ": " + text(notModified) + "\n"
	}
	return lines
}

func sized(n uint64) string { return fmt.Sprintf("%d (%s) ", n, roughly(n)) }

// CrawlStatusHint is what a person should know of a status that tells of ourselves; "" for others.
func CrawlStatusHint(status int) string {
	if status != connector.FetchForbidden {
		return ""
	}
	return "it leads to an address that is not public, which is not asked; if it is one's own server, name its address or network: " +
		"--allow-address, or allow_addresses in a configuration"
}

// conventional is a duration as Heritrix writes it: 1h33m38s651ms, without what is in front of the first unit that is not 0.
func conventional(d time.Duration) string {
	out := ""
	for _, u := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / u.of; n > 0 || out != "" {
			out += fmt.Sprintf("%d%s", n, u.name)
		}
		d %= u.of
	}
	return out + fmt.Sprintf("%dms", d.Milliseconds())
}

// roughly is a size with at most two digits behind those in front of the point, as in 1.8 KB, or 23 MB.
func roughly(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for ; v >= 1024 && unit < 4; unit++ {
		v /= 1024
	}
	if v < 10 {
		return fmt.Sprintf("%.1f %s", v, sizes[unit])
	}
	return fmt.Sprintf("%.0f %s", v, sizes[unit])
}

var sizes = []string{"B", "KB", "MB", "GB", "TB"}

// decimals are at most two, without zeros at the end: 3.47, 1.
func decimals(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

func frontierText(job string, at time.Time, f crawl.FrontierRow) string {
	b := fmt.Appendf(nil, "Frontier report - %s\n Job being crawled: %s\n\n -----===== STATS =====-----\n Discovered:    %d\n"+
		" Queued:        %d\n Finished:      %d\n  Successfully: %d\n  Failed:       %d\n  Disregarded:  %d\n\n"+
		" -----===== QUEUES =====-----\n Already included size:     %d\n               pending:     0\n\n"+
		" All class queues map size: %d\n            Retired queues: %d\n          Exhausted queues: %d\n\n"+
		" -----===== IN-PROCESS URIS: %d =====-----\n",
		at.Format("200601021504"), job, f.Known, f.Queued+f.Waiting, f.Done+f.Failed+f.Left, f.Done, f.Failed, f.Left, f.Known, f.Hosts,
		f.Held, f.Exhausted, len(f.InFlight))
	for _, u := range f.InFlight {
		b = fmt.Appendf(b, "%s %s\n", u.Since.UTC().Format(time.RFC3339), u.URL)
	}
	b = append(b, "\n -----===== LONGEST QUEUES =====-----\n[queued] [waiting] [done] [due] [queue]\n"...)
	for _, h := range f.Largest {
		due := "-"
		if !h.Due.IsZero() {
			due = h.Due.UTC().Format(time.RFC3339)
		}
		b = fmt.Appendf(b, "%d %d %d %s %s\n", h.Queued, h.Waiting, h.Done, due, h.Host)
	}
	return string(b)
}
