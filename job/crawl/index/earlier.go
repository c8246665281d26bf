package index

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
)

// mostEarlier is how many files are searched for each capture.
const mostEarlier = 100

// Earlier finds captures in the indexes of earlier crawls, of which it reads some kilobytes for each question. It may be used by
// several goroutines at once.
type Earlier struct{ all []earlierFile }

type earlierFile struct {
	f     *os.File
	lines *cdxj.File
}

// Capture is where a payload was kept first.
type Capture struct {
	URL  string
	Time time.Time // to the second
}

// OpenEarlier opens sorted CDXJ files, as Write and Rebuild make them, and all files ending in .cdxj of directories. A path
// that does not exist is NotFound. A file that is no CDXJ, or too many files, are Invalid. A file that is not sorted is
// Corrupt: that is found out here by a few lines, or else by a search that meets it.
func OpenEarlier(paths ...string) (_ *Earlier, err error) {
	e := &Earlier{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the index of an earlier crawl: %w", err), e.Close())
		}
	}()
	names, err := indexes(paths)
	if err != nil {
		return nil, err
	}
	if len(names) > mostEarlier {
		return nil, fault.WithHint(fault.New(fault.Invalid, "%d files are more than the %d that can be searched for each page",
			len(names), mostEarlier), "make one of them: LC_ALL=C sort -m -u *.cdxj > all.cdxj")
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		e.all = append(e.all, earlierFile{f: f})
		info, err := f.Stat()
		if err == nil {
			err = checkSorted(f, info.Size())
		}
		if err != nil {
			return nil, err
		}
		e.all[len(e.all)-1].lines = cdxj.NewFile(f, info.Size())
	}
	return e, nil
}

// indexes returns the files that paths stand for.
func indexes(paths []string) (names []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, fault.As(fault.NotFound, err)
		case err != nil:
			return nil, err
		case !info.IsDir():
			names = append(names, path)
			continue
		}
		inside, err := filepath.Glob(filepath.Join(globEscape.Replace(path), "*.cdxj"))
		if err != nil {
			return nil, err
		}
		if len(inside) == 0 {
			return nil, fault.WithHint(fault.New(fault.NotFound, "%s has no file *.cdxj", path),
				"make one of its WARC files: holdfast crawl index %s", path)
		}
		names = append(names, inside...)
	}
	return names, nil
}

// globEscape escapes the name of a directory, so that it stands for itself in a pattern.
var globEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// looks is how many places of a file are looked at when it is opened.
const looks = 16

// checkSorted checks whether a file is a sorted index, at a few places of it.
func checkSorted(f *os.File, size int64) error {
	var before []byte
	for n := range int64(looks) {
		at := size / looks * n
		line, err := lineBehind(f, at, size)
		if err != nil {
			return err
		}
		if line == nil {
			return nil
		}
		if bytes.Compare(line, before) < 0 {
			return fault.WithHint(fault.New(fault.Corrupt, "%s is not in order behind byte %d: %.80q", f.Name(), at, line),
				"sort it: LC_ALL=C sort -u")
		}
		before = line
		if len(line) > 0 && (line[0] == '!' || line[0] == ' ') { // a head that others write, in front of all keys
			continue
		}
		if _, err := cdxj.Parse(line); err != nil {
			return fault.WithHint(fault.New(fault.Invalid, "%s is no CDXJ file, behind byte %d: %w", f.Name(), at, err),
				"an index in another form, or one that is packed, can't be searched")
		}
	}
	return nil
}

// lineBehind returns the first line that begins at an offset or after it, without its end; nil at the end of the file.
func lineBehind(f *os.File, at, size int64) ([]byte, error) {
	in := bufio.NewScanner(io.NewSectionReader(f, max(0, at-1), size))
	in.Buffer(make([]byte, 4<<10), cdxj.MaxLine)
	more := in.Scan()
	if at > 0 && more { // the line that holds the byte in front of it
		more = in.Scan()
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fault.New(fault.Invalid, "%s is no CDXJ file: a line behind byte %d has more than %d bytes", f.Name(), at,
			cdxj.MaxLine)
	} else if err != nil || !more {
		return nil, err
	}
	return in.Bytes(), nil
}

// First finds the first capture of a URL with that payload: one that has it, and is no revisit. ok is false if there is none. An
// error says in which file: Corrupt or Invalid for one that is damaged, others are the disk's.
func (e *Earlier) First(url string, payload warc.Digest) (first Capture, ok bool, err error) {
	if payload == "" {
		return first, false, nil
	}
	key := weburl.IndexKeyOf(url) + " "
	for _, in := range e.all {
		l, found, err := in.first(key, payload)
		if err != nil {
			return Capture{}, false, fmt.Errorf("search %s: %w", in.f.Name(), err)
		}
		if found && (!ok || l.Time.Before(first.Time)) {
			first, ok = l, true
		}
	}
	return first, ok, nil
}

// first finds the first capture in a file. Those of a key are in the order of their times.
func (in earlierFile) first(key string, payload warc.Digest) (Capture, bool, error) {
	for l, err := range in.lines.Find(key) {
		if err != nil {
			return Capture{}, false, err
		}
		if l.Mime == cdxj.Revisit || l.URL == "" || !sameDigest(l.Digest, payload) {
			continue
		}
		t, err := time.Parse(timeForm, l.Time)
		if err != nil {
			return Capture{}, false, fault.New(fault.Invalid, "a capture of %.200s has the time %s", l.URL, l.Time)
		}
		return Capture{URL: l.URL, Time: t}, true, nil
	}
	return Capture{}, false, nil
}

// timeForm is the form of a line's time.
const timeForm = "20060102150405"

// sameDigest reports whether a digest in an index is the wanted one. In an index SHA-1 may have its label or not.
func sameDigest(is string, want warc.Digest) bool {
	if is == want.Value() && want.Algorithm() == "sha1" || is == string(want) {
		return true
	}
	return payloadOf(is) == want
}

// payloadOf returns the digest that stands in an index; one in an unknown form is returned as it stands there.
func payloadOf(is string) warc.Digest {
	text := is
	if !strings.Contains(is, ":") {
		text = "sha1:" + is
	}
	d, err := warc.ParseDigest(text)
	if err != nil {
		return warc.Digest(is)
	}
	return d
}

// Close closes the files.
func (e *Earlier) Close() (err error) {
	for _, in := range e.all {
		err = errors.Join(err, in.f.Close())
	}
	return err
}
