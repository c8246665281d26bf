package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"

	"holdfast/base/fault"
	"holdfast/connector"
)

// placing is one file on its way.
type placing struct {
	*Bucket
	name, key string
	content   connector.Content
	progress  func(int64)
	placed    connector.Placed
	blind     bool // these keys may not look at what is there
}

// errTaken means that the store refused the name because there is something.
var errTaken = errors.New("the name is taken")

// Place makes an object of a file.
func (b *Bucket) Place(ctx context.Context, name string, c connector.Content, progress func(int64)) (
	connector.Placed, error) {
	return b.make(ctx, "place "+name, name, c, progress, func(p *placing) error {
		if err := p.above(ctx); err != nil {
			return err
		}
		if c.Size <= b.cfg.PartSize {
			return p.single(ctx)
		}
		return p.inParts(ctx)
	})
}

// make looks at a name, and has it made if nothing is there.
func (b *Bucket) make(ctx context.Context, what, name string, c connector.Content, progress func(int64),
	how func(p *placing) error) (connector.Placed, error) {
	k, err := b.key(name)
	if err != nil {
		return connector.Placed{}, err
	}
	p := &placing{Bucket: b, name: name, key: k, content: c, progress: progress,
		placed: connector.Placed{Path: b.root() + "/" + name}}
	there, err := p.there(ctx)
	if err == nil && !there {
		err = how(p)
	}
	if errors.Is(err, errTaken) { // it came while we were at it
		there, err = p.there(ctx)
		if err == nil && !there {
			err = fault.New(fault.Conflict, "the name is taken, and these keys may not read by what")
		}
	}
	if err != nil {
		return connector.Placed{}, b.classify(ctx, what, err)
	}
	return p.placed, nil
}

// there looks whether the object is there: with the same bytes it is a success, with others a Conflict.
func (p *placing) there(ctx context.Context) (bool, error) {
	o, err := p.head(ctx, p.key)
	switch {
	case isNotFound(err):
		return false, nil
	case forbidden(err):
		p.blind = true
		return false, p.dare(ctx)
	case err != nil:
		return false, err
	}
	how, same, err := p.same(ctx, p.key, o, p.content)
	if err != nil {
		return false, err
	}
	if !same {
		return false, fault.New(fault.Conflict, "there is something else, with %d bytes", o.Size)
	}
	p.placed.Verified, p.placed.Already = how, true
	return true, nil
}

// dare makes sure that a store refuses a name that is taken, when these keys may not look at it.
func (p *placing) dare(ctx context.Context) error {
	if p.refuses.Load() == maybe {
		if err := p.learn(ctx); err != nil {
			return err
		}
	}
	if p.refuses.Load() != refuses {
		return fault.WithHint(fault.New(fault.Credentials,
			"these keys may not look at what is there, and the store does not refuse a name that is taken"),
			"allow s3:GetObject and s3:ListBucket")
	}
	return nil
}

// above makes sure that no directory of the name is a file: a store would have both, and no disk can.
func (p *placing) above(ctx context.Context) error {
	root := strings.TrimSuffix(p.cfg.Prefix, "/")
	for dir := path.Dir(p.key); dir != root && dir != "." && !p.blind; dir = path.Dir(dir) {
		if _, known := p.folders.Load(dir); known {
			return nil
		}
		_, err := p.head(ctx, dir)
		switch {
		case err == nil:
			return fault.New(fault.Conflict, "%s is a file", dir)
		case !isNotFound(err) && !forbidden(err):
			return err
		}
		defer p.folders.Store(dir, true)
	}
	return nil
}

// onlyNew has options ask the store to refuse a name that is taken.
func (b *Bucket) onlyNew(opts *minio.PutObjectOptions) {
	if b.refuses.Load() != ignores {
		opts.SetMatchETagExcept("*")
	}
}

// asked runs what makes an object, once more without the question that a store does not know.
func (b *Bucket) asked(opts minio.PutObjectOptions, do func(minio.PutObjectOptions) (minio.UploadInfo, error)) (
	minio.UploadInfo, error) {
	with := opts
	b.onlyNew(&with)
	info, err := do(with)
	if isStatus(err, http.StatusNotImplemented) && b.refuses.CompareAndSwap(maybe, ignores) {
		info, err = do(opts)
	}
	if isStatus(err, http.StatusPreconditionFailed) || isCode(err, minio.PreconditionFailed) {
		b.refuses.Store(refuses)
		err = errTaken
	}
	return info, err
}

