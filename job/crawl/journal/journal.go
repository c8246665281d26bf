// Package journal writes and reads recover journals: frontier.recover.gz, the log of a crawl's frontier that Heritrix keeps, from
// which a frontier can be built anew.
//
// A journal is text in gzip, a line an event, with one blank between its fields:
//
//	F+ URL HOPS VIA   the URL was queued; HOPS and VIA are empty for a seed, and the blanks stay
//	Fs URL HOPS VIA   it was fetched (Heritrix 1: the URL alone)
//	Ff URL HOPS VIA   it failed for good (likewise)
//	Fd URL            it was disregarded: robots.txt or the scope forbid it
//	Fe URL            it was taken from its queue, to be fetched
//	Fr URL            it was put back, to be tried again
//	Fi URL            it was taken for known
//	T 20060102150405  the time, in UTC, every 10,000 lines
//	E 20060102150405 TEXT   an error of the crawler; an empty line follows
//
// HOPS of more than fifty letters are the number of those left out, a plus and the others. Fields behind VIA (Heritrix 1: the
// context of the link) say nothing here. Journals of 2004 have VIA before HOPS.
// Sources: https://heritrix.readthedocs.io/en/latest/operating.html#crawl-recovery, and the journals that Heritrix 1.x and 3.x
// write (org.archive.crawler.frontier.RecoveryJournal, FrontierJournal).
//
// Writer appends to the journal of a crawl, in step with its store. Reader reads one that this program or Heritrix wrote. Import
// has a frontier know what a journal tells.
//
// Called by the job crawl.
package journal

import (
	"strings"
	"time"
)

// Name is what the journal of a crawl is called. One that was rotated has a dot and a checkpoint's name behind it.
const Name = "frontier.recover.gz"

// Kind is what a line tells.
type Kind byte

// The kinds of lines.
const (
	Queued      Kind = '+'
	Taken       Kind = 'e'
	Included    Kind = 'i'
	Disregarded Kind = 'd'
	PutBack     Kind = 'r'
	Fetched     Kind = 's'
	Failed      Kind = 'f'
	Time        Kind = 'T'
	Trouble     Kind = 'E'
)

// Line is a line of a journal.
type Line struct {
	Kind Kind
	URL  string
	Hops string // Heritrix's letters; "" for a seed
	Via  string // "" for a seed
	At   time.Time
	Text string // of Trouble
}

// long reports whether lines of the kind have hops and via.
func (k Kind) long() bool { return k == Queued || k == Fetched || k == Failed }

// stamp is how a journal writes a time.
const stamp = "20060102150405"

// Append writes the line behind b.
func (l Line) Append(b []byte) []byte {
	switch l.Kind {
	case Time:
		b = l.At.UTC().AppendFormat(append(b, "T "...), stamp)
	case Trouble:
		b = l.At.UTC().AppendFormat(append(b, "E "...), stamp)
		b = append(append(b, ' '), strings.Map(printed, l.Text)...)
		b = append(b, '\n')
	default:
		b = appendURL(append(b, 'F', byte(l.Kind), ' '), l.URL)
		if l.Kind.long() {
			b = append(append(b, ' '), strings.Map(hop, l.Hops)...)
			b = appendURL(append(b, ' '), l.Via)
		}
	}
	return append(b, '\n')
}

// appendURL writes a URL as one field: what would part fields or lines is percent-encoded, as parsers of URLs do it.
func appendURL(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func printed(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// hop drops what can't be in a hop path.
func hop(r rune) rune {
	if r <= ' ' || r >= 0x7f {
		return -1
	}
	return r
}
