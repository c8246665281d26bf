package crawl

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/cdxj"
	"holdfast/base/warc"
	"holdfast/job/crawl/index"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

type sum = [sha256.Size]byte

// written are the files beside the store that belong to a time line: WARC files, logs, journals, and parts of the index.
func (p *powered) written() map[string]sum {
	p.Helper()
	all := map[string]sum{}
	for _, root := range []string{p.cfg.Archive.Dir, p.cfg.Logs} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // the power was cut before
				return nil
			}
			if err != nil || e.IsDir() {
				return err
			}
			switch name := e.Name(); {
			case strings.HasPrefix(name, index.File), name == "LOCK", name == "sorted":
				return nil
			}
			b, err := os.ReadFile(path)
			if len(b) > 0 { // an empty one may be removed
				all[path] = sha256.Sum256(b)
			}
			return err
		})
		if err != nil {
			p.Fatal(err)
		}
	}
	return all
}

// untouched fails for files of time lines that were left which are not as they were. A log may have another name.
func (p *powered) untouched() {
	p.Helper()
	now := p.written()
next:
	for path, was := range p.other {
		if now[path] == was {
			continue
		}
		for other, is := range now {
			if is == was && strings.HasPrefix(other, path+".before-") && filepath.Dir(path) == p.cfg.Logs {
				continue next
			}
		}
		p.Errorf("%s is of another time line, and was touched", path)
	}
}

// goBack takes the crawl to one of its checkpoints. It reports false if there is none.
func (p *powered) goBack() bool {
	p.Helper()
	w := checkpoint.Work{FS: p.crash.FS(), Store: storetest.Options(p, p.crash.FS())}
	all, err := checkpoint.List("/job", w)
	if err != nil {
		p.Fatal(err)
	}
	for _, i := range p.rnd.Perm(len(all)) {
		if all[i].Err != nil {
			p.Errorf("checkpoint %s: %v", all[i].Name, all[i].Err)
			continue
		}
		if _, _, err := checkpoint.Replace(p.Context(), "/job", all[i].Name, w); err != nil {
			p.Fatal(err)
		}
		p.other = p.written()
		return true
	}
	return false
}

// rotated fails for a checkpoint that can be used, and whose logs did not end with it.
func (p *powered) rotated() {
	p.Helper()
	all, err := checkpoint.List("/job", checkpoint.Work{FS: p.crash.FS()})
	if err != nil {
		p.Fatal(err)
	}
	for _, c := range all {
		if _, err := os.Stat(filepath.Join(p.cfg.Logs, progressLog+"."+c.Name)); c.Err == nil && err != nil {
			p.Errorf("checkpoint %s: %v", c.Name, err)
		}
	}
}

// timeline checks a crawl that has ended, and went back to checkpoints before: index.cdxj has each page once, at a place
// where it is, and crawl.log has a line of it.
func (p *powered) timeline() {
	p.Helper()
	p.same("indexed", p.indexed())
	logged := map[string]bool{}
	for _, text := range p.lines(crawlLog) {
		if m := line.FindStringSubmatch(text); m != nil && len(strings.Fields(text)[8]) > 14 {
			logged[m[2]+" "+strings.Fields(text)[8][:14]] = true
		}
	}
	b, err := os.ReadFile(filepath.Join(p.cfg.Archive.Dir, index.File))
	if err != nil {
		p.Fatal(err)
	}
	for text := range bytes.Lines(b) {
		l, err := cdxj.Parse(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			p.Fatal(err)
		}
		if !logged[l.URL+" "+l.Time] {
			p.Errorf("%s of %s is not in crawl.log", l.URL, l.Time)
		}
		if got := p.recordAt(l.Filename, l.Offset); got != l.URL {
			p.Errorf("at %d of %s is %q, and the index has %s there", l.Offset, l.Filename, got, l.URL)
		}
	}
	p.serials()
}

// recordAt is the URL of a record of a WARC file, "" for none.
func (p *powered) recordAt(name string, offset int64) string {
	path := filepath.Join(p.cfg.Archive.Dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		b, err = os.ReadFile(path + ".open")
	}
	if err != nil || offset >= int64(len(b)) {
		return ""
	}
	e, err := warc.NewReader(bytes.NewReader(b[offset:]), 0).Next()
	if err != nil {
		return ""
	}
	return e.TargetURI
}

// serials fails for a serial number that two WARC files have.
func (p *powered) serials() {
	p.Helper()
	has := map[string]string{}
	files, err := filepath.Glob(filepath.Join(p.cfg.Archive.Dir, "*.warc.gz*"))
	if err != nil {
		p.Fatal(err)
	}
	for _, path := range files {
		parts := strings.Split(filepath.Base(path), "-")
		serial := parts[len(parts)-2]
		if has[serial] != "" {
			p.Errorf("%s and %s have the same serial number", has[serial], path)
		}
		has[serial] = path
	}
}

// TestGoBack cuts the power of crawls, and takes them back to one of their checkpoints, again and again: what each has in
// the end is what one has that was never stopped, and it never wrote into, cut or removed what another time line has
// written.
func TestGoBack(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 6))
	back := 0
	for range testenv.Count(t, 40) {
		p := newPowered(t, rnd, 60)
		for range 6 {
			p.arm(1+rnd.IntN(500), false)
			p.life(3)
			p.untouched()
			p.rotated()
			if rnd.IntN(3) > 0 && p.goBack() {
				back++
			}
		}
		p.arm(0, false)
		p.life(1)
		p.untouched()
		p.rotated()
		p.timeline()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d times a crawl went back", back)
}