// single sends a file by one request. The store refuses bytes that have another hash than those that were read first.
func (p *placing) single(ctx context.Context) error {
	h := sha256.New()
	if err := readInto(h, p.content, 0, p.content.Size); err != nil {
		return err
	}
	if err := p.asHashed(h); err != nil {
		return err
	}
	sum := encoded(h.Sum(nil))
	opts := minio.PutObjectOptions{UserMetadata: labels(p.content, 0), DisableContentSha256: true}
	opts.UserMetadata["x-amz-checksum-sha256"] = sum
	info, err := p.asked(opts, func(opts minio.PutObjectOptions) (info minio.UploadInfo, err error) {
		err = p.send(ctx, 0, p.content.Size, func(body io.Reader) error {
			info, err = p.client.PutObject(ctx, p.cfg.Bucket, p.key, body, p.content.Size, "", hex.EncodeToString(h.Sum(nil)), opts)
			return err
		})
		return info, err
	})
	if err != nil {
		return err
	}
	p.placed.Verified, err = p.verify(ctx, p.key, info.ChecksumSHA256, sum, p.content)
	return err
}

// asHashed compares what was read with what was hashed before.
func (p *placing) asHashed(h hash.Hash) error {
	if [sha256.Size]byte(h.Sum(nil)) != p.content.SHA256 {
		return fault.New(fault.Corrupt, "its bytes are not those that were hashed")
	}
	return nil
}

// partSize is that of the parts of a file: always the same for the same size, so that they are found again.
func (b *Bucket) partSize(size int64) int64 {
	if least := (size + mostParts - 1) / mostParts; least > b.cfg.PartSize {
		return (least + 1<<20 - 1) >> 20 << 20 // whole MiB
	}
	return b.cfg.PartSize
}

// inParts sends a file in parts, those first that are not there yet.
func (p *placing) inParts(ctx context.Context) error {
	size := p.partSize(p.content.Size)
	id, listed, err := p.upload(ctx, size)
	if err != nil {
		return err
	}
	resumed := listed != nil
	whole, sums := sha256.New(), sha256.New()
	var parts []minio.CompletePart
	for at := int64(0); at < p.content.Size; at += size {
		part, sum, err := p.part(ctx, id, len(parts)+1, at, min(size, p.content.Size-at), listed, whole)
		if err != nil {
			return err
		}
		sums.Write(sum)
		parts = append(parts, part)
	}
	if err := p.asHashed(whole); err != nil {
		return errors.Join(err, p.abort(ctx, id))
	}
	if !p.blind { // not every store that refuses a name at a PUT does so at the end of an upload
		if there, err := p.there(ctx); there || err != nil {
			return p.give(ctx, id, err)
		}
	}
	info, err := p.asked(minio.PutObjectOptions{}, func(opts minio.PutObjectOptions) (minio.UploadInfo, error) {
		return p.client.CompleteMultipartUpload(ctx, p.cfg.Bucket, p.key, id, parts, opts)
	})
	if err != nil {
		return p.give(ctx, id, err)
	}
	p.placed.Verified, err = p.verify(ctx, p.key, info.ChecksumSHA256, encoded(sums.Sum(nil)), p.content)
	if err == nil && resumed {
		err = p.relabel(ctx, size)
	}
	return err
}

// give gives an upload up if its name is taken, and returns err.
func (p *placing) give(ctx context.Context, id string, err error) error {
	if err != nil && !errors.Is(err, errTaken) && !fault.Is(err, fault.Conflict) {
		return err
	}
	if e := p.abort(ctx, id); e != nil && err == nil {
		return e
	}
	return err
}

func (p *placing) abort(ctx context.Context, id string) error {
	err := p.client.AbortMultipartUpload(ctx, p.cfg.Bucket, p.key, id)
	if isCode(err, minio.NoSuchUpload) {
		return nil
	}
	return p.classify(ctx, "abort its upload", err)
}

