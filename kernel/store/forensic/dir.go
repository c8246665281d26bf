package forensic

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// class is what a file's name says it is.
type class int

const (
	classOther class = iota
	classWAL
	classTable
	classBlob
	classManifest
	classOptions
	classMarker
	classTemp
)

// classify reads a file name as Pebble does.
func classify(name string) (class, uint64) {
	if num, _, ok := wal.ParseLogFilename(name); ok {
		return classWAL, uint64(num)
	}
	for prefix, c := range map[string]class{"MANIFEST-": classManifest, "OPTIONS-": classOptions} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if num, err := strconv.ParseUint(rest, 10, 64); err == nil {
				return c, num
			}
			return classOther, 0
		}
	}
	if strings.HasPrefix(name, "marker.") {
		return classMarker, 0
	}
	if strings.HasSuffix(name, ".dbtmp") {
		return classTemp, 0
	}
	stem, ext, _ := strings.Cut(name, ".")
	num, err := strconv.ParseUint(stem, 10, 64)
	switch {
	case err != nil:
		return classOther, 0
	case ext == "sst":
		return classTable, num
	case ext == "blob":
		return classBlob, num
	}
	return classOther, 0
}

// listing is the directory by class and number.
type listing struct {
	files   map[class]map[uint64]string
	markers []string
}

func list(fs vfs.FS, dir string) (listing, error) {
	l := listing{files: map[class]map[uint64]string{}}
	for c := classOther; c <= classTemp; c++ {
		l.files[c] = map[uint64]string{}
	}
	names, err := fs.List(dir)
	if err != nil {
		return l, fmt.Errorf("list %s: %w", dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		c, num := classify(name)
		if c == classMarker {
			l.markers = append(l.markers, name)
			continue
		}
		l.files[c][num] = name
	}
	return l, nil
}

// nums gives the file numbers of one class in order.
func (l listing) nums(c class) []uint64 {
	var nums []uint64
	for num := range l.files[c] {
		nums = append(nums, num)
	}
	slices.Sort(nums)
	return nums
}

// readFile reads a whole file (logs are as large as a memtable or two). What the disk can't read is
// left zero, so that the rest can be: bad counts those bytes.
func readFile(fs vfs.FS, path string) (data []byte, bad int64, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("stat %s: %w", path, err)
	}
	data = make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err == nil || err == io.ErrUnexpectedEOF || err == io.EOF {
		return data[:n], 0, nil
	}
	return data, readPages(f, data), nil
}

// readPages reads what it can of a file's beginning, page by page, and counts the bytes that it can't.
func readPages(f vfs.File, data []byte) (bad int64) {
	const page = 4096
	for off := 0; off < len(data); off += page {
		part := data[off:min(off+page, len(data))]
		if n, err := f.ReadAt(part, int64(off)); n < len(part) && err != io.EOF {
			clear(part)
			bad += int64(len(part))
		}
	}
	return bad
}

// marker is a Pebble marker file: its name carries its value, the highest iteration counts.
type marker struct {
	file  string
	iter  uint64
	value string
	seen  int
}

// readMarkers finds the current marker of each name. A marker that can't be parsed is an error in
// Pebble too, which then opens nothing.
func readMarkers(names []string) (map[string]marker, []Finding) {
	found, markers := []Finding(nil), map[string]marker{}
	for _, file := range names {
		parts := strings.SplitN(file, ".", 4)
		var iter uint64
		err := strconv.ErrSyntax
		if len(parts) == 4 {
			iter, err = strconv.ParseUint(parts[2], 10, 64)
		}
		if err != nil {
			found = append(found, Finding{File: file, Kind: Damage, Why: "a marker's name is no marker"})
			continue
		}
		m := markers[parts[1]]
		if m.seen == 0 || m.iter < iter {
			m.file, m.iter, m.value = file, iter, parts[3]
		}
		m.seen++
		markers[parts[1]] = m
		if parts[1] != "manifest" && parts[1] != "format-version" {
			found = append(found, Finding{File: file, Kind: Unexpected, Why: "a marker of no known name"})
		}
	}
	return markers, found
}

// checkOptions reads the newest OPTIONS file as Pebble will: one that it would refuse keeps the
// whole store from opening, although nothing in it is needed to read the data.
func checkOptions(fs vfs.FS, dir string, l listing) []Finding {
	nums := l.nums(classOptions)
	if len(nums) == 0 {
		return nil
	}
	name := l.files[classOptions][nums[len(nums)-1]]
	text, _, err := readFile(fs, fs.PathJoin(dir, name))
	if err != nil {
		return []Finding{{File: name, Kind: Damage, Why: err.Error()}}
	}
	var opts pebble.Options
	opts.EnsureDefaults()
	if err := opts.CheckCompatibility(dir, string(text)); err != nil {
		return []Finding{{File: name, Kind: Damage, End: int64(len(text)),
			Why: fmt.Sprintf("Pebble would refuse it (%v); the data does not need it", err)}}
	}
	return nil
}
