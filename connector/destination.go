package connector

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"holdfast/base/fault"
)

// DestinationTraits says what a destination can do.
type DestinationTraits struct {
	// Root is where its files stand, as people write it: goto@gateway:/export/raw, /mnt/archive, s3://bucket/raw.
	Root string
	// Path is what the paths of its files begin with: /export/raw, s3://bucket/raw. "" as long as it is not known, which it is
	// once any method has ended well.
	Path string
	// Resumes: a file whose transfer was cut off goes on where it was, as far as what is there is the same.
	Resumes bool
	// Mounted: it is on a disk that may be there or not, and its root may be there without it. A destination that was Mounted and
	// is no more is one that is away.
	Mounted bool
	// Streams is how many files may be under way at once with profit, at least 1.
	Streams int
}

// Content is the bytes of a file that goes out. They do not change while it does.
type Content struct {
	io.ReaderAt
	Size    int64
	ModTime time.Time
	SHA256  [sha256.Size]byte
}

// Verified is how it was made sure that a file is there as it was sent, from the strongest to the weakest.
type Verified string

// The ways to verify a file at its destination.
const (
	ByRemoteHash Verified = "remote-hash" // the destination computed the hash of what it has
	ByReadBack   Verified = "read-back"   // it was read back, and its hash computed here
	BySize       Verified = "size"        // it has as many bytes
)

// Placed says what became of a file.
type Placed struct {
	Path     string   // of the file at its destination, absolute there
	Verified Verified // how
	Already  bool     // it was there, with the same bytes, before
	Sent     int64    // bytes that travelled; fewer than its size if it was resumed
}

// Found is a file at a destination.
type Found struct {
	Name    string // below the root
	Size    int64
	ModTime time.Time
}

// Destination is where files go. Names are relative to its root, with slashes; no element of one is empty, . or .. .
// Its methods may be called by several goroutines at once, but never two for the same name.
//
// A file has its final name only when it is whole, durable where the destination can say so, and verified. What is under
// way has another name, in the same directory, that begins with a dot and ends in .part.
type Destination interface {
	Traits() DestinationTraits
	// Place puts a file at its name, and makes the directories above it. If a file with the same bytes has the name it is
	// a success, and is made durable; one with other bytes is a Conflict, and is not touched. Where sizes only may be compared,
	// it has to have the same time too. Place may be called again after any error or
	// crash, and finds what is there. progress, which may be nil, is told of bytes as they are taken.
	Place(ctx context.Context, name string, c Content, progress func(bytes int64)) (Placed, error)
	// Copy is Place for a file whose bytes are at another name already. It is a NotFound if from is not there, or is
	// something else, or nobody can tell.
	Copy(ctx context.Context, from, name string, c Content) (Placed, error)
	// Sums returns the SHA-256 of files; one that is not there is missing in the answer.
	Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, Verified, error)
	// Read writes the bytes of a file to a writer. It is a NotFound if it is not there.
	Read(ctx context.Context, name string, to io.Writer) error
	// List gives all files below a directory, "" for the root, in no order, but those under way.
	List(ctx context.Context, dir string, each func(Found) error) error
	// Sweep removes what is under way and was left so for longer than that, and returns the names. Nothing else is
	// ever removed. The first one looks everywhere, and the next ones may look only where something may have been left since.
	Sweep(ctx context.Context, older time.Duration) (removed []string, err error)
	// Probe is the canary of its gate: it finds out whether Place would work.
	Probe(ctx context.Context) error
	Close() error
}

// PartSuffix ends the name of what is under way.
const PartSuffix = ".part"

// mostName is how many bytes an element of a name may have on the file systems there are.
const mostName = 255

// PartName is the name of a file while it is under way: in the same directory, and never the one of another file.
func PartName(name string) string {
	dir, base := path.Split(name)
	if len(base) > mostName-len(".")-len(PartSuffix) {
		sum := sha256.Sum256([]byte(base))
		base = fmt.Sprintf("%s-%x", strings.ToValidUTF8(base[:200], ""), sum[:8])
	}
	return dir + "." + base + PartSuffix
}

// UnderWay reports whether a name is one that PartName makes.
func UnderWay(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, ".") && strings.HasSuffix(base, PartSuffix)
}

// CheckName refuses names that would lead out of the root, or that are those of what is under way.
func CheckName(name string) error {
	switch {
	case !fs.ValidPath(strings.ToValidUTF8(name, "?")) || name == "." || strings.Contains(name, "\x00"):
		return fault.New(fault.Invalid, "name %.100q: want a path below the root, without empty elements, . and ..", name)
	case UnderWay(name):
		return fault.New(fault.Invalid, "name %.100q: it is one of files that are under way", name)
	}
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > mostName {
			return fault.New(fault.Invalid, "name %.100q: an element has %d bytes, want %d at most", name, len(element), mostName)
		}
	}
	return nil
}
