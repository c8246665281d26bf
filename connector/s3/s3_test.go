package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, testenv.ProxyLeaks()...)
}

// small is the size of parts in these tests: less than that of the files that the suite finds cut off.
const small = 96 << 10

// store is a server with one bucket. around, if it is set, stands before it.
type store struct {
	*httptest.Server
	mu     sync.Mutex
	around func(w http.ResponseWriter, r *http.Request, inner http.Handler)
}

func newStore(t testing.TB) *store {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("archive"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s := &store{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		around := s.around
		s.mu.Unlock()
		if around == nil {
			around = func(w http.ResponseWriter, r *http.Request, inner http.Handler) { inner.ServeHTTP(w, r) }
		}
		around(w, r, inner)
	}))
	t.Cleanup(s.Close)
	return s
}

// stand puts f before the server.
func (s *store) stand(f func(w http.ResponseWriter, r *http.Request, inner http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.around = f
}

// hashes says whether the store computes hashes. gofakes3 by itself gives back what it was told, unseen.
func (s *store) hashes(does bool) {
	if does {
		s.stand((&hashing{objects: map[string]string{}, parts: map[string][]byte{}}).serve)
		return
	}
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		r.Header.Del("X-Amz-Checksum-Sha256")
		inner.ServeHTTP(w, r)
	})
}

// refuse answers as a store does that refuses.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>said by the test</Message></Error>`, code)
}

func (s *store) config() Config {
	return Config{Endpoint: s.URL, Bucket: "archive", Prefix: "raw/2026", AccessKey: "key", SecretKey: "hidden",
		PathStyle: true, PartSize: small, Silence: 2 * time.Second, Answer: 2 * time.Second}.WithDefaults()
}

