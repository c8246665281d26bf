// Package s3 is the destination that is a bucket of an S3-compatible store.
//
//	s3:
//	  endpoint: https://minio.example:9000   # default: AWS of the region
//	  bucket: archive
//	  prefix: raw
//
// A file is one object, which a store shows only when it is whole. A small one goes by one PUT; a larger one in
// parts, which stay when it is cut off, and are compared by size and hash before they are used again. What is
// under way is an upload of the store, and no object: Sweep aborts it.
//
// Each object carries the SHA-256 and the time of its file as metadata (sha256, mtime). An object is never
// replaced: its name is looked at, and the store is asked to refuse a name that is taken (If-None-Match: *). One
// that does not know that question is only looked at, and another program could come in between.
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// Config is a bucket of S3, or of any store that speaks as it does.
type Config struct {
	// Endpoint is the address of the store; default https://s3.amazonaws.com.
	Endpoint string `yaml:"endpoint"`
	// Region of the bucket: that of AWS_REGION in the environment, else default us-east-1, which is what most other stores
	// want.
	Region string `yaml:"region"`
	// Bucket is its name.
	Bucket string `yaml:"bucket" jsonschema:"required"`
	// Prefix below which the files go; default the whole bucket.
	Prefix string `yaml:"prefix"`
	// AccessKey is the id of the key; default that of AWS_ACCESS_KEY_ID in the environment.
	AccessKey secret.Text `yaml:"access_key"`
	// SecretKey belongs to it; default that of AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN.
	SecretKey secret.Text `yaml:"secret_key"`
	// PathStyle: the bucket is in the path of an address, and never in the name of its host; default false, by which that
	// is so but for AWS, Google and Aliyun.
	PathStyle bool `yaml:"path_style"`
	// PartSize is how many bytes travel in one request, 5MiB to 5GiB; default 16MiB. It grows with files that
	// would have more than 10,000 parts.
	PartSize int64 `yaml:"part_size"`
	// Verify is how files are verified: read-back, size (but by the store's hash where it has one), or auto:
	// by the store's hash, where it has none by reading back, and by size where that is not allowed; default auto.
	Verify string `yaml:"verify" jsonschema:"enum=auto,enum=read-back,enum=size"`
	// ConnectTimeout is how long a connection may take to stand; default 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Silence after which a link that takes nothing is dead; default 30s.
	Silence time.Duration `yaml:"silence"`
	// Answer is how long an answer may take, or a pause in one; default 2m: a store that joins parts works long.
	Answer time.Duration `yaml:"answer"`
}

const (
	auto         = "auto" // the default of Config.Verify
	amazon       = "https://s3.amazonaws.com"
	leastPart    = 5 << 20
	mostPart     = 5 << 30 // what one PUT and one copy may have
	mostParts    = 10_000
	mostKey      = 1024
	shortestWait = 50 * time.Millisecond
)

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
			u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			bad("endpoint: want http://host or https://host, with a port if it has one, and nothing behind it")
		}
	}
	if err := s3utils.CheckValidBucketName(c.Bucket); err != nil {
		bad("bucket: %q: %w", c.Bucket, err)
	}
	if c.Prefix != "" {
		if _, err := key("", c.Prefix); err != nil {
			bad("prefix: %w", err)
		} else if !utf8.ValidString(c.Prefix) {
			bad("prefix: %q is no UTF-8", c.Prefix)
		}
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		bad("secret_key: access_key and secret_key are given together, or none of them")
	}
	if c.PartSize != 0 && (c.PartSize < leastPart || c.PartSize > mostPart) {
		bad("part_size: want %d (5 MiB) to %d (5 GiB), got %d", int64(leastPart), int64(mostPart), c.PartSize)
	}
	ways := []string{"", auto, string(connector.ByReadBack), string(connector.BySize)}
	if !slices.Contains(ways, c.Verify) {
		bad("verify: want read-back, size or auto, got %q", c.Verify)
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"connect_timeout", c.ConnectTimeout}, {"silence", c.Silence}, {"answer", c.Answer}} {
		if t.d != 0 && t.d < shortestWait {
			bad("%s: want %v or more, got %v", t.name, shortestWait, t.d)
		}
	}
	return errs
}

// WithDefaults returns c with everything filled in that has a default which does not depend on the environment.
func (c Config) WithDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.Endpoint, amazon)
	def(&c.Region, "us-east-1")
	def(&c.Verify, auto)
	for d, v := range map[*time.Duration]time.Duration{&c.ConnectTimeout: 10 * time.Second, &c.Silence: 30 * time.Second,
		&c.Answer: 2 * time.Minute} {
		if *d == 0 {
			*d = v
		}
	}
	if c.PartSize == 0 {
		c.PartSize = 16 << 20
	}
	return c
}

