package tree

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// defaultIgnore are the names that programs give to what is not finished: hidden ones (rsync's .name.XXXXXX,
// an editor's .name.swp, our own .name.part), and those of browsers, copying programs and editors.
var defaultIgnore = []string{".*", "*.tmp", "*.temp", "*.part", "*.partial", "*.filepart", "*.crdownload",
	"*.download", "*.incomplete", "*.swp", "*~", "#*#"}

// picker says by its path whether a file is wanted.
type picker struct {
	names, paths [][]string // wanted; each pattern cut at its slashes
	ignore       [][]string
	ignorePaths  [][]string
}

func newPicker(patterns, ignore []string) (p picker) {
	p.names, p.paths = sortPatterns(patterns)
	p.ignore, p.ignorePaths = sortPatterns(ignore)
	return p
}

// sortPatterns parts those of a name from those of a path.
func sortPatterns(patterns []string) (names, paths [][]string) {
	for _, p := range patterns {
		elems := elements(p)
		if strings.Contains(p, "/") {
			paths = append(paths, elems)
		} else {
			names = append(names, elems)
		}
	}
	return names, paths
}

// elements cuts a pattern at its slashes; [!a] of a shell is [^a] here. A slash in front says only that it is
// of a path.
func elements(p string) []string {
	b := []byte(strings.TrimPrefix(p, "/"))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		} else if b[i] == '[' && i+1 < len(b) && b[i+1] == '!' {
			b[i+1] = '^'
		}
	}
	return strings.Split(string(b), "/")
}

func checkPattern(p string) error {
	if p == "" {
		return errors.New("is empty")
	}
	for _, e := range elements(p) {
		if e == "" || e == "." || e == ".." {
			return errors.New("has a name that no file can have")
		}
		if _, err := path.Match(e, ""); err != nil {
			return errors.New("is no pattern: a bracket or a backslash stands alone")
		}
	}
	return nil
}

// ignored is of the last name of a path: whoever walks asks for each directory on the way.
func (p *picker) ignored(at string) bool { return matches(p.ignore, p.ignorePaths, at) }

// wanted reports whether a file is to be found, if none of the directories above is ignored.
func (p *picker) wanted(at string) bool {
	all := len(p.names) == 0 && len(p.paths) == 0
	return (all || matches(p.names, p.paths, at)) && !p.ignored(at)
}

func matches(names, paths [][]string, at string) bool {
	base := path.Base(at)
	if slices.ContainsFunc(names, func(n []string) bool { return matchName(n[0], base) }) {
		return true
	}
	if len(paths) == 0 {
		return false
	}
	elems := strings.Split(at, "/")
	return slices.ContainsFunc(paths, func(p []string) bool { return matchPath(p, elems) })
}

func matchName(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// matchPath goes back only to the last ** that it passed: as with *, an earlier one need never take more.
func matchPath(pattern, elems []string) bool {
	star, taken := -1, 0
	p, e := 0, 0
	for e < len(elems) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, taken = p, e
			p++
		case p < len(pattern) && matchName(pattern[p], elems[e]):
			p, e = p+1, e+1
		case star >= 0:
			taken++
			p, e = star+1, taken
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}
