package index

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/archive"
	"holdfast/kernel/store/storetest"
)

// benchIndex is an index beside a store on a real disk.
func benchIndex(b *testing.B) *Index {
	b.Helper()
	x, err := Open(storetest.Open(b, b.TempDir()), Options{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close() })
	return x
}

// numbered is a line as a crawl has them, about 240 bytes. Their keys are spread.
func numbered(n int, file string) cdxj.Line {
	spread := uint64(n) * 0x9e3779b97f4a7c15 >> 20
	url := "https://www.example" + strconv.FormatUint(spread%5000, 10) + ".com/articles/" + strconv.FormatUint(spread, 10) + ".html"
	return cdxj.Line{Key: weburl.IndexKeyOf(url), Time: "20260101000000", URL: url, Mime: "text/html", Status: 200,
		Digest: "EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP", Length: 20000, Offset: int64(n) * 20000, Filename: file}
}

// BenchmarkAdd is what the index adds to a capture: an answer, its question, and a 64th of a commit.
func BenchmarkAdd(b *testing.B) {
	x := benchIndex(b)
	block := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: x\r\n\r\n" + strings.Repeat("x", 20000)
	answer := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: time.Now(),
		TargetURI: "https://www.example.com/articles/a.html"}
	ask := &warc.Record{Type: warc.Request, TargetURI: answer.TargetURI}
	places := []archive.Place{{File: "site-20260101000000000-00001-abcdefgh.warc.gz"}, {}}
	places[0].Digests.Payload.SHA1 = digestOf("x")
	places[0].Length = 20000
	content := strings.NewReader(block)
	answer.Content, answer.Length = content, int64(len(block))
	for _, syncs := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", syncs), func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				content.Seek(0, 2)
				places[0].Offset = int64(n) * 20000
				if err := x.Add([]*warc.Record{answer, ask}, places); err != nil {
					b.Fatal(err)
				}
				if n%64 < 63 {
					continue
				}
				if !syncs {
					x.parts = nil
					continue
				}
				if err := x.Sync(); err != nil {
					b.Fatal(err)
				}
				if err := x.st.Update(x.Commit); err != nil {
					b.Fatal(err)
				}
				x.Committed()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "captures/s")
		})
	}
}

// BenchmarkTidy sorts and merges the lines of WARC files of 20,000 captures, and makes index.cdxj of them.
func BenchmarkTidy(b *testing.B) {
	x := benchIndex(b)
	const inFile = 20_000
	var tidied, appended time.Duration
	lines := 0
	for b.Loop() {
		at := time.Now()
		name := fmt.Sprintf("site-20260101000000000-%05d-abcdefgh.warc.gz", lines/inFile)
		for range inFile {
			if err := x.add(numbered(lines, name)); err != nil {
				b.Fatal(err)
			}
			lines++
		}
		x.Roll()
		if err := x.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := x.st.Update(x.Commit); err != nil {
			b.Fatal(err)
		}
		x.Committed()
		appended += time.Since(at)
		at = time.Now()
		if err := x.tidy(b.Context(), true); err != nil {
			b.Fatal(err)
		}
		tidied += time.Since(at)
	}
	at := time.Now()
	stats, err := x.Write(b.Context())
	if err != nil || stats.Captures != int64(lines) {
		b.Fatal(stats, err)
	}
	b.ReportMetric(float64(lines), "lines")
	b.ReportMetric(float64(lines)/appended.Seconds(), "appended/s")
	b.ReportMetric(float64(lines)/tidied.Seconds(), "tidied/s")
	b.ReportMetric(float64(lines)/time.Since(at).Seconds(), "written/s")
	b.ReportMetric(float64(stats.Bytes)/float64(lines), "B/line")
	b.ReportMetric(float64(peak(b)>>20), "peak-MiB")
}

// peak is the most memory that this process had, in bytes.
func peak(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	return 0
}

// BenchmarkFirst looks for captures in an index of a million lines.
func BenchmarkFirst(b *testing.B) {
	const lines = 1_000_000
	path := filepath.Join(b.TempDir(), File)
	s := cdxj.NewSorter(b.TempDir(), 64<<20)
	var line []byte
	for n := range lines {
		line, _ = numbered(n, "x.warc.gz").Append(line[:0])
		if err := s.Add(line); err != nil {
			b.Fatal(err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	if err := s.Write(w); err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	e := openEarlier(b, path)
	for name, add := range map[string]int{"found": 0, "unknown": lines} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				url := numbered(n*7919%lines+add, "").URL
				_, ok, err := e.First(url, "sha1:EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP")
				if err != nil || ok != (add == 0) {
					b.Fatal(url, ok, err)
				}
			}
		})
	}
}
