package archive

import (
	"bytes"
	"errors"
	"io"

	"holdfast/base/warc"
)

// Packed is a record as it will stand in the file that was open when it was packed.
type Packed struct {
	info   string // the id of that file's first record
	member []byte
	of     warc.Written
}

// mostPacked is how many bytes of a capture are packed ahead, in memory.
const mostPacked = 1 << 20

// packer packs records, because compression takes most of the time that it takes to write one.
type packer struct {
	to  bytes.Buffer
	out *warc.Writer
}

// begins notes the first record of a file.
func (a *Archive) begins(info string) {
	a.info = info
	a.begun.Store(info)
}

// Pack packs the records of a capture before Add. Add is for one goroutine, Pack for any number. It returns nil if the records
// are too large for that, or no file is open. If another file is open when they are added, they are packed again. An error is
// one that Add would return.
func (a *Archive) Pack(records ...*warc.Record) ([]Packed, error) {
	info := a.begun.Load().(string)
	size := int64(0)
	for _, r := range records {
		size += r.Length
	}
	if info == "" || size > mostPacked {
		return nil, nil
	}
	p, _ := a.packers.Get().(*packer)
	if p == nil {
		p = &packer{}
		out, err := warc.NewWriter(&p.to, 0, a.o.WARC)
		if err != nil {
			return nil, err
		}
		p.out = out
	}
	defer a.packers.Put(p)
	all := make([]Packed, 0, len(records))
	for _, rec := range records {
		p.to.Reset()
		p.out.Reset(&p.to, 0)
		again, ok := rec.Content.(io.Seeker)
		if !ok {
			return nil, nil
		}
		at, err := again.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		r := *rec
		r.WarcinfoID = info
		of, err := p.out.Write(&r)
		if _, back := again.Seek(at, io.SeekStart); err != nil || back != nil {
			return nil, errors.Join(err, back)
		}
		all = append(all, Packed{info: info, member: bytes.Clone(p.to.Bytes()), of: of})
	}
	return all, nil
}
