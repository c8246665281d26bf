package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"

	"holdfast/base/fault"
	"holdfast/connector"
)

// What is kept with an object, below x-amz-meta-.
const (
	labelSum  = "sha256"    // hexadecimal, of the file
	labelTime = "mtime"     // seconds since 1970, as rclone writes them
	labelPart = "part-size" // of an object that came in parts
)

// labels are what is kept with the object of a file.
func labels(c connector.Content, part int64) map[string]string {
	l := map[string]string{labelSum: hex.EncodeToString(c.SHA256[:]),
		labelTime: fmt.Sprintf("%d.%09d", c.ModTime.Unix(), c.ModTime.Nanosecond())}
	if part > 0 {
		l[labelPart] = strconv.FormatInt(part, 10)
	}
	return l
}

// label reads one, whatever case the store gives it.
func label(o minio.ObjectInfo, name string) string {
	for k, v := range o.UserMetadata {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// labelledSum is the hash that was kept with an object.
func labelledSum(o minio.ObjectInfo) (sum [sha256.Size]byte, ok bool) {
	b, err := hex.DecodeString(label(o, labelSum))
	if err != nil || len(b) != len(sum) {
		return sum, false
	}
	return [sha256.Size]byte(b), true
}

// storedSum is the hash that the store computed of a whole object.
func storedSum(o minio.ObjectInfo) (sum [sha256.Size]byte, ok bool) {
	b, err := base64.StdEncoding.DecodeString(o.ChecksumSHA256)
	if err != nil || len(b) != len(sum) || strings.EqualFold(o.ChecksumMode, "COMPOSITE") {
		return sum, false
	}
	return [sha256.Size]byte(b), true
}

func (b *Bucket) head(ctx context.Context, key string) (minio.ObjectInfo, error) {
	return b.client.StatObject(ctx, b.cfg.Bucket, key, minio.StatObjectOptions{Checksum: true})
}

// same finds out whether an object has the bytes of a file.
func (b *Bucket) same(ctx context.Context, key string, o minio.ObjectInfo, c connector.Content) (
	connector.Verified, bool, error) {
	if o.Size != c.Size {
		return "", false, nil
	}
	labelled, ok := labelledSum(o)
	if ok && labelled != c.SHA256 {
		return "", false, nil
	}
	if b.cfg.Verify != string(connector.ByReadBack) {
		if sum, ok := storedSum(o); ok {
			return connector.ByRemoteHash, sum == c.SHA256, nil
		}
		if hashed, err := sameParts(o, c); err != nil || hashed {
			return connector.ByRemoteHash, hashed, err
		}
	}
	if ok && b.cfg.Verify == string(connector.BySize) {
		return connector.BySize, true, nil
	}
	sum, err := b.readBack(ctx, key)
	if forbidden(err) && ok && b.cfg.Verify == auto {
		return connector.BySize, true, nil
	}
	return connector.ByReadBack, sum == c.SHA256, err
}

// sameParts compares the hash of the hashes of the parts, which is what a store has of an object that came in some.
func sameParts(o minio.ObjectInfo, c connector.Content) (bool, error) {
	part, err := strconv.ParseInt(label(o, labelPart), 10, 64)
	if err != nil || part <= 0 || o.ChecksumSHA256 == "" || c.ReaderAt == nil {
		return false, nil
	}
	all := sha256.New()
	for at := int64(0); at < c.Size; at += part {
		h := sha256.New()
		if err := readInto(h, c, at, min(part, c.Size-at)); err != nil {
			return false, err
		}
		all.Write(h.Sum(nil))
	}
	return encoded(all.Sum(nil)) == withoutCount(o.ChecksumSHA256), nil
}

// withoutCount is the hash of hashes without the number of parts behind it.
func withoutCount(checksum string) string {
	checksum, _, _ = strings.Cut(checksum, "-")
	return checksum
}

func encoded(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// readInto reads a range of a file.
func readInto(w io.Writer, c connector.Content, at, n int64) error {
	got, err := io.Copy(w, io.NewSectionReader(c, at, n))
	if err == nil && got < n {
		err = fault.New(fault.Corrupt, "it has %d bytes, and had %d when it was hashed", at+got, c.Size)
	}
	return err
}

// readBack reads an object, and hashes it.
func (b *Bucket) readBack(ctx context.Context, key string) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = b.get(ctx, key, h)
	return [sha256.Size]byte(h.Sum(nil)), err
}

func (b *Bucket) get(ctx context.Context, key string, to io.Writer) error {
	body, _, _, err := b.client.GetObject(ctx, b.cfg.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	_, err = io.Copy(to, body)
	return errors.Join(err, body.Close())
}

// Read reads an object.
func (b *Bucket) Read(ctx context.Context, name string, to io.Writer) error {
	k, err := b.key(name)
	if err == nil {
		err = b.get(ctx, k, to)
	}
	if isNotFound(err) {
		return fault.New(fault.NotFound, "there is no %s", name)
	}
	return b.classify(ctx, "read "+name, err)
}

// verify makes sure that an object that was just made has the bytes of a file. answered is the hash in the
// store's answer, want what it has to be. An object that is something else goes, if it is the one that we made:
// nobody may take it for whole.
func (b *Bucket) verify(ctx context.Context, key, answered, want string, c connector.Content) (
	connector.Verified, error) {
	how, sound := connector.ByRemoteHash, withoutCount(answered) == want
	if answered == "" || b.cfg.Verify == string(connector.ByReadBack) {
		var err error
		if how, sound, err = b.lookBack(ctx, key, c); err != nil {
			return "", err
		}
	}
	if sound {
		return how, nil
	}
	o, err := b.head(ctx, key)
	if labelled, ok := labelledSum(o); err == nil && (!ok || labelled != c.SHA256) {
		return "", fault.New(fault.Conflict, "another program replaced it")
	}
	if err == nil {
		err = b.client.RemoveObject(ctx, b.cfg.Bucket, key, minio.RemoveObjectOptions{})
	}
	return "", errors.Join(fault.New(fault.Corrupt, "what the store has of it are other bytes than those that were sent"),
		b.classify(ctx, "remove it", err))
}

// lookBack is verify without a word of the store.
func (b *Bucket) lookBack(ctx context.Context, key string, c connector.Content) (connector.Verified, bool, error) {
	if b.cfg.Verify == string(connector.BySize) {
		o, err := b.head(ctx, key)
		if forbidden(err) {
			return connector.BySize, true, nil // it took as many bytes as were announced
		}
		return connector.BySize, o.Size == c.Size, err
	}
	sum, err := b.readBack(ctx, key)
	if forbidden(err) && b.cfg.Verify == auto {
		return connector.BySize, true, nil
	}
	return connector.ByReadBack, sum == c.SHA256, err
}

// Sums takes the hash that the store computed; where it has none, the one that was kept with the object, or
// reads it.
func (b *Bucket) Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, connector.Verified,
	error) {
	sums, weakest := make(map[string][sha256.Size]byte, len(names)), connector.ByRemoteHash
	for _, name := range names {
		k, err := b.key(name)
		if err != nil {
			return nil, "", err
		}
		sum, how, err := b.sum(ctx, k)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, "", b.classify(ctx, "hash "+name, err)
		}
		sums[name] = sum
		if how == connector.BySize || weakest == connector.ByRemoteHash {
			weakest = how
		}
	}
	return sums, weakest, nil
}

// sum is that of one object. One that was only kept with it says as much as the size: the bytes were not looked at.
func (b *Bucket) sum(ctx context.Context, key string) (sum [sha256.Size]byte, how connector.Verified, err error) {
	o, err := b.head(ctx, key)
	if err != nil {
		return sum, "", err
	}
	if b.cfg.Verify != string(connector.ByReadBack) {
		if sum, ok := storedSum(o); ok {
			return sum, connector.ByRemoteHash, nil
		}
		if sum, ok := labelledSum(o); ok {
			return sum, connector.BySize, nil
		}
	}
	sum, err = b.readBack(ctx, key)
	return sum, connector.ByReadBack, err
}
