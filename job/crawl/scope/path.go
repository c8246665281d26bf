package scope

import "strings"

// depth is how many segments a path has, by its slashes (Heritrix's TooManyPathSegmentsDecideRule; it counts those of
// the query too).
func depth(path string) int64 { return int64(strings.Count(path, "/")) }

// maxSegments is how many segments of a path are looked at for repetitions, which bounds the time.
const maxSegments = 128

// repeats returns the directories of a path that stand there more than most times one after another, with their slash,
// or "": what Heritrix's PathologicalPathDecideRule finds with /(.*?/)\1{most,}. The last segment is none if it has no
// slash behind it.
func repeats(path string, most int64) string {
	var starts [maxSegments + 1]int // of segments, and of what follows the last
	n := 0
	for i := 0; i < len(path) && n <= maxSegments; i++ {
		if path[i] == '/' {
			starts[n] = i + 1
			n++
		}
	}
	n-- // segments that end in a slash
	if most >= maxSegments {
		return ""
	}
	times := int(most) // a block follows itself so often
	for size := 1; size*(times+1) <= n; size++ {
		same := 0 // segments in a row that are like the one a block before
		for i := size; i < n; i++ {
			if path[starts[i]:starts[i+1]] != path[starts[i-size]:starts[i-size+1]] {
				same = 0
				continue
			}
			if same++; same == size*times {
				return path[starts[i-size+1]:starts[i+1]]
			}
		}
	}
	return ""
}

// hasExtension reports whether a path ends in a dot and an extension, with a name before them.
func hasExtension(path, extension string) bool {
	at := len(path) - len(extension) - 1
	return at > 0 && path[at] == '.' && path[at-1] != '/' && strings.EqualFold(path[at+1:], extension)
}