// upload finds the newest one that was cut off, with its parts, or begins one.
func (p *placing) upload(ctx context.Context, size int64) (id string, listed map[int]minio.ObjectPart, err error) {
	uploads, err := p.uploads(ctx, p.key)
	if err != nil && fault.KindOf(err) != fault.Credentials { // keys that may only write send it all
		return "", nil, err
	}
	var newest minio.ObjectMultipartInfo
	for _, u := range uploads {
		if u.Key == p.key && (newest.UploadID == "" || u.Initiated.After(newest.Initiated)) {
			newest = u
		}
	}
	if newest.UploadID != "" {
		listed, err = p.parts(ctx, newest.UploadID)
		if !isCode(err, minio.NoSuchUpload) && !forbidden(err) {
			return newest.UploadID, listed, err
		}
	}
	opts := minio.PutObjectOptions{UserMetadata: labels(p.content, size)}
	opts.UserMetadata["x-amz-checksum-algorithm"] = "SHA256"
	id, err = p.client.NewMultipartUpload(ctx, p.cfg.Bucket, p.key, opts)
	return id, nil, err
}

// parts lists those of an upload by their number.
func (p *placing) parts(ctx context.Context, id string) (map[int]minio.ObjectPart, error) {
	listed := map[int]minio.ObjectPart{}
	for marker := 0; ; {
		page, err := p.client.ListObjectParts(ctx, p.cfg.Bucket, p.key, id, marker, 1000)
		if err != nil {
			return nil, err
		}
		for _, part := range page.ObjectParts {
			listed[part.PartNumber] = part
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return listed, nil
		}
		marker = page.NextPartNumberMarker
	}
}

// part sends one, unless it is there with the same bytes, and returns its hash. whole takes the bytes too.
func (p *placing) part(ctx context.Context, id string, number int, at, n int64, listed map[int]minio.ObjectPart,
	whole io.Writer) (minio.CompletePart, []byte, error) {
	if err := ctx.Err(); err != nil {
		return minio.CompletePart{}, nil, err
	}
	there, found := listed[number]
	found = found && there.Size == n
	h, etag := sha256.New(), md5.New()
	to := io.MultiWriter(h, whole)
	if found && there.ChecksumSHA256 == "" {
		to = io.MultiWriter(h, whole, etag)
	}
	if err := readInto(to, p.content, at, n); err != nil {
		return minio.CompletePart{}, nil, err
	}
	sum := h.Sum(nil)
	if !found || !samePart(there, sum, etag.Sum(nil)) {
		header := http.Header{"X-Amz-Checksum-Sha256": {encoded(sum)}}
		opts := minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum), CustomHeader: header,
			DisableContentSha256: true}
		err := p.send(ctx, at, n, func(body io.Reader) (err error) {
			there, err = p.client.PutObjectPart(ctx, p.cfg.Bucket, p.key, id, number, body, n, opts)
			return err
		})
		if err != nil {
			return minio.CompletePart{}, nil, err
		}
	}
	return minio.CompletePart{PartNumber: number, ETag: there.ETag, ChecksumSHA256: there.ChecksumSHA256}, sum, nil
}

// samePart compares a part by its hash, or by the MD5 that its ETag is where nothing encrypts it.
func samePart(there minio.ObjectPart, sum, etag []byte) bool {
	if there.ChecksumSHA256 != "" {
		return there.ChecksumSHA256 == encoded(sum)
	}
	return strings.Trim(there.ETag, `"`) == hex.EncodeToString(etag)
}

// relabel puts right what is kept with an object: a resumed upload may be one that was begun for another file whose
// beginning was the same, and a store does not tell what it was begun with.
func (p *placing) relabel(ctx context.Context, part int64) error {
	o, err := p.head(ctx, p.key)
	if forbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if sum, ok := labelledSum(o); ok && sum == p.content.SHA256 {
		return nil
	}
	return p.copyFrom(ctx, p.key, o.ETag, part)
}

