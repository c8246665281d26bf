package warc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"holdfast/base/fault"
)

// messageBuffer holds the longest line of chunked coding, too.
const messageBuffer = 8 << 10

// Message is an HTTP message as it lies in a block: a request or a response, as it was transferred.
type Message struct {
	Start  string // its first line
	Fields Fields
	Head   int64 // bytes up to the body, with the empty line
	body   *bufio.Reader
}

// SplitHTTP reads the head of an HTTP/1 message, and no more of r than its buffer holds. It is lenient, since
// servers are: lines may end with LF alone, a line without a colon is passed over, and a head that the network
// cut short is one without a body. An error is Invalid if r does not begin as HTTP, or if the head is longer than
// MaxHeader; others are r's.
func SplitHTTP(r io.Reader) (*Message, error) {
	return splitHTTP(bufio.NewReaderSize(r, messageBuffer))
}

func splitHTTP(r *bufio.Reader) (*Message, error) {
	h := head{r: r}
	start, err := h.line()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.HasPrefix(start, []byte("HTTP/")) && !bytes.Contains(start, []byte(" HTTP/")) {
		return nil, fault.New(fault.Invalid, "%.60q does not begin an HTTP message", start)
	}
	m := &Message{Start: string(start), body: r}
	for err == nil {
		var line []byte
		if line, err = h.line(); len(line) == 0 {
			break
		}
		h.add(line)
	}
	m.Fields = h.done()
	m.Head = h.n
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return m, nil
}

// head reads the lines of a head, of at most MaxHeader bytes, and makes fields of them.
type head struct {
	r      *bufio.Reader
	n      int64  // bytes read
	long   []byte // a line that is longer than r's buffer
	fields Fields
	value  []byte // of the last of them, which may go on; a string that grew by each line would be copied by each
}

// add takes a line. One that begins with white space goes on with the value before it, one without a colon is
// passed over.
func (h *head) add(line []byte) {
	if line[0] == ' ' || line[0] == '\t' {
		h.value = append(append(h.value, ' '), bytes.TrimSpace(line)...)
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return
	}
	h.done()
	h.fields = append(h.fields, Field{Name: string(bytes.TrimSpace(name))})
	h.value = append(h.value[:0], value...)
}

// done returns the fields, the last of which is whole.
func (h *head) done() Fields {
	if last := len(h.fields) - 1; last >= 0 {
		h.fields[last].Value = string(bytes.TrimSpace(h.value))
	}
	return h.fields
}

// line returns the next line without its end, valid until the next call, and io.EOF with what is left if the end
// of it is missing.
func (h *head) line() ([]byte, error) {
	h.long = h.long[:0]
	for {
		part, err := h.r.ReadSlice('\n')
		h.n += int64(len(part))
		if h.n > MaxHeader {
			return nil, fault.New(fault.Invalid, "the header is longer than %d bytes", MaxHeader)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			h.long = append(h.long, part...)
			continue
		}
		if len(h.long) > 0 {
			h.long = append(h.long, part...)
			part = h.long
		}
		if err != nil {
			return part, err
		}
		return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
	}
}

// Status returns the status of a response, 0 if its first line has none.
func (m *Message) Status() int {
	_, rest, _ := strings.Cut(m.Start, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || !strings.HasPrefix(m.Start, "HTTP/") {
		return 0
	}
	return int(status)
}

// MediaType returns the type that Content-Type says, in lower case and without parameters, "" without one.
func (m *Message) MediaType() string {
	return MediaType(m.Fields.Get("Content-Type"))
}

// MediaType returns a content type in lower case and without parameters.
func MediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// Chunked reports whether the body is said to be in chunks: if that is the last of its transfer codings.
func (m *Message) Chunked() bool {
	codings := m.Fields.All("Transfer-Encoding")
	if len(codings) == 0 {
		return false
	}
	last := codings[len(codings)-1]
	return strings.EqualFold(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]), "chunked")
}

// Body returns what follows the head, as it was transferred. Body and Payload read on where the other stopped.
func (m *Message) Body() io.Reader { return m.body }

// Payload returns the payload: the entity-body of RFC 2616 (5.9, 6.3.2), which is the body without its chunks. A
// content coding (gzip) is part of it and stays. If what is said to be chunked does not begin with a chunk, the
// body is the payload: proxies remove the chunks and leave the field. Where the chunks break off or break their
// form, the payload ends.
func (m *Message) Payload() io.Reader {
	if m.Chunked() {
		return &chunks{r: m.body}
	}
	return m.body
}

// isHTTP reports whether a block of this type is an HTTP message.
func isHTTP(contentType string) bool {
	return MediaType(contentType) == "application/http"
}
