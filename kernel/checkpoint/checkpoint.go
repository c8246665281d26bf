// Package checkpoint goes back: it keeps named copies of a job's store as it was at one moment,
// made without a pause, and makes stores out of them again.
//
// A checkpoint is a directory below the store's own:
//
//	DIR/checkpoints/LOCK            held while one is made or removed
//	DIR/checkpoints/SERIAL          the number of the last one: none comes twice, also when some are removed
//	DIR/checkpoints/NAME/
//	    manifest.json               what the checkpoint is: written last, with its own checksum
//	    sums.json                   checksums of tables that had none yet, by Seal
//	    FORMAT                      as in the store
//	    db/                         Pebble's files: tables as hard links, all else copied
//	DIR/checkpoints/.new-NAME/      one that is being made, or that a crash left: swept
//	DIR/checkpoints/.old-NAME/      one that is being removed: swept
//	DIR/tables.sum                  checksums of the store's tables, see store.TableSums
//	DIR/.restore/                   a Replace that is under way, see there
//	DIR/quarantine/                 stores that a Replace put aside
//
// The promises. A checkpoint is whole or it is not one: its directory gets its name by a rename,
// after everything in it is synced. All that was durable when Create was called is in it. One that
// fails changes nothing, is removed and says why. Verify finds one flipped bit in any of its files,
// a cut file, a missing one and an extra one. Nothing here ever opens a checkpoint's files for
// writing, so it can be restored any number of times, to the same state each time.
//
// What it does not do: hard links share their bytes with the live store, so damage to a table on
// the disk damages the checkpoint and the store alike. A checkpoint is for going back; Export makes
// a verified copy with bytes of its own, which is a backup. Files outside the store are recorded by
// name and offset, never copied. The configuration is kept as text with its ${VARIABLES} in place.
//
// Create needs the open store. All the rest works on paths, whether an engine runs or not; Replace
// needs the store to be closed, and Recover must be called before a store is opened that a crash
// may have caught in a Replace. Engine and commands call it; docs/formats.md has the bytes.
package checkpoint

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Options say how a checkpoint is made. The zero value makes one that retention may remove.
type Options struct {
	// Name is the checkpoint's name; empty is its time in UTC. One with a name is pinned: retention
	// passes it over.
	Name string
	// Config is the configuration of the job as it is written, ${VARIABLES} unexpanded.
	Config string
	// Outside is called once the store's snapshot stands, and names the files outside the store
	// with the offset up to which they belong to it. Their bytes were synced before the offsets in
	// the snapshot were committed, so each offset found now is at least as high as the snapshot
	// needs.
	Outside func() ([]Outside, error)
	// Numbered gives the name of one that has none, in the place of its time.
	Numbered func(serial uint64, at time.Time) string
	// Before is called when the name is known, before the snapshot: what it has made durable in the store is in the checkpoint.
	Before func(name string) error
	// Facts are called behind Before: what people are told of the moment.
	Facts func() (map[string]int64, error)
}

// Outside is a file that belongs to the job and not to its store.
type Outside struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
}

// Checkpoint is a checkpoint as List found it or Create made it.
type Checkpoint struct {
	Manifest
	Path string // its directory
	// Sealed is false while tables lack a checksum of their own.
	Sealed bool
	// Took is how long Create needed from the request until the manifest was durable.
	Took time.Duration
	// Err is why the checkpoint can't be used; the manifest is then empty but for the name.
	Err error
}

const (
	dirName      = "checkpoints"
	newPrefix    = ".new-"
	oldPrefix    = ".old-"
	dbName       = "db"
	formatName   = "FORMAT"
	manifestName = "manifest.json"
	sumsName     = "sums.json"
	lockName     = "LOCK"
	serialName   = "SERIAL"
	timeName     = "20060102T150405Z"
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Path is the directory of the checkpoint with the name in the store directory dir.
func Path(dir, name string) string { return dir + "/" + dirName + "/" + name }

// CheckName says what is wrong with a name for a checkpoint. One that is good names nothing but a directory among the
// checkpoints.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fault.New(fault.Invalid,
			"checkpoint name %q: want up to 100 letters, digits, dots, dashes and underscores, "+
				"beginning with a letter or digit", name)
	}
	return nil
}

// Create makes a checkpoint of the store, without a pause for those who write to it. All that was
// durable when it was called is in it. It returns when the checkpoint is durable, before tables
// that are new since the last checkpoint have checksums: call Seal behind it.
//
// One Create or Remove runs at a time in a store directory; another is refused with a Busy fault.
func Create(ctx context.Context, st *store.Store, o Options) (Checkpoint, error) {
	begin := time.Now()
	c, err := create(ctx, st, o, begin)
	if err != nil {
		name := o.Name
		if name != "" {
			name = " " + name
		}
		return Checkpoint{}, told(fmt.Errorf("create checkpoint%s of %s: %w", name, st.Dir(), err))
	}
	c.Took = time.Since(begin)
	return c, nil
}