// bucket is a destination that is closed with the test.
func bucket(t testing.TB, cfg Config) *Bucket {
	t.Helper()
	b, err := open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// hashing has a store compute hashes, as AWS and MinIO do and gofakes3 does not.
type hashing struct {
	mu      sync.Mutex
	objects map[string]string
	parts   map[string][]byte // by upload and number
}

func (h *hashing) serve(w http.ResponseWriter, r *http.Request, inner http.Handler) {
	q := r.URL.Query()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	encodedSum := base64.StdEncoding.EncodeToString(sum[:])
	asked := r.Header.Get("X-Amz-Checksum-Sha256")
	if asked != "" && asked != encodedSum {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	answer := httptest.NewRecorder()
	inner.ServeHTTP(answer, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	out := answer.Body.Bytes()
	if answer.Code == http.StatusOK {
		switch {
		case r.Method == http.MethodPut && q.Has("uploadId"):
			h.parts[q.Get("uploadId")+" "+q.Get("partNumber")] = sum[:]
			w.Header().Set("X-Amz-Checksum-Sha256", encodedSum)
		case r.Method == http.MethodPut && asked != "":
			h.objects[r.URL.Path] = encodedSum
			w.Header().Set("X-Amz-Checksum-Sha256", encodedSum)
		case r.Method == http.MethodPost && q.Has("uploadId"):
			all := sha256.New()
			n := bytes.Count(body, []byte("<PartNumber>"))
			for i := range n {
				all.Write(h.parts[fmt.Sprintf("%s %d", q.Get("uploadId"), i+1)])
			}
			h.objects[r.URL.Path] = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(all.Sum(nil)), n)
			out = bytes.Replace(out, []byte("</ETag>"), []byte("</ETag><ChecksumSHA256>"+h.objects[r.URL.Path]+"</ChecksumSHA256>"), 1)
			answer.Header().Del("Content-Length")
		case r.Method == http.MethodHead && h.objects[r.URL.Path] != "" && r.Header.Get("X-Amz-Checksum-Mode") != "":
			w.Header().Set("X-Amz-Checksum-Sha256", h.objects[r.URL.Path])
		}
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(out)
}

// target shows uploads as what is under way.
func target(t testing.TB, cfg Config) *desttest.Target {
	look := bucket(t, cfg)
	ctx := context.Background()
	return &desttest.Target{
		New:      func() (connector.Destination, error) { return open(cfg) },
		Absolute: func(name string) string { return "s3://archive/raw/2026/" + name },
		OwnTimes: true,
		Files: func() (map[string][]byte, error) {
			all := map[string][]byte{}
			for o := range look.client.ListObjectsIter(ctx, cfg.Bucket, minio.ListObjectsOptions{Recursive: true}) {
				if o.Err != nil {
					return nil, o.Err
				}
				body, _, _, err := look.client.GetObject(ctx, cfg.Bucket, o.Key, minio.GetObjectOptions{})
				if err != nil {
					return nil, err
				}
				data, err := io.ReadAll(body)
				_ = body.Close()
				if err != nil {
					return nil, err
				}
				all[strings.TrimPrefix(o.Key, "raw/2026/")] = data
			}
			uploads, err := look.uploads(ctx, "")
			for _, u := range uploads {
				all[connector.PartName(strings.TrimPrefix(u.Key, "raw/2026/"))] = nil
			}
			return all, err
		},
		Put: func(name string, data []byte) error {
			k := "raw/2026/" + name
			if !connector.UnderWay(name) {
				_, err := look.client.Client.PutObject(ctx, cfg.Bucket, k, bytes.NewReader(data), int64(len(data)),
					minio.PutObjectOptions{DisableContentSha256: true})
				return err
			}
			dir, base := path.Split(k)
			k = dir + strings.TrimSuffix(strings.TrimPrefix(base, "."), connector.PartSuffix)
			id, err := look.client.NewMultipartUpload(ctx, cfg.Bucket, k, minio.PutObjectOptions{})
			for n := 1; err == nil && len(data) > 0; n++ {
				part := data[:min(small, len(data))]
				data = data[len(part):]
				_, err = look.client.PutObjectPart(ctx, cfg.Bucket, k, id, n, bytes.NewReader(part), int64(len(part)),
					minio.PutObjectPartOptions{DisableContentSha256: true})
			}
			return err
		},
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for name, verified := range map[string]connector.Verified{
		"a store that hashes":     connector.ByRemoteHash,
		"one that has to be read": connector.ByReadBack,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desttest.Run(t, func(t *testing.T) *desttest.Target {
				s := newStore(t)
				s.hashes(verified == connector.ByRemoteHash)
				return target(t, s.config())
			})
		})
	}
}

func TestHowItIsVerified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, verify string
		hashes       bool
		want, sums   connector.Verified
	}{
		{"its hash", auto, true, connector.ByRemoteHash, connector.ByRemoteHash},
		{"no hash", auto, false, connector.ByReadBack, connector.BySize},
		{"read back", "read-back", true, connector.ByReadBack, connector.ByReadBack},
		{"size", "size", false, connector.BySize, connector.BySize},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.hashes(c.hashes)
			cfg := s.config()
			cfg.Verify = c.verify
			b := bucket(t, cfg)
			data := desttest.Bytes(1, 200_000)
			for name, content := range map[string]connector.Content{"one": desttest.Content(data[:1000]), "parts": desttest.Content(data)} {
				p, err := b.Place(t.Context(), name, content, nil)
				if err != nil || p.Verified != c.want || p.Already {
					t.Errorf("%s: placed %+v, %v; want it verified by %s", name, p, err, c.want)
				}
				if p, err = b.Place(t.Context(), name, content, nil); err != nil || p.Verified != c.want || !p.Already {
					t.Errorf("%s again: placed %+v, %v; want it to be there, verified by %s", name, p, err, c.want)
				}
			}
			sums, how, err := b.Sums(t.Context(), []string{"one"})
			if err != nil || how != c.sums || sums["one"] != sha256.Sum256(data[:1000]) {
				t.Errorf("sum %x by %s, %v", sums["one"], how, err)
			}
			o, err := b.head(t.Context(), "raw/2026/one")
			one := sha256.Sum256(data[:1000])
			if err != nil || label(o, "sha256") != hex.EncodeToString(one[:]) || label(o, "mtime") != "1784077323.000000000" {
				t.Errorf("it carries %v, %v", o.UserMetadata, err)
			}
		})
	}
}
