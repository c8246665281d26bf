package checkpoint

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Import makes what Export wrote a checkpoint again, of the store directory dir, which need hold
// nothing else. It is verified on the way and shows only when all of it is there and durable; a cut
// or damaged export is refused with a Corrupt fault and leaves nothing. The way on is Replace.
func Import(ctx context.Context, in io.Reader, dir string, w Work) (Checkpoint, error) {
	c, err := importInto(ctx, in, dir, w)
	if err != nil {
		return Checkpoint{}, told(fmt.Errorf("import checkpoint into %s: %w", dir, err))
	}
	return c, nil
}

func importInto(ctx context.Context, in io.Reader, dir string, w Work) (c Checkpoint, err error) {
	fs := w.fs()
	root := fs.PathJoin(dir, dirName)
	if err := makeDir(fs, root); err != nil {
		return c, err
	}
	lock, err := acquire(fs, fs.PathJoin(root, lockName))
	if err != nil {
		return c, err
	}
	defer lock.Close()
	if err := sweep(fs, root); err != nil {
		return c, err
	}
	tmp := fs.PathJoin(root, newPrefix+"import")
	p := &placer{fs: fs, dir: tmp}
	if err := makeDir(fs, fs.PathJoin(tmp, dbName)); err != nil {
		return c, undo(fs, tmp, err)
	}
	m, err := readExport(ctx, in, p, w)
	if err == nil {
		err = errors.Join(syncDir(fs, fs.PathJoin(tmp, dbName)), syncDir(fs, tmp))
	}
	if err == nil {
		err = store.CheckDatabase(fs, fs.PathJoin(tmp, dbName))
	}
	path := fs.PathJoin(root, m.Name)
	if err == nil {
		if _, there := fs.Stat(path); there == nil {
			err = fault.New(fault.Conflict, "there is a checkpoint %s already", m.Name)
		}
	}
	if err == nil {
		err = publish(fs, tmp, path)
	}
	if err != nil {
		return c, undo(fs, tmp, err)
	}
	return Checkpoint{Manifest: m, Path: path, Sealed: true}, nil
}

// VerifyExport reads an export from beginning to end, writes nothing, and returns a Corrupt fault
// if it is not what Export wrote.
func VerifyExport(ctx context.Context, in io.Reader, w Work) (Manifest, error) {
	m, err := readExport(ctx, in, nil, w)
	if err != nil {
		return Manifest{}, fmt.Errorf("verify export: %w", err)
	}
	return m, nil
}

// placer writes the files of an export; nil only reads them.
type placer struct {
	fs  store.FS
	dir string
}