func create(ctx context.Context, st *store.Store, o Options, begin time.Time) (Checkpoint, error) {
	if o.Name != "" {
		if err := CheckName(o.Name); err != nil {
			return Checkpoint{}, err
		}
	}
	fs, root := st.FS(), st.FS().PathJoin(st.Dir(), dirName)
	if err := makeDir(fs, root); err != nil {
		return Checkpoint{}, err
	}
	lock, err := acquire(fs, fs.PathJoin(root, lockName))
	if err != nil {
		return Checkpoint{}, err
	}
	defer lock.Close()
	if err := sweep(fs, root); err != nil {
		return Checkpoint{}, err
	}
	m := Manifest{Format: manifestFormat, Name: o.Name, Pinned: o.Name != "", Created: begin.UTC(),
		Lineage: st.Lineage().String(), StoreFormat: store.Format, Config: o.Config}
	if err := m.follow(fs, root, st, o); err != nil {
		return Checkpoint{}, err
	}
	if o.Before != nil {
		if err := o.Before(m.Name); err != nil {
			return Checkpoint{}, err
		}
	}
	if o.Facts != nil {
		if m.Facts, err = o.Facts(); err != nil {
			return Checkpoint{}, err
		}
	}
	tmp := fs.PathJoin(root, newPrefix+m.Name)
	c, err := fill(ctx, st, o, &m, tmp)
	if err == nil {
		c.Path = fs.PathJoin(root, m.Name)
		err = publish(fs, tmp, c.Path)
	}
	if err != nil {
		return Checkpoint{}, undo(fs, tmp, err)
	}
	return c, nil
}

// follow gives the manifest its place behind the checkpoints that are there: serial, parent, and a
// name by time that none of them has.
func (m *Manifest) follow(fs store.FS, root string, st *store.Store, o Options) error {
	all, err := list(fs, root)
	if err != nil {
		return err
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(all, func(c Checkpoint) bool { return c.Name == name })
	}
	if m.Name != "" && taken(m.Name) {
		return fault.New(fault.Conflict, "there is one of that name")
	}
	for _, c := range all {
		m.Serial = max(m.Serial, c.Serial)
		if c.Lineage == m.Lineage {
			m.Parent = c.Name
		}
	}
	last, err := readSerial(fs, root)
	if err != nil {
		return err
	}
	m.Serial = max(m.Serial, last) + 1
	if err := writeSerial(fs, root, m.Serial); err != nil {
		return err
	}
	base := m.Created.Format(timeName)
	if o.Numbered != nil {
		base = o.Numbered(m.Serial, m.Created)
	}
	name := base
	for i := 2; m.Name == ""; i++ {
		if !taken(name) {
			m.Name = name
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
	if m.Parent != "" {
		return nil
	}
	return st.Latest(func(r store.Reader) error {
		o, ok, err := Restored(r)
		if ok {
			m.Parent = o.Name
		}
		return err
	})
}

// readSerial is the number of the last checkpoint that was begun, 0 if that was never written down.
func readSerial(fs store.FS, root string) (uint64, error) {
	b, err := readFile(fs, fs.PathJoin(root, serialName))
	if notExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil { // damaged by a crash or a person: the checkpoints that are there tell the number too
		return 0, nil
	}
	return n, nil
}

func writeSerial(fs store.FS, root string, n uint64) error {
	return replaceFile(fs, fs.PathJoin(root, serialName), fmt.Appendf(nil, "%d\n", n))
}

// fill builds the checkpoint in tmp and makes it durable there.
func fill(ctx context.Context, st *store.Store, o Options, m *Manifest, tmp string) (Checkpoint,
	error) {
	fs := st.FS()
	snap, err := st.Snapshot(fs.PathJoin(tmp, dbName))
	if err != nil {
		return Checkpoint{}, err
	}
	m.Commit = snap.Commit
	if o.Outside != nil {
		if m.Outside, err = o.Outside(); err != nil {
			return Checkpoint{}, fmt.Errorf("record files outside the store: %w", err)
		}
	}
	format := []byte(store.FormatText(store.Format))
	m.Files = append(m.Files, File{Path: formatName, Size: int64(len(format)), Sum: sumOf(format)})
	sealed := true
	for _, f := range snap.Files {
		if err := ctx.Err(); err != nil {
			return Checkpoint{}, err
		}
		if f.Sum == "" && !f.Table {
			if f.Sum, _, err = sumFile(ctx, fs, fs.PathJoin(tmp, dbName, f.Name), nil); err != nil {
				return Checkpoint{}, err
			}
		}
		sealed = sealed && f.Sum != ""
		m.Files = append(m.Files, File{Path: dbName + "/" + f.Name, Size: f.Size, Sum: f.Sum})
	}
	slices.SortFunc(m.Files, byPath)
	m.Snapshot = time.Since(m.Created)
	// Until the rename gives the directory its name nobody looks into it, so the last syncs may run
	// together.
	err = writeAll(fs, tmp, []named{{formatName, format}, {manifestName, m.encode()}})
	return Checkpoint{Manifest: *m, Sealed: sealed}, err
}
