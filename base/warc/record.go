package warc

import (
	"io"
	"net/netip"
	"strings"
	"time"

	"holdfast/base/fault"
)

// Record is a record to be written. Ids are bare URIs (urn:uuid:...); what is zero is left out.
type Record struct {
	Type Type
	ID   string    // mandatory; NewID makes one
	Date time.Time // mandatory: when the capture began, the same in all records of it (5.4)

	TargetURI    string     // mandatory but in warcinfo, which must not have it, and metadata, which may (5.14)
	IP           netip.Addr // the address that was spoken to
	ConcurrentTo []string   // ids of other records of the same capture
	WarcinfoID   string
	Truncated    string // why the block is not complete
	Filename     string // of a warcinfo only

	// Of a revisit; RefersTo also of metadata.
	Profile      string // IdenticalDigest or NotModified, or another URI
	RefersTo     string // id
	RefersToURI  string
	RefersToDate time.Time

	ContentType string // of the block; "" is the usual one of the type, mandatory for a resource
	// IdentifiedType is what an inspection of the payload found, not what the server says (5.19).
	IdentifiedType string

	// Block and Payload are digests that are known already, Hasher's. If Block.SHA1 is one of them, all are taken as
	// they are; else what is missing is computed, for which Content must be an io.Seeker. The payload of a revisit
	// lies elsewhere: its digest is never computed, and mandatory for IdenticalDigest. A request without a body,
	// warcinfo and metadata have no payload (4).
	Block, Payload Digests

	// Extra are further fields of any name but those above.
	Extra Fields

	// Content is the block, of which Length bytes are read. It may be nil if Length is 0.
	Content io.Reader
	Length  int64
}

// contentType is the type of the block.
func (r *Record) contentType() string {
	switch {
	case r.ContentType != "":
		return r.ContentType
	case r.Type == Response || r.Type == Revisit:
		return HTTPResponse
	case r.Type == Request:
		return HTTPRequest
	case r.Type == Warcinfo || r.Type == Metadata:
		return WARCFields
	}
	return ""
}

// truncated is why the block is not complete. A revisit that leaves its payload away says length (6.7.2).
func (r *Record) truncated() string {
	if r.Truncated == "" && r.Profile == IdenticalDigest && r.Length > 0 {
		return TruncatedLength
	}
	return r.Truncated
}

// hasPayload reports whether the payload lies in the block.
func (r *Record) hasPayload() bool {
	return r.Type == Response || r.Type == Resource || r.Type == Request
}

// validate refuses what the standard forbids, before a byte is written.
func (r *Record) validate() error {
	for _, check := range []func() string{r.checkBasics, r.checkPlaces, r.checkRevisit, r.checkNames} {
		if why := check(); why != "" {
			return fault.New(fault.Invalid, "write a %.20q record of %.200q: %s", r.Type, r.TargetURI, why)
		}
	}
	return nil
}

func (r *Record) checkBasics() string {
	switch {
	case !knownType(r.Type):
		return "its type is none that can be written"
	case !canDate(r.Date):
		return "it has no date, or one outside of the years 0 to 9999"
	case r.Length < 0:
		return "its length is negative"
	case r.Content == nil && r.Length > 0:
		return "it has a length and no content"
	case r.contentType() == "" && r.Length > 0:
		return "it has no content type"
	case r.TargetURI == "" && r.Type != Warcinfo && r.Type != Metadata:
		return "it has no target URI"
	}
	return ""
}

func knownType(t Type) bool {
	switch t {
	case Warcinfo, Response, Resource, Request, Metadata, Revisit:
		return true
	}
	return false
}

// checkPlaces keeps fields out of types that shall not have them (5.7 to 5.19).
func (r *Record) checkPlaces() string {
	info, meta := r.Type == Warcinfo, r.Type == Metadata
	switch {
	case info && (r.TargetURI != "" || r.IP.IsValid() || len(r.ConcurrentTo) > 0 || r.WarcinfoID != ""):
		return "a warcinfo has no target URI, address, concurrent records or warcinfo"
	case !info && r.Filename != "":
		return "only a warcinfo has a file name"
	case r.Type != Revisit && !meta && r.RefersTo != "":
		return "only a revisit and metadata refer to another record"
	case r.Type != Revisit && (r.RefersToURI != "" || !r.RefersToDate.IsZero() || r.Profile != ""):
		return "only a revisit has a profile, and a URI and date that it refers to"
	case (info || meta) && (r.Payload != Digests{} || r.IdentifiedType != ""):
		return "it has no payload that could have a digest or a type"
	}
	return ""
}

func (r *Record) checkRevisit() string {
	switch {
	case r.Type != Revisit:
		return ""
	case r.Profile == "":
		return "a revisit needs a profile"
	case r.Profile == IdenticalDigest && r.Payload.SHA1 == "":
		return "a revisit of identical content needs the SHA-1 of its payload"
	case !r.RefersToDate.IsZero() && !canDate(r.RefersToDate):
		return "the date that it refers to is outside of the years 0 to 9999"
	}
	return ""
}

// checkNames looks at what must be right to the letter: ids, names of fields, digests.
func (r *Record) checkNames() string {
	if !isURI(r.ID) {
		return "its id is no URI"
	}
	for _, id := range r.ConcurrentTo {
		if !isURI(id) {
			return "an id that it names is no URI"
		}
	}
	for _, id := range [...]string{r.WarcinfoID, r.RefersTo, r.Profile} {
		if id != "" && !isURI(id) {
			return "an id or profile that it names is no URI"
		}
	}
	for _, f := range r.Extra {
		if !isToken(f.Name) || ownField(f.Name) {
			return "an extra field has the name of another, or none that a field can have"
		}
	}
	for _, d := range [...]Digests{r.Block, r.Payload} {
		if d.SHA1 != "" && !usualForm(d.SHA1, "sha1:", 32, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") ||
			d.SHA256 != "" && !usualForm(d.SHA256, "sha256:", 64, "0123456789abcdef") {
			return "a digest is none, or not in its usual form"
		}
	}
	return ""
}

// usualForm reports whether a digest is what ParseDigest would give, without making one.
func usualForm(d Digest, label string, size int, alphabet string) bool {
	value, ok := strings.CutPrefix(string(d), label)
	return ok && len(value) == size && strings.Trim(value, alphabet) == ""
}

// isURI reports whether s can stand between < and >: printable ASCII with a scheme.
func isURI(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '<' || s[i] == '>' {
			return false
		}
	}
	return strings.IndexByte(s, ':') > 0
}

// isToken reports whether s is a token, as names of fields are (4).
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// ownFields are those that Record has a place for.
var ownFields = []string{fieldType, fieldID, fieldDate, fieldLength, fieldContentType, fieldTargetURI, fieldIP,
	fieldConcurrentTo, fieldBlockDigest, fieldPayloadDigest, fieldBlockSHA256, fieldPayloadSHA256, fieldTruncated,
	fieldWarcinfoID, fieldFilename, fieldProfile, fieldIdentifiedType, fieldRefersTo, fieldRefersToURI,
	fieldRefersToDate}

func ownField(name string) bool {
	for _, own := range ownFields {
		if strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}
