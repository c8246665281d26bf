package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// manifestFormat is the number of the manifest's format; a checkpoint with a higher one is refused.
const manifestFormat = 1

// Manifest says what a checkpoint is.
type Manifest struct {
	Format  int       `json:"format"`
	Name    string    `json:"name"`
	Serial  uint64    `json:"serial"` // grows with each checkpoint of a store; no clock is asked
	Pinned  bool      `json:"pinned"` // retention passes it over
	Created time.Time `json:"created"`
	// Snapshot is how long the copy took, up to the writing of this manifest.
	Snapshot time.Duration `json:"snapshot_ns"`
	// Parent is the checkpoint before it in the same lineage, else the one the store was restored
	// from.
	Parent  string `json:"parent,omitempty"`
	Lineage string `json:"lineage"`
	// Commit is the last commit that was durable when the checkpoint was asked for.
	Commit uint64 `json:"commit"`
	// Facts are what people are told of the moment.
	Facts       map[string]int64 `json:"facts,omitempty"`
	StoreFormat int              `json:"store_format"`
	Config      string           `json:"config,omitempty"`
	Outside     []Outside        `json:"outside,omitempty"`
	Files       []File           `json:"files"`
}

// File is one file of a checkpoint, by its path with slashes below the checkpoint's directory. A
// table that nobody has read yet has no checksum here; sums.json has it once the checkpoint is
// sealed.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	Sum  string `json:"sum,omitempty"`
}

func (f File) table() bool { return store.IsTable(f.Path) }

func byPath(a, b File) int { return cmp.Compare(a.Path, b.Path) }

// Bytes is the size of all files of the checkpoint. Those it shares with the live store take no
// room of their own until the live store drops them.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// late holds the checksums that were not known when the manifest was written.
type late struct {
	Format   int               `json:"format"`
	Manifest string            `json:"manifest"` // checksum of the manifest it belongs to
	Sums     map[string]string `json:"sums"`     // path -> checksum
}

func (m *Manifest) encode() []byte { return seal("manifest", m) }
func (l *late) encode() []byte     { return seal("sums", l) }

// seal writes v as JSON under the key, with a checksum over exactly the bytes of v in front.
func seal(key string, v any) []byte {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err) // plain data can't fail
	}
	return sealed(key, raw)
}

func sealed(key string, raw []byte) []byte {
	return fmt.Appendf(nil, "{\"checksum\": %q,\n%q: %s}\n", sumOf(raw), key, raw)
}

// unseal reads what seal wrote into v. Not one bit of data may differ: the content is covered by
// the checksum, and what is around it must be what seal would write.
func unseal(key string, data []byte, v any) error {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return fault.New(fault.Corrupt, "it is not what was written: %w", err)
	}
	if !bytes.Equal(sealed(key, parts[key]), data) {
		return fault.New(fault.Corrupt, "its checksum does not match")
	}
	var version struct{ Format int }
	if err := json.Unmarshal(parts[key], &version); err != nil {
		return fault.New(fault.Corrupt, "it has no format: %w", err)
	}
	if version.Format > manifestFormat {
		err := fault.New(fault.Permanent, "it has format %d, this program knows up to %d",
			version.Format, manifestFormat)
		return fault.WithHint(err, "use the version of holdfast that wrote it, or a newer one")
	}
	if err := json.Unmarshal(parts[key], v); err != nil {
		return fault.New(fault.Corrupt, "it can't be read: %w", err)
	}
	return nil
}

func decodeManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := unseal("manifest", data, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		// The checksum tells of accidents, not of intent: paths from outside must not lead outside.
		inside := f.Path == path.Clean(f.Path) && (f.Path == formatName ||
			strings.HasPrefix(f.Path, dbName+"/") && strings.Count(f.Path, "/") == 1)
		if !inside || f.Size < 0 || seen[f.Path] {
			return Manifest{}, fault.New(fault.Corrupt, "read manifest: it names the file %q",
				f.Path)
		}
		seen[f.Path] = true
	}
	if err := CheckName(m.Name); err != nil {
		return Manifest{}, fault.As(fault.Corrupt, fmt.Errorf("read manifest: %w", err))
	}
	return m, nil
}

// load reads manifest and late checksums of the checkpoint at dir. The manifest's files have all
// checksums that are known; sealed says whether that is all of them. A damaged sums.json is an
// error beside a manifest that is good.
func load(fs store.FS, dir string) (m Manifest, sealed bool, err error) {
	data, err := readFile(fs, fs.PathJoin(dir, manifestName))
	if err != nil {
		return Manifest{}, false, err
	}
	if m, err = decodeManifest(data); err != nil {
		return Manifest{}, false, err
	}
	sums, err := readFile(fs, fs.PathJoin(dir, sumsName))
	if err == nil {
		err = m.complete(sumOf(data), sums)
	} else if notExist(err) {
		err = nil
	}
	sealed = err == nil
	for _, f := range m.Files {
		sealed = sealed && f.Sum != ""
	}
	return m, sealed, err
}

// complete fills in the late checksums.
func (m *Manifest) complete(own string, data []byte) error {
	var l late
	if err := unseal("sums", data, &l); err != nil {
		return fmt.Errorf("read %s: %w", sumsName, err)
	}
	if l.Manifest != own {
		return fault.New(fault.Corrupt, "read %s: it belongs to another manifest", sumsName)
	}
	for i, f := range m.Files {
		if f.Sum == "" {
			m.Files[i].Sum = l.Sums[f.Path]
		}
	}
	return nil
}
