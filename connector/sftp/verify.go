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

// sumOf finds out what a file on the server holds, as strongly as can be: by the hash of the server, by
// reading it back, or not at all (connector.BySize, without a sum). A way that was asked for by the
// configuration is taken, or it is an error.
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

// holds reports whether a file of that size has the bytes of a content.
func (c *connection) holds(ctx context.Context, l *lane, path string, size int64, content connector.Content) (
	same bool, how connector.Verified, err error) {
	if size != content.Size {
		return false, connector.BySize, nil
	}
	sum, how, err := c.sumOf(ctx, l, path, size)
	return err == nil && (how == connector.BySize || sum == content.SHA256), how, err
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
