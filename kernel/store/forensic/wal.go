package forensic

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// sector is what a disk writes at once: a power cut loses whole ones, never a part of one.
const sector = 512

func walFraming(num uint64) framing { return framing{wal: true, num: uint32(num)} }

// replay follows the sequence numbers through the logs: every operation takes the next one, so a
// jump shows that something between was lost, also when each file by itself reads well.
type replay struct {
	r      *Report
	next   uint64 // the number expected next
	served bool   // Pebble is still reading
	any    bool   // a batch was read
}

// batchAt is a batch that was read in a log.
type batchAt struct {
	off  int64
	seqs Seqs
}

// wals walks the logs that Pebble would replay, in order.
func (r *Report) wals(fsys vfs.FS, l listing) {
	var nums []uint64
	for _, num := range l.nums(classWAL) {
		if num >= r.Manifest.MinWAL {
			nums = append(nums, num)
		}
	}
	const firstSeq = 10 // the numbers below are reserved
	p := &replay{r: r, next: max(r.Manifest.LastSeq+1, firstSeq), served: true}
	for i, num := range nums {
		p.wal(fsys, l.files[classWAL][num], num, i == len(nums)-1)
	}
	for _, t := range r.Manifest.Tables {
		r.LastSeq = max(r.LastSeq, t.LargestSeq)
	}
}

// wal walks one log and judges its flaws.
func (p *replay) wal(fsys vfs.FS, name string, num uint64, last bool) {
	out := WAL{File: name, Num: num, Last: last}
	data, bad, err := readFile(fsys, fsys.PathJoin(p.r.Dir, name))
	if err != nil {
		p.r.add(Finding{File: name, Kind: Damage, Why: err.Error()})
		return
	}
	if bad > 0 {
		p.r.add(unreadable(name, bad))
	}
	var batches []batchAt
	w, _ := walk(data, walFraming(num), func(rec logRecord) error {
		s, err := p.batch(rec.payload)
		if err != nil {
			p.r.add(Finding{File: name, Kind: Damage, Offset: rec.off, End: rec.end,
				Why: fmt.Sprintf("a record with a good checksum is no batch (%v)", err)})
			return nil
		}
		out.extend(rec, s)
		if s != (Seqs{}) {
			batches = append(batches, batchAt{rec.off, s})
		}
		return nil
	})
	out.Size, out.Served, out.Intact, out.Closed = w.size, w.served, w.intact(), w.closed
	lost := p.sequence(name, batches, w)
	for i, f := range w.flaws {
		p.r.add(p.finding(out, w, i, f, lost[i]))
	}
	if !last && !w.closed && len(w.flaws) == 0 {
		p.r.add(Finding{File: name, Kind: Damage, Offset: w.end, End: w.size,
			Why: "it is not the last log, but has no closing mark: its end is gone"})
	}
	p.served = p.served && len(w.flaws) == 0
	p.r.WALs = append(p.r.WALs, out)
}

func unreadable(name string, bytes int64) Finding {
	return Finding{File: name, Kind: Damage, Why: fmt.Sprintf("the disk can't read %d bytes", bytes)}
}

// batch reads a record's sequence numbers and takes note of what it promises.
func (p *replay) batch(repr []byte) (Seqs, error) {
	err := ReadBatch(repr, func(op Op) error {
		if op.Kind == pebble.InternalKeyKindLogData {
			if acked, ok := readPromise(op.Key); ok {
				p.r.Promised = max(p.r.Promised, acked)
			}
		}
		return nil
	})
	if err != nil {
		return Seqs{}, err
	}
	first, n := binary.LittleEndian.Uint64(repr), binary.LittleEndian.Uint32(repr[8:])
	if n == 0 {
		return Seqs{}, nil
	}
	return Seqs{first, first + uint64(n) - 1}, nil
}

