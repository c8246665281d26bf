package warc

import (
	"bufio"
	"errors"
	"fmt"
	"hash"
	"io"

	"holdfast/base/fault"
)

// MaxFindings bounds what a Report keeps; what is beyond it is counted.
const MaxFindings = 200

// Answer is what a digest says of its bytes.
type Answer uint8

// The answers.
const (
	Absent Answer = iota // there is no digest, or none that can be recomputed
	Good
	// Framed is a payload digest that is right if the chunks are counted in: so wget, Python's warcio and
	// Heritrix compute it, against the standard (warcio#74; heritrix3#770 mends it). The bytes are those that were archived.
	Framed
	Elsewhere // of a revisit: the payload lies in another record
	Bad
)

// String returns the answer as operators read it.
func (a Answer) String() string {
	return [...]string{"absent", "good", "good with its chunks", "elsewhere", "bad"}[min(a, Bad)]
}

// Finding is what is wrong with one record.
type Finding struct {
	Offset int64
	ID     string
	Text   string
}

// Report is what was found in a file.
type Report struct {
	Records  int64
	Types    map[Type]int64 // those of names that are not the standard's as ""
	Block    map[Answer]int64
	Payload  map[Answer]int64
	Whole    int64 // the offset up to which the file is whole
	Gzip     bool
	Damage   *Damage // why it can't be read behind Whole; nil if it was read to its end
	Findings []Finding
	Unsaid   int // findings beyond MaxFindings
}

// Good reports whether all was read, and nothing is wrong.
func (r *Report) Good() bool { return r.Damage == nil && len(r.Findings) == 0 }

// Verify reads a whole WARC file, recomputes each digest whose algorithm it knows (MD5, SHA-1, SHA-256, SHA-512),
// and looks for the fields that every record must have. What is wrong with the file stands in the report; an
// error is one of reading it.
func Verify(r io.Reader) (Report, error) {
	rep := Report{Types: map[Type]int64{}, Block: map[Answer]int64{}, Payload: map[Answer]int64{}}
	in := NewReader(r, 0)
	v := newVerifier()
	for {
		e, err := in.Next()
		if err == nil {
			err = v.record(&rep, e)
		}
		rep.Whole, rep.Gzip = in.Whole(), in.Gzip()
		switch {
		case errors.Is(err, io.EOF):
			return rep, nil
		case errors.As(err, &rep.Damage):
			return rep, nil
		case err != nil:
			return rep, err
		}
	}
}

func (r *Report) find(e *Entry, format string, args ...any) {
	if len(r.Findings) == MaxFindings {
		r.Unsaid++
		return
	}
	id := e.ID[:min(len(e.ID), 200)]
	r.Findings = append(r.Findings, Finding{Offset: e.Offset, ID: id, Text: fmt.Sprintf(format, args...)})
}

// record verifies one, and counts it if it is whole.
func (v *verifier) record(rep *Report, e *Entry) error {
	block, payload, err := v.check(e)
	if err != nil {
		return err
	}
	rep.Records++
	rep.Block[block]++
	rep.Payload[payload]++
	kind := e.Type
	if !knownType(kind) && kind != "conversion" && kind != "continuation" {
		kind = ""
	}
	rep.Types[kind]++
	for _, name := range []string{fieldType, fieldID, fieldDate} {
		if e.Fields.Get(name) == "" {
			rep.find(e, "it has no %s", name)
		}
	}
	if date := e.Fields.Get(fieldDate); date != "" {
		if _, err := ParseDate(date); err != nil {
			rep.find(e, "%v", err)
		}
	}
	if block == Bad {
		rep.find(e, "its block is not that of its digest")
	}
	if payload == Bad {
		rep.find(e, "its payload is not that of its digest")
	}
	return nil
}

// verifier keeps what is needed for each record.
type verifier struct {
	buf     []byte
	message *bufio.Reader
	body    *bufio.Reader
}