// Copy has the store copy an object, if it may be had by one request.
func (b *Bucket) Copy(ctx context.Context, from, name string, c connector.Content) (connector.Placed, error) {
	source, err := b.key(from)
	if err != nil {
		return connector.Placed{}, err
	}
	return b.make(ctx, "copy "+from+" to "+name, name, c, nil, func(p *placing) error {
		if err := p.above(ctx); err != nil {
			return err
		}
		return p.copied(ctx, source)
	})
}

func (p *placing) copied(ctx context.Context, source string) error {
	o, err := p.head(ctx, source)
	switch {
	case isNotFound(err) || forbidden(err):
		return fault.New(fault.NotFound, "there is no %s", source)
	case err != nil:
		return err
	case p.content.Size > mostPart:
		return fault.New(fault.NotFound, "a store copies %d bytes at most in one request", int64(mostPart))
	}
	if sum, ok := labelledSum(o); !ok || sum != p.content.SHA256 || o.Size != p.content.Size {
		_, same, err := p.same(ctx, source, o, p.content)
		if err != nil {
			return err
		}
		if !same {
			return fault.New(fault.NotFound, "%s holds something else", source)
		}
	}
	if err := p.copyFrom(ctx, source, o.ETag, 0); err != nil {
		return err
	}
	made, err := p.head(ctx, p.key)
	if isNotFound(err) { // a store may say that all is well before it knows
		return fault.New(fault.Transient, "the copy is not there")
	}
	if err != nil {
		return err
	}
	answered := ""
	if _, ok := storedSum(made); ok {
		answered = made.ChecksumSHA256
	}
	p.placed.Verified, err = p.verify(ctx, p.key, answered, encoded(p.content.SHA256[:]), p.content)
	return err
}

// copyFrom has an object made of another one, or put its own labels right.
func (p *placing) copyFrom(ctx context.Context, source, etag string, part int64) error {
	headers := map[string]string{"x-amz-metadata-directive": "REPLACE", "x-amz-copy-source-if-match": etag,
		"x-amz-checksum-algorithm": "SHA256", "Content-Type": "application/octet-stream"}
	for k, v := range labels(p.content, part) {
		headers["x-amz-meta-"+k] = v
	}
	if source != p.key && p.refuses.Load() == refuses {
		headers["If-None-Match"] = "*"
	}
	_, err := p.client.CopyObject(ctx, p.cfg.Bucket, source, p.cfg.Bucket, p.key, headers, minio.CopySrcOptions{},
		minio.PutObjectOptions{})
	if isStatus(err, http.StatusNotImplemented) && headers["If-None-Match"] != "" {
		delete(headers, "If-None-Match")
		_, err = p.client.CopyObject(ctx, p.cfg.Bucket, source, p.cfg.Bucket, p.key, headers, minio.CopySrcOptions{},
			minio.PutObjectOptions{})
	}
	if isStatus(err, http.StatusPreconditionFailed) {
		return errTaken
	}
	return err
}

// probeName is the object that a canary writes.
const probeName = ".holdfast-probe" + connector.PartSuffix

// Probe writes an object and removes it, as far as these keys may: it may stay, and is written again next time.
func (b *Bucket) Probe(ctx context.Context) error {
	return b.classify(ctx, "probe "+b.root(), b.learn(ctx))
}

// learn writes the canary, and finds out once whether the store refuses a name that is taken.
func (b *Bucket) learn(ctx context.Context) error {
	k := path.Join(b.cfg.Prefix, probeName)
	data := make([]byte, 4096)
	sum := sha256.Sum256(data)
	put := func(opts minio.PutObjectOptions) (minio.UploadInfo, error) {
		opts.DisableContentSha256 = true
		return b.client.PutObject(ctx, b.cfg.Bucket, k, bytes.NewReader(data), int64(len(data)), "",
			hex.EncodeToString(sum[:]), opts)
	}
	if _, err := put(minio.PutObjectOptions{}); err != nil {
		return err
	}
	if b.refuses.Load() == maybe {
		_, err := b.asked(minio.PutObjectOptions{}, put)
		if err != nil && !errors.Is(err, errTaken) {
			return err
		}
		if err == nil {
			b.refuses.Store(ignores)
		}
	}
	err := b.client.RemoveObject(ctx, b.cfg.Bucket, k, minio.RemoveObjectOptions{})
	if forbidden(err) {
		return nil
	}
	return err
}
