package crawl

import (
	"bytes"
	"fmt"
	"strings"

	"holdfast/base/warc"
	"holdfast/job/crawl/extract"
)

// mostOutlinks is how many bytes of links the metadata of a page has.
const mostOutlinks = 1 << 20

// outlink notes a link for the metadata of its page, whether the scope wants it or not, as Heritrix writes it: the URL,
// its hop, and where it stands.
func (v *visit) outlink(l extract.Link) {
	if len(v.outlinks) < mostOutlinks {
		v.outlinks = fmt.Appendf(v.outlinks, "outlink: %s %c %s\r\n", l.URL, l.Hop, oneLine(l.Context))
	}
}

// describe gives all captures their metadata (6.6), in the fields of Heritrix.
func (v *visit) describe() {
	for i, c := range v.captures {
		if len(c.records) == 0 {
			continue
		}
		var text bytes.Buffer
		field := func(name, value string) {
			if value != "" {
				fmt.Fprintf(&text, "%s: %s\r\n", name, oneLine(value))
			}
		}
		if c.line.hops == "" {
			text.WriteString("seed: \r\n")
		}
		field("via", c.line.via)
		field("hopsFromSeed", c.line.hops)
		if c.line.hops != "" {
			field("sourceTag", c.line.source)
		}
		fmt.Fprintf(&text, "fetchTimeMs: %d\r\n", c.line.took.Milliseconds())
		if i == 0 {
			field("charsetForLinkExtraction", v.charset)
			text.Write(v.outlinks)
		}
		of := c.records[0]
		c.records = append(c.records, &warc.Record{Type: warc.Metadata, ID: warc.NewID(), Date: of.Date, TargetURI: of.TargetURI,
			ConcurrentTo: []string{of.ID}, Content: bytes.NewReader(text.Bytes()), Length: int64(text.Len())})
	}
	v.outlinks = nil
}

// oneLine makes one line of a text, whatever it holds.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