func newVerifier() *verifier {
	return &verifier{buf: make([]byte, bufferSize), message: bufio.NewReaderSize(nil, messageBuffer),
		body: bufio.NewReaderSize(nil, messageBuffer)}
}

// sum is one that a record says, and the bytes that make it.
type sum struct {
	want Digest
	hash hash.Hash
}

// sums are those of a field of the standard and of its neighbour of ours.
type sums []sum

// digestsOf collects what can be recomputed. One that is no digest at all can't be right, nor can one of several,
// as no field of theirs may be repeated (5.1): a file could make work without end by that.
func digestsOf(f Fields, names ...string) (s sums, wrong bool) {
	for _, name := range names {
		texts := f.All(name)
		if len(texts) == 0 {
			continue
		}
		d, err := ParseDigest(texts[0])
		if err != nil || len(texts) > 1 {
			wrong = true
		} else if create, ok := algorithms[d.Algorithm()]; ok {
			s = append(s, sum{d, create()})
		}
	}
	return s, wrong
}

func (s sums) Write(p []byte) (int, error) {
	for _, one := range s {
		one.hash.Write(p)
	}
	return len(p), nil
}

// again are the same sums of other bytes.
func (s sums) again() sums {
	var fresh sums
	for _, one := range s {
		fresh = append(fresh, sum{one.want, algorithms[one.want.Algorithm()]()})
	}
	return fresh
}

func (s sums) right() bool {
	for _, one := range s {
		if digest(one.want.Algorithm(), one.hash.Sum(nil)) != one.want {
			return false
		}
	}
	return true
}

func (s sums) answer(wrong bool) Answer {
	switch {
	case wrong || !s.right():
		return Bad
	case len(s) == 0:
		return Absent
	}
	return Good
}

// check reads a record to its end and says what its digests say.
func (v *verifier) check(e *Entry) (block, payload Answer, err error) {
	blocks, wrongBlock := digestsOf(e.Fields, fieldBlockDigest, fieldBlockSHA256)
	payloads, wrongPayload := digestsOf(e.Fields, fieldPayloadDigest, fieldPayloadSHA256)
	content := io.TeeReader(e, blocks)
	switch {
	case e.Type == Revisit || e.Fields.Get("WARC-Segment-Number") != "":
		// The payload lies in another record, or in several.
		payload = payloads.answer(wrongPayload)
		if payload == Bad && !wrongPayload {
			payload = Elsewhere
		}
	case len(payloads) == 0:
		payload = payloads.answer(wrongPayload)
	case isHTTP(e.Fields.Get(fieldContentType)):
		payload, err = v.httpPayload(content, payloads)
	default: // the payload is the block
		_, err = io.CopyBuffer(payloads, content, v.buf)
		payload = payloads.answer(wrongPayload)
	}
	if err == nil {
		_, err = io.CopyBuffer(io.Discard, content, v.buf)
	}
	if err == nil {
		_, err = e.End()
	}
	if wrongPayload {
		payload = Bad
	}
	return blocks.answer(wrongBlock), payload, err
}

// httpPayload says what the digests say of the payload of an HTTP message.
func (v *verifier) httpPayload(content io.Reader, payloads sums) (Answer, error) {
	v.message.Reset(content)
	m, err := splitHTTP(v.message)
	switch {
	case fault.Is(err, fault.Invalid):
		return Bad, nil // there is no payload, and so none that could have a digest
	case err != nil:
		return Absent, err
	case !m.Chunked():
		_, err := io.CopyBuffer(payloads, m.Body(), v.buf)
		return payloads.answer(false), err
	}
	framed := payloads.again()
	v.body.Reset(io.TeeReader(m.Body(), framed))
	if _, err := io.CopyBuffer(payloads, &chunks{r: v.body}, v.buf); err != nil {
		return Absent, err
	}
	if _, err := io.CopyBuffer(io.Discard, v.body, v.buf); err != nil {
		return Absent, err
	}
	switch {
	case payloads.right():
		return Good, nil
	case framed.right():
		return Framed, nil
	}
	return Bad, nil
}
