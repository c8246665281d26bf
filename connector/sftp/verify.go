package sftp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"holdfast/connector"
)

// sumOf returns the checksum of a file on the server, and how it was obtained: the server hashed it, or we read it back;
// or there is none (connector.BySize). A way that the configuration demands is used, or the call fails.
func (c *connection) sumOf(ctx context.Context, l *lane, path string, size int64) (sum [sha256.Size]byte,
	how connector.Verified, err error) {
	how = c.strongest()
	switch how {
	case connector.ByRemoteHash:
		sum, err = c.remoteHash(path, size)
	case connector.ByReadBack:
		sum, err = readBack(ctx, l, path)
	}
	if errors.Is(err, fs.ErrPermission) && c.cfg.Verify == auto { // a drop box: what is in it can't be looked at
		return sum, connector.BySize, nil
	}
	if err != nil {
		err = fmt.Errorf("hash %s: %w", path, err)
	}
	return sum, how, err
}

// strongest is the way in which files are verified here.
func (c *connection) strongest() connector.Verified {
	switch {
	case c.cfg.Verify != auto:
		return connector.Verified(c.cfg.Verify)
	case c.hasShell():
		return connector.ByRemoteHash
	}
	return connector.ByReadBack
}

// holds reports whether a file has the bytes of a content. If only sizes can be compared, the time that it was given when
// it was placed must be right as well: all frames of a camera have the same size.
func (c *connection) holds(ctx context.Context, l *lane, path string, info fs.FileInfo, content connector.Content) (
	same bool, how connector.Verified, err error) {
	if info.Size() != content.Size {
		return false, connector.BySize, nil
	}
	sum, how, err := c.sumOf(ctx, l, path, content.Size)
	if how == connector.BySize {
		return err == nil && sameTime(info, content), how, err
	}
	return err == nil && sum == content.SHA256, how, err
}

// sameTime reports whether a file has the time of a content, to the second: SFTP has no more.
func sameTime(info fs.FileInfo, content connector.Content) bool {
	return info.ModTime().Unix() == content.ModTime.Unix()
}

// readBack hashes a file here.
func readBack(ctx context.Context, l *lane, path string) (sum [sha256.Size]byte, err error) {
	f, err := l.client.Open(path)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	_, err = f.WriteTo(&writer{ctx, h})
	return [sha256.Size]byte(h.Sum(nil)), errors.Join(err, f.Close())
}

// writer ends with its context.
type writer struct {
	ctx context.Context
	io.Writer
}

func (w *writer) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}