// file reads one file to its end and returns its checksum, writing it if there is a placer.
func (p *placer) file(ctx context.Context, name string, in io.Reader, t *tracker) (string, error) {
	h := newHasher()
	if p == nil {
		err := pump(ctx, io.Discard, in, h, t)
		return h.String(), err
	}
	out, err := p.fs.Create(p.fs.PathJoin(p.dir, name), "unspecified")
	if err != nil {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	err = pump(ctx, out, in, h, t)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return h.String(), nil
}

func pump(ctx context.Context, out io.Writer, in io.Reader, h hasher, t *tracker) error {
	buf := make([]byte, chunk)
	for {
		n, err := in.Read(buf)
		h.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		if err := t.add(ctx, int64(n)); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readExport reads a whole export and hands its files to the placer. Whatever the bytes are, an
// error that came from them is a Corrupt fault.
func readExport(ctx context.Context, in io.Reader, p *placer, w Work) (Manifest, error) {
	body := newBody(in)
	z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return Manifest{}, err
	}
	defer z.Close()
	src := &source{r: z}
	m, err := readEntries(ctx, tar.NewReader(src), p, w)
	if err == nil {
		// What tar leaves is padding; and behind that nothing.
		var n int64
		if n, err = io.Copy(io.Discard, io.LimitReader(src, chunk)); n == chunk {
			err = fault.New(fault.Corrupt, "there is more than the manifest names")
		}
	}
	if body.err != nil {
		return Manifest{}, fmt.Errorf("read export: %w", body.err)
	}
	if err == nil {
		err = body.check()
	}
	if err != nil && (src.err != nil || errors.Is(err, tar.ErrHeader) ||
		errors.Is(err, io.ErrUnexpectedEOF)) {
		err = fault.New(fault.Corrupt, "read export: it is damaged or cut: %w", err)
	}
	return m, err
}

// source remembers that the stream itself could not be read, as opposed to what it is written to.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// maxManifest bounds what is held in memory of bytes from outside.
const maxManifest = 64 << 20

func readEntries(ctx context.Context, tr *tar.Reader, p *placer, w Work) (Manifest, error) {
	data, err := readEntry(tr, manifestName)
	if err != nil {
		return Manifest{}, err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return Manifest{}, err
	}
	if p != nil {
		if err := roomFor(p.fs, p.dir, m.Bytes()); err != nil {
			return Manifest{}, err
		}
	}
	t := w.track(m.Bytes())
	sums := map[string]string{}
	for _, f := range m.Files {
		if err := next(tr, f.Path, f.Size); err != nil {
			return Manifest{}, err
		}
		if sums[f.Path], err = p.file(ctx, f.Path, tr, t); err != nil {
			return Manifest{}, err
		}
	}
	if err := p.finish(tr, &m, data); err != nil {
		return Manifest{}, err
	}
	for _, f := range m.Files {
		if sums[f.Path] != f.Sum {
			return Manifest{}, fault.New(fault.Corrupt,
				"%s is damaged: its checksum is %s, want %q", f.Path, sums[f.Path], f.Sum)
		}
	}
	if _, err := tr.Next(); err != io.EOF {
		return Manifest{}, fault.New(fault.Corrupt, "there is more than the manifest names (%v)",
			err)
	}
	t.end()
	return m, nil
}

// finish reads the late checksums, if the manifest lacks some, and writes manifest and checksums:
// the manifest last, as in Create.
func (p *placer) finish(tr *tar.Reader, m *Manifest, manifest []byte) error {
	sealed := true
	for _, f := range m.Files {
		sealed = sealed && f.Sum != ""
	}
	if !sealed {
		data, err := readEntry(tr, sumsName)
		if err != nil {
			return err
		}
		if err := m.complete(sumOf(manifest), data); err != nil {
			return err
		}
		if p != nil {
			if err := writeFile(p.fs, p.fs.PathJoin(p.dir, sumsName), data); err != nil {
				return err
			}
		}
	}
	if p == nil {
		return nil
	}
	return writeFile(p.fs, p.fs.PathJoin(p.dir, manifestName), manifest)
}

// next goes on to the entry that must come now.
func next(tr *tar.Reader, name string, size int64) error {
	h, err := tr.Next()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", name, err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg || size >= 0 && h.Size != size {
		return fault.New(fault.Corrupt, "it holds %q of %d bytes, want %s", h.Name, h.Size, name)
	}
	return nil
}

// readEntry reads a small file whole.
func readEntry(tr *tar.Reader, name string) ([]byte, error) {
	if err := next(tr, name, -1); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(tr, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fault.New(fault.Corrupt, "%s is larger than %d bytes", name, maxManifest)
	}
	return data, err
}

// body passes on an export without its trailer, and takes the checksum of what it passes.
type body struct {
	in   io.Reader
	held []byte // read and not passed on: at the end, the trailer
	sum  hasher
	eof  bool
	err  error // that in could not be read
}

func newBody(in io.Reader) *body { return &body{in: in, sum: newHasher()} }

func (b *body) Read(p []byte) (int, error) {
	for len(b.held) <= trailerLen && !b.eof {
		buf := make([]byte, 64<<10)
		n, err := b.in.Read(buf)
		b.held = append(b.held, buf[:n]...)
		if err == io.EOF {
			b.eof = true
		} else if err != nil {
			b.err = err
			return 0, err
		}
	}
	n := copy(p, b.held[:max(0, len(b.held)-trailerLen)])
	b.sum.Write(p[:n])
	b.held = b.held[n:]
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// check compares the trailer with all that was in front of it.
func (b *body) check() error {
	if !b.eof || !bytes.Equal(b.held, trailer(b.sum)) {
		return fault.New(fault.Corrupt,
			"read export: it is damaged or cut: its end does not match the rest")
	}
	return nil
}
