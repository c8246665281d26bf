// Package scope says which URLs a crawl fetches, and how: an ordered list of rules, each of which accepts or rejects
// what its test is about. The last rule that is about a URL decides, as in Heritrix's DecideRuleSequence; a URL that
// no rule is about is not fetched.
//
//	scope:
//	  - reject: {everything: true}
//	  - accept: {surts: {seeds: host, file: more-sites.txt}}
//	  - reject: {hops: {more_than: 20}}
//	  - accept: {transclusion: {hops: 2, speculative: 1}}
//	  - reject: {repeated_segments: {more_than: 2}}
//	  - reject: {path_depth: {more_than: 20}}
//	  - reject: {regex: ['/calendar/', '[?&]sort=']}
//	  - name: no video
//	    reject: {type: [video/*]}
//	  - accept: {prerequisite: true}
//
// There are two moments. Decide is asked before a URL goes to the frontier, when nothing is known but the URL and how
// it was found. AfterHead is asked when the head of the answer is there, and goes through the list again, now with
// the tests of MIME type and size, which at the first moment are about nothing. Explain says what each rule says.
//
// A Scope is never changed, and safe for use by many at once. Sheets are the settings of a crawl that are other for some
// URLs than for the rest. PatternOf gives what the budget of a calendar is counted by.
//
// Called by the job crawl.
package scope

import (
	"holdfast/base/weburl"
)

// Candidate is a URL that may be fetched, and how it was found.
type Candidate struct {
	URL    weburl.URL
	Hops   string     // from its seed, in Heritrix's letters; "" for a seed
	Via    weburl.URL // that led to it; the zero value for a seed
	Source string     // the tag of the seed that began it
}

// Head is what the head of an answer says.
type Head struct {
	Type string // the Content-Type, "" if there is none
	Size int64  // the Content-Length, -1 if it is not known
}

// Decision is what a scope says of a URL.
type Decision struct {
	Accept bool
	Rule   int    // that decided, from 0 as in the list; -1 if none was about it
	Name   string // of the rule
	Why    string // what the rule is about
}

// Verdict is what one rule says.
type Verdict string

// The verdicts.
const (
	Accept Verdict = "accept"
	Reject Verdict = "reject"
	Pass   Verdict = "pass"  // the rule is not about it
	Later  Verdict = "later" // it is known only when the head of the answer is there
)

// Opinion is what one rule says of a URL, for people.
type Opinion struct {
	Rule    int
	Name    string
	Verdict Verdict
	Why     string // what the rule is about, and what of it the URL has
	Decides bool   // no later rule is about the URL
}

// Scope is a list of rules that is ready for use.
type Scope struct {
	rules []rule
	heads bool
}

// rule is a compiled Rule.
type rule struct {
	name   string
	accept bool
	test   condition
	// What With needs to add seeds.
	seeds string // which prefixes a seed gives: "" for none
	set   *prefixSet
	make  func(*prefixSet) condition
}

// Decide says whether a URL is to be fetched, as far as that can be said before.
func (s *Scope) Decide(c Candidate) Decision { return s.decide(&looked{Candidate: c}) }

// AfterHead says whether the body of an answer is to be read, now that its head is there.
func (s *Scope) AfterHead(c Candidate, h Head) Decision {
	return s.decide(&looked{Candidate: c, head: &h})
}

// LooksAtHeads reports whether AfterHead can say anything else than Decide.
func (s *Scope) LooksAtHeads() bool { return s.heads }

func (s *Scope) decide(x *looked) Decision {
	for i := len(s.rules) - 1; i >= 0; i-- {
		if r := &s.rules[i]; r.test.holds(x) == yes {
			return Decision{Accept: r.accept, Rule: i, Name: r.name, Why: r.test.why}
		}
	}
	return Decision{Rule: -1, Why: "no rule is about it"}
}

// Explain lists what every rule says of a URL, in the order of the list; h is nil before the head is there.
func (s *Scope) Explain(c Candidate, h *Head) []Opinion {
	x := &looked{Candidate: c, head: h}
	all := make([]Opinion, len(s.rules))
	decides := -1
	for i, r := range s.rules {
		o := Opinion{Rule: i, Name: r.name, Verdict: Pass, Why: r.test.why}
		switch r.test.holds(x) {
		case yes:
			decides = i
			o.Verdict = Reject
			if r.accept {
				o.Verdict = Accept
			}
			if r.test.what != nil {
				o.Why += ": " + r.test.what(x)
			}
		case unknown:
			o.Verdict = Later
		}
		all[i] = o
	}
	if decides >= 0 {
		all[decides].Decides = true
	}
	return all
}

// With returns the scope with further seeds, for the rules that take prefixes of seeds: those that a person adds, and
// where seeds redirect to. Not each call goes through all that there are, so it can be called for every seed of many.
func (s *Scope) With(seeds ...string) (*Scope, error) {
	next := &Scope{rules: append([]rule(nil), s.rules...), heads: s.heads}
	for i := range next.rules {
		r := &next.rules[i]
		if r.seeds == "" {
			continue
		}
		for _, seed := range seeds {
			prefixes, err := seedPrefixes(seed, r.seeds)
			if err != nil {
				return nil, err
			}
			r.set = r.set.with(prefixes)
		}
		r.test = r.make(r.set)
	}
	return next, nil
}
