package scope

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// List is what a configuration says under `scope:`.
type List []Rule

// Rule is one rule: exactly one of Accept and Reject is set.
type Rule struct {
	// Name is what decisions show; default accept or reject and the key of the test.
	Name string `yaml:"name"`
	// Accept has URLs fetched that the test is about, if no later rule says otherwise. It has exactly one key beside not.
	Accept *Test `yaml:"accept"`
	// Reject has URLs left out that the test is about, if no later rule says otherwise.
	Reject *Test `yaml:"reject"`
}

// Test is what a rule is about. Exactly one of its keys is set, beside Not.
type Test struct {
	// Everything is about every URL.
	Everything bool `yaml:"everything"`
	// Seed is about the seeds.
	Seed bool `yaml:"seed"`
	// Prerequisite is about what must be had before another URL: robots.txt, the address of a host (hop P).
	Prerequisite bool `yaml:"prerequisite"`
	// SURTs is about URLs whose SURT begins with a prefix.
	SURTs *SURTs `yaml:"surts"`
	// Regex is about URLs in which one of these regular expressions (RE2) is found; ^ and $ are their ends.
	Regex []string `yaml:"regex"`
	// Hops is about the way from the seed.
	Hops *Hops `yaml:"hops"`
	// Transclusion is about parts of pages that are fetched.
	Transclusion *Transclusion `yaml:"transclusion"`
	// PathDepth is about URLs with more than so many slashes in their path.
	PathDepth *Limit `yaml:"path_depth"`
	// RepeatedSegments is about URLs in whose path some directories stand more than so often one after another: a in
	// /a/a/a/x, a/b in /a/b/a/b/a/b/x.
	RepeatedSegments *Limit `yaml:"repeated_segments"`
	// Scheme is about URLs of one of these schemes: http, https.
	Scheme []string `yaml:"scheme"`
	// Extension is about URLs whose path ends in a dot and one of these, in whatever case: jpg, tar.gz.
	Extension []string `yaml:"extension"`
	// Source is about URLs that come of a seed with one of these tags.
	Source []string `yaml:"source"`
	// Type is about answers of one of these MIME types: text/html, image/*. One without a type is of none.
	Type []string `yaml:"type"`
	// Size is about answers that say that they have more than so many bytes.
	Size *Limit `yaml:"size"`
	// Not turns the test round: the rule is about what it would not be about; default false. What is not known yet stays so.
	Not bool `yaml:"not"`
}

// SURTs are prefixes of SURTs; the test is about a URL that begins with any of them.
type SURTs struct {
	// Seeds, if set, says what each seed gives: its host and port (host), the registrable domain of its host with all
	// hosts and ports below (domain), or as Heritrix has it (path): all below its path up to the last slash.
	Seeds string `yaml:"seeds" jsonschema:"enum=host,enum=domain,enum=path"`
	// List holds SURT prefixes, http://(com,example,www,)/a, or URLs that imply one as a seed's path does. A host
	// alone, example.com or *.example.com, is that host and those below.
	List []string `yaml:"list"`
	// File has the same, one a line, with # before comments. A + before a line means nothing, as in Heritrix's files.
	File string `yaml:"file"`
	// Via: also about a URL that was found in a page that the test is about, one hop off.
	Via bool `yaml:"via"`
}

// Hops is about the way from the seed, one letter a hop. Exactly one of MoreThan and Match is set.
type Hops struct {
	// MoreThan is about URLs that are further away.
	MoreThan *int `yaml:"more_than"`
	// Of are the letters that count for MoreThan; default all.
	Of string `yaml:"of"`
	// Match is a regular expression (RE2) that is found in the letters; ^ and $ are their ends.
	Match string `yaml:"match"`
}

// Transclusion is about URLs whose way ends in at least one and at most so many hops that are no links (L): embeds,
// redirects, guesses. An entry of a sitemap (M) counts as a link here; to Heritrix it is none, so that embeds of
// pages that only a sitemap names would be left out.
type Transclusion struct {
	// Hops is how many such hops there may be; default 2.
	Hops *int `yaml:"hops"`
	// Speculative is how many of them may be guesses (X); default 1.
	Speculative *int `yaml:"speculative"`
}