// sequence checks that a log's batches follow on one another and on what came before. It returns,
// for each flaw, the numbers that the flaw swallowed, as far as batches behind it tell; a jump
// where there is no flaw is a finding of its own.
func (p *replay) sequence(name string, batches []batchAt, w walked) []Seqs {
	lost := make([]Seqs, len(w.flaws))
	flaw := 0
	for _, b := range batches {
		swallowed := -1
		for flaw < len(w.flaws) && w.flaws[flaw].off < b.off {
			swallowed, flaw = flaw, flaw+1
		}
		jump := b.seqs.First > p.next && !p.r.ingested(Seqs{p.next, b.seqs.First - 1})
		switch {
		case jump && swallowed >= 0:
			lost[swallowed] = Seqs{p.next, b.seqs.First - 1}
		case swallowed >= 0 && !p.any:
			lost[swallowed] = Seqs{b.seqs.First - 1, b.seqs.First - 1} // how far back is not known
		case jump:
			p.r.add(Finding{File: name, Kind: Missing, Offset: b.off, End: b.off,
				Lost: Seqs{p.next, b.seqs.First - 1}, Why: "its batches do not follow on what was before them"})
		}
		if p.next = max(p.next, b.seqs.Last+1); !p.any {
			p.next = b.seqs.Last + 1 // the MANIFEST's number may be that of a later batch
		}
		switch served := p.served && b.off < w.served; {
		case served:
			p.r.LastSeq = b.seqs.Last
		case !p.any:
			p.r.LastSeq = min(p.r.LastSeq, b.seqs.First-1)
		}
		p.any = true
	}
	return lost
}

// ingested reports whether a table of the MANIFEST accounts for the numbers: an ingested table
// takes one that no log mentions.
func (r *Report) ingested(s Seqs) bool {
	for _, t := range r.Manifest.Tables {
		if t.SmallestSeq <= s.First && s.Last <= t.LargestSeq {
			return true
		}
	}
	return false
}

// extend adds a record to the log's readable stretches.
func (w *WAL) extend(r logRecord, s Seqs) {
	if n := len(w.Extents); n > 0 && adjoin(w.Extents[n-1].End, r.off) {
		e := &w.Extents[n-1]
		e.End, e.Batches = r.end, e.Batches+1
		if s != (Seqs{}) {
			if e.Seqs == (Seqs{}) {
				e.Seqs.First = s.First
			}
			e.Seqs.Last = s.Last
		}
		return
	}
	w.Extents = append(w.Extents, Extent{Offset: r.off, End: r.end, Batches: 1, Seqs: s})
}

// adjoin reports whether a record at off follows on one that ended at end: a block's unused end may
// lie between.
func adjoin(end, off int64) bool {
	return end == off || off%blockSize == 0 && off-end < syncHeader
}

// sectorLost reports whether the loss of whole sectors can explain a flaw: one must end between the
// broken chunk's start and the next sound chunk. The first sector counts only if the chunk's header
// did not come with it: a header that reaches into the next sector may have lost its checksum alone.
func sectorLost(f flaw) bool {
	end := (f.at/sector + 1) * sector
	if f.headed && f.at+syncHeader <= end {
		end += sector
	}
	return end <= f.resume
}

// finding judges a flaw of a log. In any log but the last it is damage: a log is closed and synced
// before the next one is made. In the last log a power cut may have kept a later write and lost an
// earlier one that was not acknowledged; that is a torn tail, unless something proves that the
// bytes had been durable: one turned bit explains it all, a later chunk calls them synced, a later
// batch calls them acknowledged, or the hole is smaller than what a disk loses at once.
func (p *replay) finding(log WAL, w walked, i int, f flaw, lost Seqs) Finding {
	out := Finding{File: log.File, Kind: Damage, Offset: f.off, End: f.resume, Lost: lost, Why: f.cause}
	switch {
	case f.bit >= 0:
		out.FlippedBit, out.Bit = true, f.bit
		out.Harmless = log.Last && log.Closed && i == len(w.flaws)-1 && w.end == f.resume
	case !log.Last:
		out.Why += ", and it is not the last log"
	case f.at < w.promise:
		out.Why += fmt.Sprintf(", but a later chunk says that all up to %d was synced", w.promise)
	case lost != (Seqs{}) && p.r.Promised >= lost.First:
		out.Why += fmt.Sprintf(", but a batch says that all up to %d was acknowledged", p.r.Promised)
	case f.behind && !sectorLost(f):
		out.Why += ", and sound records follow it sooner than a lost sector would let them"
	default:
		out.Kind = TornTail
	}
	return out
}
