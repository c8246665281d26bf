package lines

import (
	"regexp"
	"slices"
	"time"
)

// Defaults of Rule, beside DefaultMax.
const (
	defaultLines = 500
	defaultQuiet = time.Second
)

// Rule says which lines belong together. One of Start and Continue is set.
type Rule struct {
	// Start: a line that it matches begins a text, and all others go on with the one before.
	Start *regexp.Regexp
	// Continue: a line that it matches goes on with the text before, and all others begin one.
	Continue *regexp.Regexp
	// Lines and Bytes are the most of one text; what comes above is let go, and the text is Cut. Default 500 and DefaultMax.
	Lines, Bytes int
	// Quiet is how long after its last line a text is at its end though no other began. Default 1 s.
	Quiet time.Duration
	// Streams is how many texts may be open at a time; the oldest ends if there are more. Default 64.
	Streams int
}

func (r Rule) withDefaults() Rule {
	if r.Lines <= 0 {
		r.Lines = defaultLines
	}
	if r.Bytes <= 0 {
		r.Bytes = DefaultMax
	}
	if r.Quiet <= 0 {
		r.Quiet = defaultQuiet
	}
	if r.Streams <= 0 {
		r.Streams = 64
	}
	return r
}

// begins reports whether a line begins a text.
func (r Rule) begins(line []byte) bool {
	if r.Start != nil {
		return r.Start.Match(line)
	}
	return !r.Continue.Match(line)
}

// Text is one or more lines of a stream that belong together.
type Text[T any] struct {
	Stream string
	First  T      // what was given with the first line
	Text   []byte // the lines, with newlines between them
	Lines  int
	Cut    bool
	Seen   time.Time // when its last line came
}

// Joiner joins the lines of any number of streams. It is used by one goroutine at a time.
type Joiner[T any] struct {
	rule Rule
	open []*Text[T] // in the order of their beginning
	by   map[string]*Text[T]
}

// NewJoiner returns a Joiner by a rule.
func NewJoiner[T any](r Rule) *Joiner[T] {
	return &Joiner[T]{rule: r.withDefaults(), by: map[string]*Text[T]{}}
}

// Add takes a line of a stream, copies it, and gives the texts that are at their end by it.
func (j *Joiner[T]) Add(stream string, first T, line []byte, cut bool, now time.Time, give func(Text[T])) {
	t := j.by[stream]
	if t != nil && j.rule.begins(line) {
		j.end(t, give)
		t = nil
	}
	if t == nil {
		if len(j.open) >= j.rule.Streams {
			j.end(j.open[0], give)
		}
		t = &Text[T]{Stream: stream, First: first}
		j.open, j.by[stream] = append(j.open, t), t
	}
	j.append(t, line, cut)
	t.Seen = now
}

func (j *Joiner[T]) append(t *Text[T], line []byte, cut bool) {
	room := j.rule.Bytes - len(t.Text)
	if t.Lines > 0 {
		room--
	}
	if t.Lines >= j.rule.Lines || room < 0 {
		t.Cut = true
		return
	}
	if t.Lines > 0 {
		t.Text = append(t.Text, '\n')
	}
	t.Text = append(t.Text, line[:min(room, len(line))]...)
	t.Cut = t.Cut || cut || room < len(line)
	t.Lines++
}

func (j *Joiner[T]) end(t *Text[T], give func(Text[T])) {
	j.open = slices.DeleteFunc(j.open, func(o *Text[T]) bool { return o == t })
	delete(j.by, t.Stream)
	give(*t)
}

// Due is when the next text is at its end because nothing more came, and false if none is open.
func (j *Joiner[T]) Due() (time.Time, bool) {
	var due time.Time
	for _, t := range j.open {
		if at := t.Seen.Add(j.rule.Quiet); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due, !due.IsZero()
}

// Quiet gives the texts to which nothing more came for the time of the rule.
func (j *Joiner[T]) Quiet(now time.Time, give func(Text[T])) {
	for _, t := range slices.Clone(j.open) {
		if !now.Before(t.Seen.Add(j.rule.Quiet)) {
			j.end(t, give)
		}
	}
}

// Flush gives the texts that are open: their streams are at their end.
func (j *Joiner[T]) Flush(give func(Text[T])) {
	for len(j.open) > 0 {
		j.end(j.open[0], give)
	}
}

// Open returns the texts that are not at their end, the oldest first. What they hold is the Joiner's.
func (j *Joiner[T]) Open() []Text[T] {
	all := make([]Text[T], len(j.open))
	for i, t := range j.open {
		all[i] = *t
	}
	return all
}

// Restore goes on with texts that Open returned once.
func (j *Joiner[T]) Restore(all []Text[T]) {
	for _, t := range all {
		t.Text = slices.Clone(t.Text)
		if j.by[t.Stream] == nil {
			j.open, j.by[t.Stream] = append(j.open, &t), &t
		}
	}
}
