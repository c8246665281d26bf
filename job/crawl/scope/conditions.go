package scope

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/base/warc"
)

// answer is what a test says of a URL.
type answer uint8

const (
	no answer = iota
	yes
	unknown
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// looked is a URL that is looked at, and what of it was made.
type looked struct {
	Candidate
	head *Head // nil: not there yet
	own  string
	from string
}

// surt is that of the URL.
func (x *looked) surt() string {
	if x.own == "" {
		x.own = x.URL.SURT()
	}
	return x.own
}

// via is the SURT of the page that led to it, "" without one.
func (x *looked) via() string {
	if x.from == "" && !x.Via.IsZero() {
		x.from = x.Via.SURT()
	}
	return x.from
}

// condition is a compiled Test.
type condition struct {
	why   string
	holds func(*looked) answer
	what  func(*looked) string // what of a URL it is about, for people; may be nil
}

// not is the condition turned round.
func (c condition) not() condition {
	return condition{
		why: "not: " + c.why,
		holds: func(x *looked) answer {
			switch a := c.holds(x); a {
			case yes:
				return no
			case no:
				return yes
			default:
				return a
			}
		},
	}
}

func everything() condition {
	return condition{why: "every URL", holds: func(*looked) answer { return yes }}
}

func seed() condition {
	return condition{why: "a seed", holds: func(x *looked) answer { return is(x.Hops == "") }}
}

func prerequisite() condition {
	return condition{
		why:   "another URL needs it first (hop P)",
		holds: func(x *looked) answer { return is(strings.HasSuffix(x.Hops, "P")) },
	}
}

func prefixed(set *prefixSet, via bool) condition {
	c := condition{
		why: fmt.Sprintf("its SURT begins with one of %d prefixes", set.len()),
		holds: func(x *looked) answer {
			_, ok := set.find(x.surt())
			return is(ok)
		},
		what: func(x *looked) string {
			p, _ := set.find(x.surt())
			return p
		},
	}
	if !via {
		return c
	}
	own := c
	c.why = fmt.Sprintf("its SURT, or that of the page it was found in, begins with one of %d prefixes", set.len())
	c.holds = func(x *looked) answer {
		if own.holds(x) == yes {
			return yes
		}
		_, ok := set.find(x.via())
		return is(ok)
	}
	c.what = func(x *looked) string {
		if p, ok := set.find(x.surt()); ok {
			return p
		}
		p, _ := set.find(x.via())
		return p + " of " + x.Via.String()
	}
	return c
}

func expressions(all []*regexp.Regexp) condition {
	first := func(x *looked) int {
		return slices.IndexFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(x.URL.String()) })
	}
	return condition{
		why:   fmt.Sprintf("one of %d regular expressions is found in it", len(all)),
		holds: func(x *looked) answer { return is(first(x) >= 0) },
		what:  func(x *looked) string { return all[first(x)].String() },
	}
}

func hopsMatch(re *regexp.Regexp) condition {
	return condition{
		why:   "its hops match " + re.String(),
		holds: func(x *looked) answer { return is(re.MatchString(x.Hops)) },
		what:  func(x *looked) string { return x.Hops },
	}
}

func tooManyHops(most int, of string) condition {
	count := func(x *looked) int {
		if of == "" {
			return len(x.Hops)
		}
		n := 0
		for i := range len(x.Hops) {
			if strings.IndexByte(of, x.Hops[i]) >= 0 {
				n++
			}
		}
		return n
	}
	why := fmt.Sprintf("more than %d hops from its seed", most)
	if of != "" {
		why = fmt.Sprintf("more than %d hops of %s from its seed", most, of)
	}
	return condition{
		why:   why,
		holds: func(x *looked) answer { return is(count(x) > most) },
		what:  func(x *looked) string { return fmt.Sprintf("%d, %s", count(x), x.Hops) },
	}
}

func transclusion(most, guesses int) condition {
	return condition{
		why: fmt.Sprintf("at most %d hops from a page that is fetched, none of them a link, at most %d a guess", most, guesses),
		holds: func(x *looked) answer {
			tail, guessed := 0, 0
			for i := len(x.Hops) - 1; i >= 0 && x.Hops[i] != 'L' && x.Hops[i] != 'M'; i-- {
				if tail++; x.Hops[i] == 'X' {
					guessed++
				}
				if tail > most {
					return no
				}
			}
			return is(tail > 0 && guessed <= guesses)
		},
		what: func(x *looked) string { return x.Hops },
	}
}

func pathDepth(most int64) condition {
	return condition{
		why:   fmt.Sprintf("more than %d segments in its path", most),
		holds: func(x *looked) answer { return is(depth(x.URL.Path()) > most) },
		what:  func(x *looked) string { return fmt.Sprint(depth(x.URL.Path())) },
	}
}

func repeatedSegments(most int64) condition {
	return condition{
		why:   fmt.Sprintf("directories of its path are repeated more than %d times", most),
		holds: func(x *looked) answer { return is(repeats(x.URL.Path(), most) != "") },
		what:  func(x *looked) string { return repeats(x.URL.Path(), most) },
	}
}

func schemes(all []string) condition {
	return condition{
		why:   "its scheme is " + strings.Join(all, " or "),
		holds: func(x *looked) answer { return is(slices.Contains(all, x.URL.Scheme())) },
	}
}

func isScheme(s string) bool { return s == "http" || s == "https" }

func extensions(all []string) condition {
	match := func(x *looked) int {
		return slices.IndexFunc(all, func(e string) bool { return hasExtension(x.URL.Path(), e) })
	}
	return condition{
		why:   fmt.Sprintf("its path ends in one of %d extensions", len(all)),
		holds: func(x *looked) answer { return is(match(x) >= 0) },
		what:  func(x *looked) string { return all[match(x)] },
	}
}

func isExtension(s string) bool { return s[0] != '.' && !strings.ContainsAny(s, "/?#*") }

func sources(all []string) condition {
	return condition{
		why:   fmt.Sprintf("it comes of one of %d seeds", len(all)),
		holds: func(x *looked) answer { return is(slices.Contains(all, x.Source)) },
		what:  func(x *looked) string { return x.Source },
	}
}

func types(all []string) condition {
	match := func(x *looked) int {
		media := warc.MediaType(x.head.Type)
		return slices.IndexFunc(all, func(t string) bool {
			if group, ok := strings.CutSuffix(t, "*"); ok {
				return len(media) > len(group) && strings.EqualFold(media[:len(group)], group)
			}
			return strings.EqualFold(media, t)
		})
	}
	return condition{
		why: "its MIME type is " + strings.Join(all, " or "),
		holds: func(x *looked) answer {
			if x.head == nil {
				return unknown
			}
			return is(match(x) >= 0)
		},
		what: func(x *looked) string { return warc.MediaType(x.head.Type) },
	}
}

// isType reports whether a word is type/subtype or type/*.
func isType(s string) bool {
	group, kind, ok := strings.Cut(s, "/")
	return ok && group != "" && kind != "" && !strings.ContainsAny(group, "* ;") && (kind == "*" || !strings.ContainsAny(kind,
		"*/ ;"))
}

func size(most int64) condition {
	return condition{
		why: fmt.Sprintf("it says that it has more than %d bytes", most),
		holds: func(x *looked) answer {
			if x.head == nil || x.head.Size < 0 {
				return unknown
			}
			return is(x.head.Size > most)
		},
		what: func(x *looked) string { return fmt.Sprint(x.head.Size) },
	}
}
