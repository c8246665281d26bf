package app

import (
	"fmt"
	"io"
	"time"

	"holdfast/job/crawl"
)

// WriteCrawlReport writes a page of a report as text, in the columns of Heritrix's files of that name; first is the page with their
// names. What is not counted is a -.
// https://heritrix.readthedocs.io/en/latest/operating.html#reports
func WriteCrawlReport(w io.Writer, r CrawlReport, first bool) error {
	head := map[string]string{"seeds": "[code] [status] [seed] [redirect]\n", "mimetype": "[#urls] [#bytes] [mime-types]\n",
		"hosts": "[#urls] [#bytes] [host] [#robots] [#remaining] [#novel-urls] [#novel-bytes] [#dup-by-hash-urls] " +
			"[#dup-by-hash-bytes] [#not-modified-urls] [#not-modified-bytes]\n",
		"responsecode": "[#urls] [rescode]\n", "source": "[source] [host] [#urls]\n"}[r.Name]
	b := []byte{}
	if first {
		b = append(b, head...)
	}
	for _, s := range r.Seeds {
		b = fmt.Appendf(b, "%d %s %s", s.Status, seedStatus(s), s.URL)
		if s.Redirect != "" {
			b = append(b, " "+s.Redirect...)
		}
		b = append(b, '\n')
	}
	for _, h := range r.Hosts {
		b = fmt.Appendf(b, "%d %d %s %d %d - - - - - -\n", h.Done, h.Bytes, h.Host, h.Left, h.Queued+h.Waiting)
	}
	for _, t := range r.Types {
		b = fmt.Appendf(b, "%d - %s\n", t.N, orElse(t.Of, "-"))
	}
	for _, t := range r.Codes {
		b = fmt.Appendf(b, "%d %s\n", t.N, t.Of)
	}
	for _, s := range r.Sources {
		b = fmt.Appendf(b, "%s - %d\n", orElse(s.Source, "-"), s.Done)
	}
	if r.Crawl != nil {
		b = append(b, summaryText(r.Job, *r.Crawl)...)
	}
	if r.Frontier != nil {
		b = append(b, frontierText(r.At, *r.Frontier)...)
	}
	_, err := w.Write(b)
	return err
}

// seedStatus is a word for what became of a seed.
func seedStatus(s crawl.SeedRow) string {
	switch s.State {
	case "done":
		return "CRAWLED"
	case "failed", "left":
		return "NOTCRAWLED"
	}
	return "UNKNOWN"
}

func summaryText(job string, s crawl.Summary) string {
	seconds := max(s.Elapsed.Seconds(), 1e-3)
	return fmt.Sprintf("Crawl Name: %s\nCrawl Status: %s\nDuration Time: %v\nTotal Hosts Crawled: %d\nTotal URIs Processed: %d\n"+
		"URIs Crawled successfully: %d\nURIs Failed to Crawl: %d\nURIs Disregarded: %d\nProcessed docs/sec: %.2f\n"+
		"Bandwidth in Kbytes/sec: %.0f\nTotal Raw Data Size in Bytes: %d\nURIs Queued: %d\nHosts Held: %d\nHosts Exhausted: %d\n"+
		"Links Left Out By Pattern: %d\nBudget: %s\n",
		job, s.State, s.Elapsed.Round(time.Millisecond), s.Hosts, s.Done+s.Failed+s.Left, s.Done, s.Failed, s.Left, float64(s.Done)/seconds,
		float64(s.Bytes)/1024/seconds, s.Bytes, s.Queued+s.Waiting, s.HeldHosts, s.ExhaustedHosts, s.Refused, s.Budget)
}

func frontierText(at time.Time, f crawl.FrontierRow) string {
	b := fmt.Appendf(nil, "Frontier report - %s\n %d URIs queued, %d waiting for a retry, %d in flight\n %d hosts, %d held, %d exhausted\n\n"+
		" -----===== IN FLIGHT =====-----\n", at.Format("200601021504"), f.Queued, f.Waiting, len(f.InFlight), f.Hosts, f.Held, f.Exhausted)
	for _, u := range f.InFlight {
		b = fmt.Appendf(b, "%s %s\n", u.Since.UTC().Format(time.RFC3339), u.URL)
	}
	b = append(b, "\n -----===== LARGEST QUEUES =====-----\n[queued] [waiting] [done] [due] [queue]\n"...)
	for _, h := range f.Largest {
		due := "-"
		if !h.Due.IsZero() {
			due = h.Due.UTC().Format(time.RFC3339)
		}
		b = fmt.Appendf(b, "%d %d %d %s %s\n", h.Queued, h.Waiting, h.Done, due, h.Host)
	}
	return string(b)
}
