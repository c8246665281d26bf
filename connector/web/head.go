package web

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxHead bounds the head of an answer, in bytes, as browsers do. Those before it (1xx) have as much together.
const maxHead = 256 << 10

// head is the head of an answer.
type head struct {
	text     string // as it came
	old      bool   // HTTP/1.0
	status   int
	fields   http.Header
	persists bool // the connection is good for more, if the body has an end of its own
	chunked  bool
	length   int64 // of the body, -1 if the head does not say it
}

func (h *head) protocol() string {
	if h.old {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// interim reports whether the answer proper is yet to come. 101 is an answer to what we never ask.
func (h *head) interim() bool { return h.status < 200 && h.status != http.StatusSwitchingProtocols }

// empty reports whether no body follows, whatever the fields say (RFC 9112, 6.3).
func (h *head) empty() bool {
	return h.status < 200 || h.status == http.StatusNoContent || h.status == http.StatusNotModified
}

// headEnd is where the head in b ends, its empty line included, 0 if it has no end yet. Before from there is none.
func headEnd(b []byte, from int) int {
	for i := max(from, 0); ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0
		}
		i += n + 1
		switch rest := b[i:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 2
		}
	}
}

// parseHead reads a head that is whole. It is as lenient as browsers: lines may end with LF alone, one without a colon is passed
// over. What does not begin as HTTP is errForm.
func parseHead(text string) (head, error) {
	h := head{text: text, length: -1}
	line, rest := cutLine(text)
	version, after, ok := strings.Cut(line, " ")
	number, isHTTP := strings.CutPrefix(version, "HTTP/")
	code, _, _ := strings.Cut(strings.TrimLeft(after, " "), " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if !ok || !isHTTP || len(code) != 3 || err != nil || status < 100 {
		return h, errForm
	}
	h.status = int(status)
	h.old = number == "1.0" || strings.HasPrefix(number, "0")
	h.fields = parseFields(rest)
	h.frame()
	return h, nil
}

// cutLine is the first line of s without its end, and what is behind it.
func cutLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// parseFields reads the lines behind the first one. A line that begins with white space goes on with the value before it.
func parseFields(text string) http.Header {
	n := strings.Count(text, "\n")
	fields := make(http.Header, min(n, 64))
	values := make([]string, n) // one piece of memory for the values of all
	name := ""
	for {
		var line string
		line, text = cutLine(text)
		if line == "" {
			return fields
		}
		if folded(line) {
			var more string
			more, text = unfold(line, text)
			if all := fields[name]; len(all) > 0 {
				all[len(all)-1] += more
			}
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); !ok || key == "" {
			name = ""
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(key)
		if all := fields[name]; all != nil {
			fields[name] = append(all, strings.TrimSpace(value))
			continue
		}
		values[0] = strings.TrimSpace(value)
		fields[name], values = values[:1:1], values[1:]
	}
}

// folded reports whether a line goes on with the value before it.
func folded(line string) bool { return line != "" && (line[0] == ' ' || line[0] == '\t') }

// unfold is what line and those behind it that go on as it does add to a value, and the rest of the text.
func unfold(line, text string) (more, rest string) {
	var b strings.Builder
	for {
		b.WriteByte(' ')
		b.WriteString(strings.TrimSpace(line))
		if !folded(text) {
			return b.String(), text
		}
		line, text = cutLine(text)
	}
}

// frame finds out how long the body is (RFC 9112, 6.3).
func (h *head) frame() {
	connection := h.fields["Connection"]
	h.persists = !httpguts.HeaderValuesContainsToken(connection, "close") &&
		(!h.old || httpguts.HeaderValuesContainsToken(connection, "keep-alive"))
	codings := h.fields["Transfer-Encoding"]
	length, sound := contentLength(h.fields["Content-Length"])
	switch {
	case len(codings) > 0 && !h.old: // HTTP/1.0 knows no chunks: the field says nothing there
		h.chunked = strings.EqualFold(lastCoding(codings), "chunked")
		h.persists = h.persists && h.chunked && len(h.fields["Content-Length"]) == 0 // both is how answers are smuggled
	case sound:
		h.length = length
	}
	h.persists = h.persists && (len(codings) == 0 || !h.old)
}

// lastCoding is the last of the transfer codings.
func lastCoding(codings []string) string {
	last := codings[len(codings)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// contentLength is what the fields say, if they agree and say a number.
func contentLength(values []string) (int64, bool) {
	length := int64(-1)
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(one), 10, 63)
			if err != nil || length >= 0 && length != int64(n) {
				return 0, false
			}
			length = int64(n)
		}
	}
	return length, length >= 0
}
