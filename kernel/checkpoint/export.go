package checkpoint

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// An export is a checkpoint as one stream that any tar with zstd can read:
//
//	a tar stream, compressed by zstd: manifest.json, the files in the order of the manifest, and
//	sums.json when the manifest lacks checksums
//	a trailer, as a zstd frame that is skipped: magic 0x184D2A5E and length 24 (4 bytes each,
//	little-endian), "HOLDEXP1", XXH3 of 128 bits over every byte in front of the trailer
//
// The trailer covers each bit of the stream, headers and padding included; without it the stream
// was cut. The manifest's checksums cover the files once more, on their own.
const (
	trailerFrame = 0x184D2A5E
	trailerMagic = "HOLDEXP1"
	trailerLen   = 4 + 4 + len(trailerMagic) + 16
)

// Export writes the checkpoint in the directory at path to out, verifying it on the way: it is read
// once, and each file compared with its checksum. An export that fails has no trailer, and Import
// refuses it.
func Export(ctx context.Context, path string, out io.Writer, w Work) (Manifest, error) {
	m, err := export(ctx, path, out, w)
	if err != nil {
		return Manifest{}, fmt.Errorf("export checkpoint %s: %w", path, err)
	}
	return m, nil
}

// ExportFile exports into a new file, syncs it, reads it once more from beginning to end, and only
// then gives it its name. A failure leaves nothing.
func ExportFile(ctx context.Context, path, file string, w Work) (Manifest, error) {
	m, err := exportFile(ctx, path, file, w)
	if err != nil {
		return Manifest{}, told(fmt.Errorf("export checkpoint %s to %s: %w", path, file, err))
	}
	return m, nil
}

func exportFile(ctx context.Context, path, file string, w Work) (Manifest, error) {
	fs := w.fs()
	if _, err := fs.Stat(file); err == nil {
		return Manifest{}, fault.New(fault.Conflict, "the file is there already")
	}
	tmp := file + ".part"
	out, err := fs.Create(tmp, "unspecified")
	if err != nil {
		return Manifest{}, err
	}
	m, err := export(ctx, path, out, w)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return Manifest{}, undo(fs, tmp, err)
	}
	in, err := fs.Open(tmp)
	if err != nil {
		return Manifest{}, undo(fs, tmp, err)
	}
	_, err = VerifyExport(ctx, in, w)
	if err = errors.Join(err, in.Close()); err != nil {
		return Manifest{}, undo(fs, tmp, fmt.Errorf("read it back: %w", err))
	}
	if err := publish(fs, tmp, file); err != nil {
		return Manifest{}, undo(fs, tmp, err)
	}
	return m, nil
}

func export(ctx context.Context, path string, out io.Writer, w Work) (Manifest, error) {
	fs := w.fs()
	data, err := readFile(fs, fs.PathJoin(path, manifestName))
	if notExist(err) {
		return Manifest{}, fault.New(fault.NotFound, "there is none")
	}
	if err != nil {
		return Manifest{}, err
	}
	var r Report
	files, err := r.survey(fs, path)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return Manifest{}, err
	}
	sum := newHasher()
	z, err := zstd.NewWriter(io.MultiWriter(out, sum), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return Manifest{}, err
	}
	e := exporter{ctx: ctx, fs: fs, path: path, tar: tar.NewWriter(z)}
	e.t = w.track(r.Manifest.Bytes())
	err = e.all(data, files)
	if err != nil {
		z.Reset(io.Discard) // a frame that is ended would look whole
		return Manifest{}, errors.Join(err, z.Close())
	}
	if err := errors.Join(e.tar.Close(), z.Close()); err != nil {
		return Manifest{}, err
	}
	if _, err := out.Write(trailer(sum)); err != nil {
		return Manifest{}, err
	}
	e.t.end()
	return r.Manifest, nil
}

func trailer(sum hasher) []byte {
	b := binary.LittleEndian.AppendUint32(nil, trailerFrame)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(trailerMagic)+16))
	own := sum.h.Sum128().Bytes()
	return append(append(b, trailerMagic...), own[:]...)
}

// exporter writes one checkpoint as tar entries.
type exporter struct {
	ctx  context.Context // of the one Export it lives for
	fs   store.FS
	path string
	tar  *tar.Writer
	t    *tracker
}

func (e *exporter) all(manifest []byte, files []File) error {
	if err := e.entry(manifestName, manifest); err != nil {
		return err
	}
	recorded, err := decodeManifest(manifest)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, f := range recorded.Files {
		known[f.Path] = f.Sum != ""
	}
	l := late{Format: manifestFormat, Manifest: sumOf(manifest), Sums: map[string]string{}}
	for _, f := range files {
		sum, err := e.file(f)
		if err != nil {
			return err
		}
		if !known[f.Path] {
			l.Sums[f.Path] = sum
		}
	}
	if len(l.Sums) == 0 {
		return nil
	}
	return e.entry(sumsName, l.encode())
}

func (e *exporter) header(name string, size int64) error {
	return e.tar.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644,
		Typeflag: tar.TypeReg})
}

func (e *exporter) entry(name string, data []byte) error {
	if err := e.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := e.tar.Write(data)
	return err
}

// file streams one file and compares it on the way. A table without a checksum is compared with the
// checksums of its blocks first.
func (e *exporter) file(f File) (string, error) {
	full := e.fs.PathJoin(e.path, f.Path)
	if f.Sum == "" {
		if err := store.CheckTable(e.fs, full); err != nil {
			return "", err
		}
	}
	if err := e.header(f.Path, f.Size); err != nil {
		return "", err
	}
	h := newHasher()
	n, err := stream(e.ctx, e.fs, full, io.MultiWriter(h, e.tar), e.t)
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != f.Size {
		return "", fault.New(fault.Corrupt, "%s has changed its size", f.Path)
	}
	if err != nil {
		return "", err
	}
	if f.Sum != "" && h.String() != f.Sum {
		return "", fault.New(fault.Corrupt, "%s is damaged: its checksum is %s, want %s", f.Path, h,
			f.Sum)
	}
	return h.String(), nil
}
