package index

import (
	"errors"
	"fmt"

	"holdfast/base/cdxj"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
)

// part is what was added of one WARC file, and is not written yet.
type part struct {
	warc     string // "" for the end of the file before it
	text     []byte
	bytes    int64 // of the WARC file, up to the end of the last capture
	captures int64
}

// Add takes the lines of the records that an archive has just added at these places. What is no capture has no line, nor has a
// capture whose line would be too long; Rebuild leaves that out too. Nothing is written before Sync.
func (x *Index) Add(records []*warc.Record, places []archive.Place) error {
	for i, rec := range records {
		l, ok, err := cdxj.Written(rec, places[i].Written, places[i].File, weburl.IndexKeyOf)
		if err != nil {
			return err
		}
		if ok {
			if err := x.add(l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *Index) add(l cdxj.Line) error {
	if n := len(x.parts); n == 0 || x.parts[n-1].warc != l.Filename {
		x.parts = append(x.parts, part{warc: l.Filename})
	}
	p := &x.parts[len(x.parts)-1]
	text, err := l.Append(p.text)
	if fault.Is(err, fault.Invalid) {
		return nil
	}
	if err != nil {
		return err
	}
	p.text, p.bytes = text, l.Offset+l.Length
	p.captures++
	return nil
}

// Roll ends the lines of the WARC file that was open, as Archive.Roll the file. The first line of another file does so too.
func (x *Index) Roll() { x.parts = append(x.parts, part{}) }

// Sync writes what was added, and makes it durable. It has to be called before Commit. After an error it may be called again;
// a Full fault means that there is no room.
func (x *Index) Sync() error {
	for len(x.parts) > 0 {
		p := x.parts[0]
		if p.warc != x.now.WARC {
			if err := x.end(); err != nil {
				return err
			}
		}
		if err := x.write(p); err != nil {
			return err
		}
		x.parts = x.parts[1:]
	}
	if x.file == nil {
		return nil
	}
	if err := x.file.Sync(); err != nil {
		return fmt.Errorf("sync the index: %w", err)
	}
	return nil
}

// write writes a part.
func (x *Index) write(p part) error {
	if p.captures == 0 {
		return nil
	}
	if x.file == nil {
		if err := x.begin(p.warc); err != nil {
			return err
		}
	}
	if err := x.file.Append(p.text); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	x.now.Size, x.now.Bytes = x.file.Size(), p.bytes
	x.now.Captures += p.captures
	return nil
}

// begin begins the lines of a WARC file, or goes on with those of one whose file was lost.
func (x *Index) begin(warc string) error {
	serial := x.serial.Add(1)
	var err error
	x.file, err = outfile.Create(x.dir.disk, x.dir.join(linesName(serial, x.mark)))
	if disk.NoRoom(err) {
		err = fault.As(fault.Full, err)
	}
	if err != nil {
		return fmt.Errorf("begin lines of the index: %w", err)
	}
	if x.now.WARC != warc {
		x.now = open{Lineage: x.lineage, WARC: warc}
	}
	x.now.Serial, x.now.Size = serial, 0
	return nil
}

// end ends the file that is being written to. Once a transaction has recorded that, it waits to be sorted.
func (x *Index) end() error {
	if x.file != nil {
		if err := x.file.Sync(); err != nil {
			return fmt.Errorf("end lines of the index: %w", err)
		}
		if err := x.file.Close(); err != nil {
			return fmt.Errorf("end lines of the index: %w", err)
		}
		x.file = nil
		x.ended = append(x.ended, x.now)
	}
	x.now = open{Lineage: x.lineage}
	return nil
}

// Commit records in a transaction how far the lines count. They must be synced.
func (x *Index) Commit(tx *store.Tx) error {
	for _, o := range x.ended {
		p := piece{Serial: o.Serial, File: linesName(o.Serial, x.mark), Size: o.Size}
		if err := errors.Join(o.remember(tx), set(tx, key(waitPart).U64(o.Serial), p)); err != nil {
			return err
		}
	}
	return set(tx, key(openPart), x.now)
}

// Committed makes Run sort files that have ended. It is called after the transaction of a Commit.
func (x *Index) Committed() {
	if len(x.ended) > 0 {
		x.ended = nil
		x.wake()
	}
}