// WithDefaults returns t with everything filled in that has a default.
func (t Transclusion) WithDefaults() Transclusion {
	hops, guesses := 2, 1
	return Transclusion{Hops: cmp.Or(t.Hops, &hops), Speculative: cmp.Or(t.Speculative, &guesses)}
}

// Limit is a number that must not be exceeded.
type Limit struct {
	// MoreThan is the number of which more is too much.
	MoreThan *int64 `yaml:"more_than"`
}

// Default returns the scope of a crawl that says nothing else: the hosts of the seeds, and what their pages are made of
// wherever it is. It is that of Heritrix's default profile, but that a seed means its whole host and port, not what is
// below its path; and repeated segments, paths and hops are limited as there.
func Default() List {
	number := func(n int64) *Limit { return &Limit{MoreThan: &n} }
	hops := 20
	return List{
		{Reject: &Test{Everything: true}},
		{Accept: &Test{SURTs: &SURTs{Seeds: seedHost}}},
		{Reject: &Test{Hops: &Hops{MoreThan: &hops}}},
		{Accept: &Test{Transclusion: &Transclusion{}}},
		{Reject: &Test{RepeatedSegments: number(2)}},
		{Reject: &Test{PathDepth: number(20)}},
		{Accept: &Test{Prerequisite: true}},
	}
}

// Validate returns all faults of the list, each beginning with the name of its key. Files are not read.
func (l List) Validate() []error {
	c := &compiler{}
	c.list(l)
	return c.faults
}

// keys are those of a test that are set.
func (t *Test) keys() (all []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{{"everything", t.Everything}, {"seed", t.Seed}, {"prerequisite", t.Prerequisite}, {"surts", t.SURTs != nil},
		{"regex", t.Regex != nil}, {"hops", t.Hops != nil}, {"transclusion", t.Transclusion != nil},
		{"path_depth", t.PathDepth != nil}, {"repeated_segments", t.RepeatedSegments != nil}, {"scheme", t.Scheme != nil},
		{"extension", t.Extension != nil}, {"source", t.Source != nil}, {"type", t.Type != nil}, {"size", t.Size != nil}} {
		if k.set {
			all = append(all, k.name)
		}
	}
	return all
}

// tests is for people.
const tests = "everything, seed, prerequisite, surts, regex, hops, transclusion, path_depth, repeated_segments, scheme, " +
	"extension, source, type and size"

// compiler makes rules of a configuration, and keeps each fault.
type compiler struct {
	at     string // the key it is at
	read   func(file string) ([]string, error)
	seeds  []string
	heads  bool
	faults []error
}

func (c *compiler) bad(key, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s%s: %w", c.at, key, fmt.Errorf(format, args...)))
}

func (c *compiler) list(l List) (all []rule) {
	c.at = ""
	if len(l) == 0 {
		c.bad("scope", "there is no rule, so nothing would be fetched")
	}
	for i, r := range l {
		c.at = fmt.Sprintf("scope[%d].", i)
		all = append(all, c.rule(r))
	}
	return all
}

func (c *compiler) rule(r Rule) rule {
	t, word := r.Accept, "accept"
	if t == nil {
		t, word = r.Reject, "reject"
	}
	if t == nil || r.Accept != nil && r.Reject != nil {
		c.bad("accept", "want exactly one of accept and reject")
		return rule{}
	}
	keys := t.keys()
	if len(keys) != 1 {
		c.bad(word, "want exactly one of %s; got %d", tests, len(keys))
		return rule{}
	}
	out := rule{name: r.Name, accept: r.Accept != nil}
	if out.name == "" {
		out.name = word + " " + keys[0]
		if t.Not {
			out.name = word + " not " + keys[0]
		}
	}
	c.at += word + "."
	if t.SURTs != nil {
		c.surts(t, &out)
		return out
	}
	out.test = c.test(t)
	if t.Not {
		out.test = out.test.not()
	}
	return out
}

