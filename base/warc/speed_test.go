package warc

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// words makes text that packs as that of pages does: some markup that comes again, and words of a small language.
func words(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	b.WriteString("<!DOCTYPE html><html><head><title>page</title></head><body>")
	for b.Len() < size {
		fmt.Fprintf(&b, `<p class="c%d"><a href="/page/%d.html">`, r.IntN(4), r.IntN(10000))
		for range 5 + r.IntN(20) {
			for range 1 + r.IntN(4) {
				b.WriteString([]string{"ta", "ren", "o", "mis", "el", "ka", "in", "st", "er", "un", "be", "dor"}[r.IntN(12)])
			}
			b.WriteByte(' ')
		}
		b.WriteString("</a></p>\n")
	}
	return b.String()[:size]
}

// pages are responses of about 20 KB.
func pages(n int) []string {
	var all []string
	for i := range n {
		body := words(uint64(i), 20000)
		all = append(all, "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: "+
			strconv.Itoa(len(body))+"\r\n\r\n"+body)
	}
	return all
}

// BenchmarkWrite is one core's work for responses of 20 KB: at each level, with digests computed, and handed in.
func BenchmarkWrite(b *testing.B) {
	all := pages(64)
	for _, c := range []struct {
		name  string
		o     Options
		given bool
	}{
		{"level=1/digests=given", Options{Level: 1}, true},
		{"level=3/digests=given", Options{Level: 3}, true},
		{"level=5/digests=given", Options{Level: 5}, true},
		{"level=6/digests=given", Options{Level: 6}, true},
		{"level=9/digests=given", Options{Level: 9}, true},
		{"level=5/digests=sha1", Options{Level: 5}, false},
		{"level=5/digests=sha256", Options{Level: 5, SHA256: true}, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, err := NewWriter(io.Discard, 0, c.o)
			if err != nil {
				b.Fatal(err)
			}
			r := record(Response, 1, "http://example.com/", "")
			if c.given {
				r.Block.SHA1, r.Payload.SHA1 = pageSum, pageSum
			}
			content := strings.NewReader("")
			var packed, n int64
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				one := all[i%len(all)]
				content.Reset(one)
				r.Content, r.Length = content, int64(len(one))
				done, err := w.Write(&r)
				if err != nil {
					b.Fatal(err)
				}
				packed += done.Length
				n += done.Block
				i++
				b.SetBytes(int64(len(one)))
			}
			b.ReportMetric(100*float64(packed)/float64(n), "%packed")
		})
	}
}

// BenchmarkVerify reads and verifies a file of such responses.
func BenchmarkVerify(b *testing.B) {
	var records []Record
	for i, p := range pages(64) {
		records = append(records, record(Response, i%50, "http://example.com/", p))
	}
	file, written := write(b, Options{}, records...)
	size := int64(0)
	for _, w := range written {
		size += w.Block
	}
	b.SetBytes(size)
	for b.Loop() {
		if rep, err := Verify(bytes.NewReader(file)); err != nil || !rep.Good() {
			b.Fatal(rep, err)
		}
	}
}
