package warc

import (
	"strconv"
	"unicode/utf8"
)

const version = "WARC/1.1\r\n"

// appendHeader writes the header of a record, with the empty line that ends it.
func appendHeader(b []byte, r *Record) []byte {
	b = append(b, version...)
	b = appendField(b, fieldType, string(r.Type))
	b = appendID(b, fieldID, r.ID)
	b = append(appendDate(append(b, fieldDate+": "...), r.Date), "\r\n"...)
	b = appendURI(b, fieldTargetURI, r.TargetURI)
	if r.IP.IsValid() {
		// A zone belongs to this machine, not to the address; 5.10 wants dotted quads.
		b = append(b, fieldIP+": "...)
		b = append(r.IP.Unmap().WithZone("").AppendTo(b), "\r\n"...)
	}
	for _, id := range r.ConcurrentTo {
		b = appendID(b, fieldConcurrentTo, id)
	}
	b = appendID(b, fieldWarcinfoID, r.WarcinfoID)
	b = appendField(b, fieldFilename, r.Filename)
	b = appendField(b, fieldProfile, r.Profile)
	b = appendID(b, fieldRefersTo, r.RefersTo)
	b = appendURI(b, fieldRefersToURI, r.RefersToURI)
	if !r.RefersToDate.IsZero() {
		b = append(appendDate(append(b, fieldRefersToDate+": "...), r.RefersToDate), "\r\n"...)
	}
	b = appendDigests(b, r)
	b = appendField(b, fieldTruncated, r.truncated())
	b = appendField(b, fieldIdentifiedType, r.IdentifiedType)
	for _, f := range r.Extra {
		b = appendField(b, f.Name, f.Value)
	}
	b = appendField(b, fieldContentType, r.contentType())
	b = append(b, fieldLength+": "...)
	b = strconv.AppendInt(b, r.Length, 10)
	return append(b, "\r\n\r\n"...)
}

func appendDigests(b []byte, r *Record) []byte {
	b = appendField(b, fieldBlockDigest, string(r.Block.SHA1))
	b = appendField(b, fieldPayloadDigest, string(r.Payload.SHA1))
	b = appendField(b, fieldBlockSHA256, string(r.Block.SHA256))
	return appendField(b, fieldPayloadSHA256, string(r.Payload.SHA256))
}

// appendField writes a field unless its value is empty. The value may be a stranger's: a control character, which
// could begin another line, and a byte that is no UTF-8 become %XX, so that no page is lost for its sake.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(b, name...), ": "...)
	for i := 0; i < len(value); {
		c, size := utf8.DecodeRuneInString(value[i:])
		if c < ' ' || c == 0x7f || c == utf8.RuneError && size == 1 {
			b = appendPercent(b, value[i])
		} else {
			b = append(b, value[i:i+size]...)
		}
		i += size
	}
	return append(b, "\r\n"...)
}

// appendURI writes a URI unless it is empty. What RFC 3986 has no place for in any part, and could be taken for
// the end of the value or of the line, becomes %XX: controls, space, quotes, angle brackets, all that is not
// ASCII. The rest stays as it was asked for, since that is what look-ups compare.
func appendURI(b []byte, name, uri string) []byte {
	if uri == "" {
		return b
	}
	b = append(append(b, name...), ": "...)
	for i := range len(uri) {
		switch c := uri[i]; {
		case c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '"':
			b = appendPercent(b, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, "\r\n"...)
}

func appendPercent(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}

// appendID writes an id, which validate has looked at, unless it is empty.
func appendID(b []byte, name, id string) []byte {
	if id == "" {
		return b
	}
	b = append(append(b, name...), ": <"...)
	return append(append(b, id...), ">\r\n"...)
}