// keys are the credentials of the configuration, or those of the environment.
func (c Config) keys() (*credentials.Credentials, error) {
	access, hidden, token := c.AccessKey.Reveal(), c.SecretKey.Reveal(), ""
	if access == "" {
		access, hidden = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		token = os.Getenv("AWS_SESSION_TOKEN")
	}
	if access == "" || hidden == "" {
		return nil, fault.WithHint(fault.New(fault.Credentials, "there are no keys for the bucket %s", c.Bucket),
			"give access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	}
	return credentials.NewStaticV4(access, hidden, token), nil
}

// Bucket is the destination.
type Bucket struct {
	cfg       Config
	client    minio.Core
	transport *http.Transport
	folders   sync.Map     // keys that were looked at, and are no objects: what stands above files
	refuses   atomic.Int32 // what is known of If-None-Match
}

var _ connector.Destination = (*Bucket)(nil)

// What a store makes of If-None-Match: *.
const (
	maybe   = iota
	refuses // a name that is taken
	ignores // the question
)

// New returns the destination. It connects when it has to.
func New(cfg Config) (*Bucket, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open bucket: %w", errors.Join(errs...))
	}
	cfg.Region = cmp.Or(cfg.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	return open(cfg.WithDefaults())
}

func open(cfg Config) (*Bucket, error) {
	keys, err := cfg.keys()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fault.New(fault.Permanent, "open bucket: %w", err)
	}
	b := &Bucket{cfg: cfg, transport: newTransport(cfg)}
	lookup := minio.BucketLookupAuto
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(u.Host, &minio.Options{Creds: keys, Secure: u.Scheme == "https", Region: cfg.Region,
		Transport: throttle{b.transport}, BucketLookup: lookup, MaxRetries: 1}) // when to try again is a gate's matter
	if err != nil {
		return nil, fault.New(fault.Permanent, "open bucket %s: %w", cfg.Bucket, err)
	}
	b.client = minio.Core{Client: client}
	return b, nil
}

// Traits: an upload goes on behind the parts that are there.
func (b *Bucket) Traits() connector.DestinationTraits {
	return connector.DestinationTraits{Root: b.root(), Path: b.root(), Resumes: true, Streams: 4}
}

func (b *Bucket) root() string {
	return strings.TrimSuffix("s3://"+b.cfg.Bucket+"/"+b.cfg.Prefix, "/")
}

// List gives the objects below a directory. Their time is when the store took them: that of the file is in their
// metadata, which would be a request for each.
func (b *Bucket) List(ctx context.Context, dir string, each func(connector.Found) error) error {
	prefix, err := b.below(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := minio.ListObjectsOptions{Prefix: prefix, Recursive: true}
	for o := range b.client.ListObjectsIter(ctx, b.cfg.Bucket, all) {
		if o.Err != nil {
			return b.classify(ctx, "list "+b.root(), o.Err)
		}
		name, ok := b.name(o.Key)
		if !ok || connector.UnderWay(name) {
			continue
		}
		if err := each(connector.Found{Name: name, Size: o.Size, ModTime: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// below is what the keys of a directory begin with.
func (b *Bucket) below(dir string) (string, error) {
	if dir == "" {
		return strings.TrimPrefix(b.cfg.Prefix+"/", "/"), nil
	}
	prefix, err := b.key(dir)
	return prefix + "/", err
}

// Sweep aborts uploads that were begun longer ago. Those of other programs below the prefix are among them: a store
// does not tell them apart. MinIO lists none without the name of a file, and sweeps by itself after a day.
func (b *Bucket) Sweep(ctx context.Context, older time.Duration) (removed []string, err error) {
	prefix, err := b.below("")
	if err != nil {
		return nil, err
	}
	uploads, err := b.uploads(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for _, u := range uploads {
		name, ok := b.name(u.Key)
		if !ok || connector.CheckName(name) != nil || time.Since(u.Initiated) < older {
			continue
		}
		err := b.client.AbortMultipartUpload(ctx, b.cfg.Bucket, u.Key, u.UploadID)
		if isCode(err, minio.NoSuchUpload) {
			continue // it ended meanwhile
		}
		if err != nil {
			return removed, b.classify(ctx, "abort the upload of "+name, err)
		}
		removed = append(removed, connector.PartName(name))
	}
	return removed, nil
}

// uploads lists what is under way below a prefix.
func (b *Bucket) uploads(ctx context.Context, prefix string) (all []minio.ObjectMultipartInfo, err error) {
	for key, id := "", ""; ; {
		page, err := b.client.ListMultipartUploads(ctx, b.cfg.Bucket, prefix, key, id, "", 1000)
		if isCode(err, minio.NoSuchUpload) { // how some stores say that there is none
			return nil, nil
		}
		if err != nil {
			return nil, b.classify(ctx, "list uploads below "+b.root(), err)
		}
		all = append(all, page.Uploads...)
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return all, nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// Close drops the connections.
func (b *Bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}
