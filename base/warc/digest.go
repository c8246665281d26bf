package warc

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/hex"
	"hash"
	"strings"

	"holdfast/base/fault"
)

// Digest is a labelled digest (5.8) in the form that is recommended for its algorithm: sha1 in upper-case Base32
// as everyone has it, all others in lower-case Base16. So two digests of one algorithm are equal if they are the
// same string. "" is none.
type Digest string

// algorithms are those that can be recomputed, by label.
var algorithms = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New,
}

// labels that are written for others (warc-specifications#80).
var labels = map[string]string{
	"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512",
}

// ParseDigest reads a labelled digest in any of the forms in use: either case of label and value, Base16 or
// Base32, with padding or without. A digest by an algorithm that is not known here stays as it is. An error is
// Invalid.
func ParseDigest(s string) (Digest, error) {
	label, value, ok := strings.Cut(strings.TrimSpace(s), ":")
	label = strings.ToLower(label)
	if known, is := labels[label]; is {
		label = known
	}
	if !ok || label == "" || value == "" {
		return "", fault.New(fault.Invalid, "%.80q is no labelled digest (algorithm:value)", s)
	}
	create, known := algorithms[label]
	if !known {
		return Digest(label + ":" + value), nil
	}
	sum := decodeSum(value, create().Size())
	if sum == nil {
		return "", fault.New(fault.Invalid, "%.160q is no digest by %s", s, label)
	}
	return digest(label, sum), nil
}

// decodeSum returns the bytes of a sum of size bytes in Base16 or Base32, nil if it is neither. Only for MD5 have
// both the same length; its Base32 ends with padding.
func decodeSum(value string, size int) []byte {
	if len(value) == 2*size && !strings.HasSuffix(value, "=") {
		if sum, err := hex.DecodeString(value); err == nil {
			return sum
		}
	}
	value = strings.ToUpper(strings.TrimRight(value, "="))
	sum, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(value)
	if err != nil || len(sum) != size {
		return nil
	}
	return sum
}

func digest(label string, sum []byte) Digest {
	var b [160]byte
	text := append(b[:0], label...)
	text = append(text, ':')
	if label == "sha1" {
		return Digest(base32.StdEncoding.AppendEncode(text, sum))
	}
	return Digest(hex.AppendEncode(text, sum))
}

// Algorithm returns the label of the digest.
func (d Digest) Algorithm() string {
	label, _, _ := strings.Cut(string(d), ":")
	return label
}

// Value returns the digest without its label.
func (d Digest) Value() string {
	_, value, _ := strings.Cut(string(d), ":")
	return value
}

// Digests are those of one run of bytes. Either may be "".
type Digests struct{ SHA1, SHA256 Digest }

// Hasher computes digests of what is written to it: while a page is fetched, say.
type Hasher struct {
	sha1, sha256 hash.Hash // sha256 may be nil
	sum          [sha256.Size]byte
}

// NewHasher returns a Hasher for SHA-1, and for SHA-256 if that is wanted too.
func NewHasher(withSHA256 bool) *Hasher {
	h := &Hasher{sha1: sha1.New()}
	if withSHA256 {
		h.sha256 = sha256.New()
	}
	return h
}

// Write never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.sha1.Write(p)
	if h.sha256 != nil {
		h.sha256.Write(p)
	}
	return len(p), nil
}

// Digests returns the digests of all that was written since the last Reset.
func (h *Hasher) Digests() Digests {
	d := Digests{SHA1: digest("sha1", h.sha1.Sum(h.sum[:0]))}
	if h.sha256 != nil {
		d.SHA256 = digest("sha256", h.sha256.Sum(h.sum[:0]))
	}
	return d
}

// Reset makes it as new.
func (h *Hasher) Reset() {
	h.sha1.Reset()
	if h.sha256 != nil {
		h.sha256.Reset()
	}
}