// test makes the condition of all tests but SURTs.
func (c *compiler) test(t *Test) condition {
	switch {
	case t.Everything:
		return everything()
	case t.Seed:
		return seed()
	case t.Prerequisite:
		return prerequisite()
	case t.Regex != nil:
		return expressions(c.regexes("regex", t.Regex))
	case t.Hops != nil:
		return c.hops(t.Hops)
	case t.Transclusion != nil:
		with := t.Transclusion.WithDefaults()
		return transclusion(c.count("transclusion.hops", with.Hops, 0), c.count("transclusion.speculative", with.Speculative, 0))
	case t.PathDepth != nil:
		return pathDepth(c.limit("path_depth", t.PathDepth))
	case t.RepeatedSegments != nil:
		return c.repeated(t.RepeatedSegments)
	case t.Scheme != nil:
		return schemes(c.words("scheme", t.Scheme, isScheme, "http or https"))
	case t.Extension != nil:
		return extensions(c.words("extension", t.Extension, isExtension, "letters, like jpg"))
	case t.Source != nil:
		return sources(c.words("source", t.Source, nil, ""))
	case t.Type != nil:
		c.heads = true
		return types(c.words("type", t.Type, isType, "a MIME type, like text/html or image/*"))
	}
	c.heads = true
	return size(c.limit("size", t.Size))
}

func (c *compiler) repeated(l *Limit) condition {
	most := c.limit("repeated_segments", l)
	if l.MoreThan != nil && most == 0 {
		c.bad("repeated_segments.more_than", "want a number from 1: every directory is there once")
	}
	return repeatedSegments(most)
}

func (c *compiler) hops(h *Hops) condition {
	switch {
	case (h.MoreThan == nil) == (h.Match == ""):
		c.bad("hops", "want exactly one of more_than and match")
	case h.Match != "":
		if h.Of != "" {
			c.bad("hops.of", "means nothing without more_than")
		}
		if all := c.regexes("hops.match", []string{h.Match}); len(all) == 1 {
			return hopsMatch(all[0])
		}
	case strings.Trim(h.Of, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		c.bad("hops.of", "want letters of hops, like L or LM, got %q", h.Of)
	default:
		return tooManyHops(c.count("hops.more_than", h.MoreThan, 0), h.Of)
	}
	return condition{}
}

func (c *compiler) regexes(key string, list []string) (all []*regexp.Regexp) {
	for i, s := range c.words(key, list, nil, "") {
		re, err := regexp.Compile(s)
		if err != nil {
			at := key
			if key == "regex" {
				at = fmt.Sprintf("%s[%d]", key, i)
			}
			c.bad(at, "is no regular expression of RE2: %v", err)
			continue
		}
		all = append(all, re)
	}
	return all
}

// words checks a list of words, none of which may be empty.
func (c *compiler) words(key string, list []string, ok func(string) bool, want string) []string {
	if len(list) == 0 {
		c.bad(key, "is empty, and would be about nothing")
	}
	for i, s := range list {
		switch {
		case strings.TrimSpace(s) == "":
			c.bad(fmt.Sprintf("%s[%d]", key, i), "is empty")
		case ok != nil && !ok(s):
			c.bad(fmt.Sprintf("%s[%d]", key, i), "want %s, got %q", want, s)
		}
	}
	return list
}

func (c *compiler) limit(key string, l *Limit) int64 {
	switch {
	case l.MoreThan == nil:
		c.bad(key+".more_than", "is missing")
	case *l.MoreThan < 0:
		c.bad(key+".more_than", "want a number from 0, got %d", *l.MoreThan)
	default:
		return *l.MoreThan
	}
	return 0
}

func (c *compiler) count(key string, n *int, otherwise int) int {
	switch {
	case n == nil:
		return otherwise
	case *n < 0:
		c.bad(key, "want a number from 0, got %d", *n)
		return 0
	}
	return *n
}
