package journal

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// synthetic writes a journal of a crawl in which one URL of six was fetched when it ended, and returns how many lines it has.
func synthetic(b testing.TB, path string, urls int) (lines int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	w := bufio.NewWriter(z)
	rnd := rand.New(rand.NewPCG(1, 2))
	host, via := 0, ""
	var text []byte
	for n := range urls {
		if n%20 == 0 { // the links of a page are mostly those of its host
			host = rnd.IntN(50_000)
			via = fmt.Sprintf("http://www.example%d.com/articles/%x/index.html", host, rnd.Uint32())
		}
		u := fmt.Sprintf("http://www.example%d.com/articles/%x/page-%d.html", host, rnd.Uint64(), n)
		text = Line{Kind: Queued, URL: u, Hops: "LLL", Via: via}.Append(text[:0])
		lines++
		if n%6 == 0 {
			text = Line{Kind: Taken, URL: u}.Append(text)
			text = Line{Kind: Fetched, URL: u, Hops: "LLL", Via: via}.Append(text)
			lines += 2
		}
		if _, err := w.Write(text); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return lines
}

// BenchmarkImport imports a journal of HOLDFAST_JOURNAL_URLS URLs, 100,000 by default.
func BenchmarkImport(b *testing.B) {
	urls := 100_000
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_JOURNAL_URLS")); err == nil {
		urls = n
	}
	path := filepath.Join(b.TempDir(), Name)
	lines := synthetic(b, path, urls)
	for b.Loop() {
		b.StopTimer()
		dir := filepath.Join(b.TempDir(), strconv.Itoa(b.N), fmt.Sprint(time.Now().UnixNano()))
		cache := store.NewCache(64 << 20)
		st, err := store.Open(dir, store.Options{Cache: cache})
		if err != nil {
			b.Fatal(err)
		}
		f, err := frontier.Open(st, frontier.Options{})
		if err != nil {
			b.Fatal(err)
		}
		into, err := f.Importer()
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		last, since := int64(0), time.Now()
		r, err := Import(context.Background(), st, into, []string{path}, Options{Item: itemOf, Progress: func(r Report) {
			if n := r.Queued + r.Lines; n-last > 1_000_000 {
				b.Logf("%d lines, %d queued: %.0f/s", r.Lines, r.Queued, float64(n-last)/time.Since(since).Seconds())
				last, since = n, time.Now()
			}
		}})
		if err != nil || r.Lines != int64(lines) {
			b.Fatalf("%+v, want %d lines (%v)", r, lines, err)
		}
		b.StopTimer()
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
		cache.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
