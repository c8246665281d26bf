// Package fits says whether a FITS file is whole, and reads the cards of its headers. It follows the FITS
// Standard 4.0, whose sections the comments name.
//
// A file is a row of HDUs (header and data units), each of whole blocks of 2880 bytes (3.1). Check reads it
// once from its first byte to its last, so that the same pass can feed a hash, and gives one verdict: good if
// every HDU carries a CHECKSUM and each is right, absent if nothing is wrong and something carries none, bad,
// truncated, or no FITS at all. Skim looks at the headers alone and says whether a file that is still being
// written has all that they ask for. Headers gives their cards. None needs more memory for a larger file, and
// none believes a number that it reads.
//
// What no pass can tell: whether further HDUs should have followed; whether data without sums are those that were
// written; what the columns of a table mean.
//
// Called by the job transfer.
package fits

import (
	"fmt"
	"strings"
)

// BlockSize is what every part of a file is a multiple of (3.1).
const BlockSize = 2880

// The bounds of what is kept of one file; what is beyond them is checked and counted.
const (
	MaxHDUs     = 10000  // in a report
	MaxFindings = 200    // in a report
	MaxCards    = 100000 // of one header that Headers gives
)

// Verdict is what is said of a whole file.
type Verdict string

// The verdicts.
const (
	Good      Verdict = "good"      // its structure is right, and right checksums vouch for every byte
	Absent    Verdict = "absent"    // nothing is wrong; not all of it has a checksum
	Bad       Verdict = "bad"       // a sum is wrong, or the structure breaks a rule that readers rely on
	Truncated Verdict = "truncated" // it ends before its own headers say
	NotFITS   Verdict = "not FITS"  // it does not begin as a FITS file, or says itself that it is none
	Whole     Verdict = "whole"     // said by Skim only: all is there that the headers ask for
)

// Answer is what a sum says of its HDU.
type Answer uint8

// The answers. Unread is that of an HDU whose end was not reached.
const (
	Unread Answer = iota
	SumGood
	SumBad
	SumAbsent
)

// String returns the answer as operators read it.
func (a Answer) String() string {
	return [...]string{"unread", "good", "bad", "absent"}[min(a, SumAbsent)]
}

// HDU is one header and data unit.
type HDU struct {
	Index    int    // from 0, the primary HDU
	Name     string // EXTNAME, "" without one
	Kind     string // Primary, Groups or the value of XTENSION
	Packed   bool   // a tile-compressed image or table (10): its data are those of a BINTABLE
	Offset   int64  // of its header in the file
	Header   int64  // bytes of the header, with its fill
	Data     int64  // bytes of the data that the header asks for, without fill
	Checksum Answer // CHECKSUM, which vouches for header and data (4.4.2.7)
	Datasum  Answer // DATASUM, which vouches for the data alone
}

// The kinds of a first HDU.
const (
	Primary = "primary"
	Groups  = "random groups"
)

// End is the offset behind the HDU, fill included.
func (h HDU) End() int64 { return h.Offset + h.Header + padded(h.Data) }

// label is how a finding names the HDU.
func (h HDU) label() string {
	if h.Name == "" {
		return fmt.Sprintf("HDU %d", h.Index)
	}
	return fmt.Sprintf("HDU %d (%s)", h.Index, h.Name)
}

// padded is n rounded up to whole blocks.
func padded(n int64) int64 { return (n + BlockSize - 1) / BlockSize * BlockSize }

// Finding is something that a person may want to know. One that is not a Fault is a rule broken without harm,
// or a remark.
type Finding struct {
	HDU   int // -1 for the file
	Fault bool
	Text  string // a whole sentence, which names the HDU
}

// Report is what was found in a file.
type Report struct {
	Verdict  Verdict
	HDUs     []HDU // at most MaxHDUs of them
	Count    int   // of all HDUs whose header is whole
	Findings []Finding
	Unsaid   int   // findings beyond MaxFindings
	Size     int64 // of the file
	Want     int64 // what the headers ask for, up to the end of the last HDU
	// InHeader is set if the file ends within a header: Want is then the least that is missing.
	InHeader bool
	// OnlyFill is set if all that is missing is the fill of the last block: the data are complete.
	OnlyFill bool
	// Packed is set if an HDU is tile-compressed already.
	Packed bool
}

// Missing is how many bytes a truncated file lacks, or lacks at least if it ends InHeader.
func (r Report) Missing() int64 { return max(0, r.Want-r.Size) }

// String returns the verdict and what led to it, on one line.
func (r Report) String() string {
	var b strings.Builder
	b.WriteString(string(r.Verdict))
	sep := ": "
	for _, f := range r.Findings {
		if f.Fault {
			b.WriteString(sep + f.Text)
			sep = "; "
		}
	}
	if r.Unsaid > 0 {
		fmt.Fprintf(&b, "; and %d findings more", r.Unsaid)
	}
	return b.String()
}

// find adds a finding.
func (r *Report) find(hdu int, fault bool, format string, args ...any) {
	f := Finding{HDU: hdu, Fault: fault, Text: fmt.Sprintf(format, args...)}
	if len(r.Findings) < MaxFindings {
		r.Findings = append(r.Findings, f)
		return
	}
	r.Unsaid++
	if !fault {
		return
	}
	// A fault is never lost among remarks.
	for i := len(r.Findings) - 1; i >= 0; i-- {
		if !r.Findings[i].Fault {
			r.Findings[i] = f
			return
		}
	}
}
