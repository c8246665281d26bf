// Package warc writes, reads and verifies WARC/1.1 files, the archive format of the web: ISO 28500:2017, whose
// clauses the comments name (https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1-annotated/,
// which adds what the community recommends).
//
// A Writer appends each record as one gzip member (Annex D.2) and says where it lies; what comes from the network
// can't break a header line. A Reader goes over a file of any size, plain or gzip, record by record; every error
// says at which offset, and up to which offset the file is whole, on which the repair after a crash stands. Verify
// recomputes the digests of a whole file. SplitHTTP takes an HTTP message apart into head, body and payload.
//
// None needs more memory for a larger file or record: a header is at most MaxHeader bytes, and content is a
// stream. None believes a length that it reads. What it does not do: name, roll, sync or repair files, segment
// records (7), or read more than one record from a gzip member.
//
// Called by the job crawl and by base/cdxj.
package warc

import (
	"strings"

	"github.com/google/uuid"
)

// MaxHeader bounds the header of a record, and the head of an HTTP message within one, in bytes.
const MaxHeader = 1 << 20

// Type is the kind of a record (5.5).
type Type string

// The types that a Writer writes. A Reader gives those of any other name too (6.1).
const (
	Warcinfo Type = "warcinfo" // describes the records behind it (6.2)
	Response Type = "response" // what a server answered, with its head (6.3)
	Resource Type = "resource" // a thing without a protocol's words: a look-up in the DNS (6.4)
	Request  Type = "request"  // what was asked (6.5)
	Metadata Type = "metadata" // what else is known of another record (6.6)
	Revisit  Type = "revisit"  // what was seen before, told and not kept again (6.7)
)

// The profiles of a revisit (6.7.2, 6.7.3).
const (
	IdenticalDigest = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
	NotModified     = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
)

// Why a block is not complete (5.15).
const (
	TruncatedLength      = "length"     // it was longer than a limit
	TruncatedTime        = "time"       // it took longer than a limit
	TruncatedDisconnect  = "disconnect" // the network ended it
	TruncatedUnspecified = "unspecified"
)

// Content types of blocks.
const (
	HTTPResponse = "application/http; msgtype=response"
	HTTPRequest  = "application/http; msgtype=request"
	WARCFields   = "application/warc-fields"
	DNS          = "text/dns"
)

// The named fields (5). Those of SHA-256 are ours: see docs/decisions/0039.
const (
	fieldType           = "WARC-Type"
	fieldID             = "WARC-Record-ID"
	fieldDate           = "WARC-Date"
	fieldLength         = "Content-Length"
	fieldContentType    = "Content-Type"
	fieldTargetURI      = "WARC-Target-URI"
	fieldIP             = "WARC-IP-Address"
	fieldConcurrentTo   = "WARC-Concurrent-To"
	fieldBlockDigest    = "WARC-Block-Digest"
	fieldPayloadDigest  = "WARC-Payload-Digest"
	fieldBlockSHA256    = "Holdfast-Block-Digest"
	fieldPayloadSHA256  = "Holdfast-Payload-Digest"
	fieldTruncated      = "WARC-Truncated"
	fieldWarcinfoID     = "WARC-Warcinfo-ID"
	fieldFilename       = "WARC-Filename"
	fieldProfile        = "WARC-Profile"
	fieldIdentifiedType = "WARC-Identified-Payload-Type"
	fieldRefersTo       = "WARC-Refers-To"
	fieldRefersToURI    = "WARC-Refers-To-Target-URI"
	fieldRefersToDate   = "WARC-Refers-To-Date"
)

// Field is a named field of a header: of a record, or of an HTTP message.
type Field struct{ Name, Value string }

// Fields are in the order of the header.
type Fields []Field

// Get returns the value of the first field of a name, "" without one. Upper and lower case are the same (4).
func (f Fields) Get(name string) string {
	v, _ := f.find(name)
	return v
}

// All returns the values of every field of a name, in order.
func (f Fields) All(name string) []string {
	var all []string
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			all = append(all, field.Value)
		}
	}
	return all
}

func (f Fields) find(name string) (string, bool) {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return field.Value, true
		}
	}
	return "", false
}

// NewID returns a new random record id: urn:uuid:...
func NewID() string { return "urn:uuid:" + uuid.NewString() }
