package fits

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"holdfast/base/fault"
)

// Header is what the cards of an HDU say.
type Header struct {
	HDU      HDU       // its sums are Unread
	Cards    []Card    // in order, without END; the parts of a long string are one
	Problems []Problem // of the cards that can't be read, and so are not in Cards, or have an odd comment
}

// Get returns the first card of a keyword that can be read. Upper and lower case are the same, and the word
// HIERARCH may be left out.
func (h *Header) Get(keyword string) (Card, bool) {
	keyword = bare(keyword)
	for _, c := range h.Cards {
		if strings.EqualFold(c.Keyword, keyword) {
			return c, true
		}
	}
	return Card{}, false
}

// Find is Get with an error: NotFound if there is no such card, and Invalid, with the place, if the only one
// can't be read.
func (h *Header) Find(keyword string) (Card, error) {
	if c, ok := h.Get(keyword); ok {
		return c, nil
	}
	keyword = bare(keyword)
	for _, p := range h.Problems {
		if strings.EqualFold(p.Keyword, keyword) {
			return Card{}, fault.As(fault.Invalid, p)
		}
	}
	return Card{}, fault.New(fault.NotFound, "%s has no card %.60q", h.HDU.label(), keyword)
}

func bare(keyword string) string {
	keyword = strings.TrimSpace(keyword)
	const hierarch = "HIERARCH "
	if len(keyword) > len(hierarch) && strings.EqualFold(keyword[:len(hierarch)], hierarch) {
		return keyword[len(hierarch):]
	}
	return keyword
}

// Headers gives the headers of a file of size bytes one by one, and reads nothing else of it. What ends it early
// is an error: Corrupt if the file ends too early, Invalid if it is no FITS, its structure is wrong or a header
// has more than MaxCards cards. A file that ends within the data of an HDU gives that one's header first.
func Headers(r io.ReaderAt, size int64) iter.Seq2[*Header, error] {
	return func(yield func(*Header, error) bool) {
		w := &walker{src: &glance{r: r, size: size}, collect: new(collector)}
		w.header = func(h HDU) error {
			out := w.collect.take(h)
			if !yield(out, nil) {
				return errEnough
			}
			return nil
		}
		err := w.walk()
		if errors.Is(err, errEnough) {
			return
		}
		if err == nil {
			err = w.rep.err()
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

var errEnough = errors.New("enough")

// err is what a verdict means to who needs the headers.
func (r Report) err() error {
	switch r.Verdict {
	case Truncated:
		return fault.New(fault.Corrupt, "%s", r)
	case Bad, NotFITS:
		return fault.New(fault.Invalid, "%s", r)
	}
	return nil
}

// collector makes cards of records.
type collector struct {
	cards    []Card
	problems []Problem
	records  int
	// more and comment are those of the last card as far as they are known, if its text ends with a & and the
	// next card may go on with it (4.2.1.2). Such a string may be as long as its header.
	more    []byte
	comment []byte
	open    bool
}

// add takes the next record, read by parse: with a problem it may be readable all the same.
func (k *collector) add(c Card, p *Problem, readable bool) error {
	if k.records++; k.records > MaxCards {
		return fmt.Errorf("its header has more than %d cards", MaxCards)
	}
	if p != nil {
		k.problems = append(k.problems, *p)
	}
	readable = readable || p == nil
	if k.open && readable && c.Keyword == "CONTINUE" && c.Kind == Text {
		k.piece(c)
		return nil
	}
	k.close()
	if !readable {
		return nil
	}
	k.cards = append(k.cards, c)
	if c.Kind == Text && c.Keyword != "CONTINUE" {
		k.piece(c)
	}
	return nil
}

// piece adds a part of a string: one that ends with & goes on.
func (k *collector) piece(c Card) {
	s, more := strings.CutSuffix(c.Value, "&")
	k.more = append(k.more, s...)
	if c.Comment != "" {
		k.comment = append(append(k.comment, c.Comment...), ' ')
	}
	if k.open = more; !more {
		k.settle()
	}
}

// close ends a long string that nothing goes on with: then its & means itself.
func (k *collector) close() {
	if k.open {
		k.more = append(k.more, '&')
		k.settle()
	}
}

func (k *collector) settle() {
	last := &k.cards[len(k.cards)-1]
	last.Value, last.Comment = string(trimmed(k.more)), string(bytes.TrimSuffix(k.comment, []byte(" ")))
	k.more, k.comment, k.open = k.more[:0], k.comment[:0], false
}

// take returns what was collected, and begins the next header.
func (k *collector) take(h HDU) *Header {
	k.close()
	out := &Header{HDU: h, Cards: k.cards, Problems: k.problems}
	*k = collector{}
	return out
}
