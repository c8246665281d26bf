package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

func TestCutInTheMiddleOfAPart(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	proxy := testenv.Proxy(t, s.Listener.Addr().String())
	cfg := s.config()
	cfg.Endpoint = "http://" + proxy.Addr()
	data := desttest.Bytes(1, 16*small)
	var before int64
	for range 2 { // each time some parts get through
		proxy.Toxic(t, "cut", "limit_data", "upstream", map[string]any{"bytes": 5*small + small/2})
		b := bucket(t, cfg)
		p, err := b.Place(t.Context(), "big", desttest.Content(data), nil)
		proxy.Remove(t, "cut")
		if !fault.Is(err, fault.Transient) {
			t.Fatalf("placed %+v, %v; want an outage", p, err)
		}
		before += 4 * small
	}
	p, err := bucket(t, cfg).Place(t.Context(), "big", desttest.Content(data), nil)
	if err != nil || p.Sent > int64(len(data))-before || p.Sent == 0 {
		t.Errorf("placed %+v, %v; want %d bytes to travel at most", p, err, int64(len(data))-before)
	}
	files, err := target(t, s.config()).Files()
	if err != nil || len(files) != 1 || !bytes.Equal(files["big"], data) {
		t.Errorf("there are %d files, %v", len(files), err)
	}
}

// frozen is a server that takes connections and neither reads nor answers.
func frozen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestFrozenServer(t *testing.T) {
	t.Parallel()
	cfg := Config{Endpoint: frozen(t), Bucket: "archive", AccessKey: "a", SecretKey: "b", Silence: 100 * time.Millisecond,
		Answer: 100 * time.Millisecond}.WithDefaults()
	b := bucket(t, cfg)
	for name, call := range map[string]func() error{
		"place": func() error { _, err := b.Place(t.Context(), "x", desttest.Content([]byte("x")), nil); return err },
		"copy":  func() error { _, err := b.Copy(t.Context(), "a", "x", desttest.Content(nil)); return err },
		"sums":  func() error { _, _, err := b.Sums(t.Context(), []string{"x"}); return err },
		"list":  func() error { return b.List(t.Context(), "", func(connector.Found) error { return nil }) },
		"sweep": func() error { _, err := b.Sweep(t.Context(), 0); return err },
		"probe": func() error { return b.Probe(t.Context()) },
	} {
		if err := call(); !fault.Is(err, fault.Transient) {
			t.Errorf("%s: got %v, want an outage", name, err)
		}
	}
	cfg.Silence, cfg.Answer = time.Hour, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := bucket(t, cfg).Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || fault.KindOf(err) != fault.Unknown {
		t.Errorf("got %v, want the end of the context", err)
	}
}

// TestFrozenInABody has a server that stops to read in the middle, and one that stops to write.
func TestFrozenInABody(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cfg := s.config()
	cfg.PartSize, cfg.Silence, cfg.Answer = 64<<20, 200*time.Millisecond, 300*time.Millisecond
	release := make(chan struct{})
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		switch {
		case r.Method == http.MethodPut && r.ContentLength > 1<<20:
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			<-release
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			_, _ = w.Write(make([]byte, 500))
			_ = http.NewResponseController(w).Flush()
			<-release
		default:
			r.Header.Del("X-Amz-Checksum-Sha256")
			inner.ServeHTTP(w, r)
		}
	})
	t.Cleanup(func() { close(release) })
	b := bucket(t, cfg)
	cfg.Answer = time.Hour
	patient := bucket(t, cfg)
	if _, err := patient.Place(t.Context(), "big", desttest.Content(make([]byte, 32<<20)), nil); !fault.Is(err, fault.Transient) {
		t.Errorf("it does not read: got %v, want an outage", err)
	}
	if _, err := b.Place(t.Context(), "one", desttest.Content(make([]byte, 1000)), nil); !fault.Is(err, fault.Transient) {
		t.Errorf("it does not write: got %v, want an outage", err)
	}
}

// TestSlowIsNotFrozen has an answer that takes longer than any pause in it may.
func TestSlowIsNotFrozen(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cfg := s.config()
	cfg.Silence, cfg.Answer = 50*time.Millisecond, 250*time.Millisecond
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		r.Header.Del("X-Amz-Checksum-Sha256")
		if r.Method != http.MethodGet {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", "20")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		pace := time.NewTicker(30 * time.Millisecond)
		defer pace.Stop()
		for range 20 {
			_, _ = w.Write([]byte{0})
			_ = http.NewResponseController(w).Flush()
			<-pace.C
		}
	})
	p, err := bucket(t, cfg).Place(t.Context(), "x", desttest.Content(make([]byte, 20)), nil)
	if err != nil || p.Verified != connector.ByReadBack {
		t.Errorf("placed %+v, %v", p, err)
	}
}

// TestSmallContentThatChanges is what the suite does with files that go in parts.
func TestSmallContentThatChanges(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	c := desttest.Content([]byte("hashed"))
	c.ReaderAt = strings.NewReader("others")
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Method == http.MethodPut {
			t.Error("it was sent")
		}
		inner.ServeHTTP(w, r)
	})
	if _, err := bucket(t, s.config()).Place(t.Context(), "x", c, nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("got %v, want that it is not what was hashed", err)
	}
	if files, err := target(t, s.config()).Files(); err != nil || len(files) > 0 {
		t.Errorf("%d files are there, %v", len(files), err)
	}
}

func TestWhatAStoreSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
		want   fault.Kind
		hint   string
	}{
		{403, "InvalidAccessKeyId", fault.Credentials, "access_key"},
		{403, "SignatureDoesNotMatch", fault.Credentials, "access_key"},
		{403, "AccessDenied", fault.Credentials, "s3:PutObject"},
		{400, "ExpiredToken", fault.Credentials, "new keys"},
		{404, "NoSuchBucket", fault.Permanent, "create the bucket"},
		{400, "AuthorizationHeaderMalformed", fault.Permanent, "region"},
		{503, "SlowDown", fault.Throttled, ""},
		{429, "Strange", fault.Throttled, ""},
		{507, "XMinioStorageFull", fault.Full, ""},
		{400, "XMinioAdminBucketQuotaExceeded", fault.Full, "quota"},
		{403, "QuotaExceeded", fault.Full, "quota"},
		{507, "Strange", fault.Full, ""},
		{500, "InternalError", fault.Transient, ""},
		{502, "Strange", fault.Transient, ""},
		{409, "OperationAborted", fault.Transient, ""},
		{400, "BadDigest", fault.Corrupt, ""},
		{400, "KeyTooLongError", fault.Invalid, ""},
		{400, "Strange", fault.Permanent, ""},
	} {
		s := newStore(t)
		s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
			if r.Method == http.MethodPut {
				refuse(w, c.status, c.code)
				return
			}
			inner.ServeHTTP(w, r)
		})
		b := bucket(t, s.config())
		_, err := b.Place(t.Context(), "x", desttest.Content([]byte("x")), nil)
		for _, err := range []error{err, b.Probe(t.Context())} {
			if !fault.Is(err, c.want) || !strings.Contains(fault.HintOf(err), c.hint) || !strings.Contains(err.Error(), c.code) {
				t.Errorf("%d %s: got %v (%v, hint %q), want %v", c.status, c.code, err, fault.KindOf(err), fault.HintOf(err), c.want)
			}
			if c.want == fault.Throttled && fault.WaitOf(err) <= 0 {
				t.Errorf("%s says nothing of a wait", c.code)
			}
		}
	}
}

// TestRetryAfter: a store is left alone for as long as it asks, by a number of seconds or by a date, but for an hour at most.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, c := range []struct {
		says        string
		least, most time.Duration
	}{
		{"17", 17 * time.Second, 17 * time.Second},
		{time.Now().Add(20 * time.Minute).UTC().Format(http.TimeFormat), 15 * time.Minute, 20 * time.Minute},
		{"100000", time.Hour, time.Hour},
	} {
		s.stand(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", c.says)
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
		})
		err := bucket(t, s.config()).Probe(t.Context())
		if wait := fault.WaitOf(err); !fault.Is(err, fault.Throttled) || wait < c.least || wait > c.most {
			t.Errorf("Retry-After: %s: got %v, wait %v", c.says, err, wait)
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cfg := s.config()
	s.Close()
	if err := bucket(t, cfg).Probe(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
}

// TestNeverOver has another program make the object after it was looked for: the first look sees nothing.
func TestNeverOver(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * small} {
		for _, same := range []bool{true, false} {
			s := newStore(t)
			data, theirs := desttest.Bytes(1, size), desttest.Bytes(2, size)
			if same {
				theirs = data
			}
			if err := target(t, s.config()).Put("x", theirs); err != nil {
				t.Fatal(err)
			}
			looked := false
			s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
				if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/x") && !looked {
					looked = true
					w.WriteHeader(http.StatusNotFound)
					return
				}
				r.Header.Del("X-Amz-Checksum-Sha256")
				inner.ServeHTTP(w, r)
			})
			p, err := bucket(t, s.config()).Place(t.Context(), "x", desttest.Content(data), nil)
			if same && (err != nil || !p.Already) || !same && !fault.Is(err, fault.Conflict) {
				t.Errorf("%d bytes, same %v: placed %+v, %v", size, same, p, err)
			}
			s.stand(nil)
			files, err := target(t, s.config()).Files()
			if err != nil || len(files) != 1 || !bytes.Equal(files["x"], theirs) {
				t.Errorf("%d bytes, same %v: it was touched, or an upload was left: %d files, %v", size, same, len(files), err)
			}
		}
	}
}

// TestOnlyWrites has keys that may put objects, and nothing else.
func TestOnlyWrites(t *testing.T) {
	t.Parallel()
	for _, refusing := range []bool{true, false} {
		s := newStore(t)
		s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
			if r.Method != http.MethodPut && r.Method != http.MethodPost {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			if !refusing {
				r.Header.Del("If-None-Match")
			}
			inner.ServeHTTP(w, r)
		})
		b := bucket(t, s.config())
		data := desttest.Bytes(1, 1000)
		p, err := b.Place(t.Context(), "x", desttest.Content(data), nil)
		if !refusing {
			if !fault.Is(err, fault.Credentials) || !strings.Contains(fault.HintOf(err), "s3:GetObject") {
				t.Errorf("placed %+v, %v; want it refused, as it could replace something", p, err)
			}
			continue
		}
		if err != nil || p.Verified != connector.BySize {
			t.Errorf("placed %+v, %v", p, err)
		}
		if _, err := b.Place(t.Context(), "x", desttest.Content(data[1:]), nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("got %v, want a conflict", err)
		}
		if _, err := b.Place(t.Context(), "big", desttest.Content(desttest.Bytes(1, 3*small)), nil); err != nil {
			t.Errorf("in parts: %v", err)
		}
		if err := b.Probe(t.Context()); err != nil {
			t.Errorf("probe: %v", err)
		}
		s.stand(nil) // the canary stays, and is no file
		var names []string
		err = b.List(t.Context(), "", func(f connector.Found) error { names = append(names, f.Name); return nil })
		if strings.Join(names, " ") != "big x" || err != nil {
			t.Errorf("there are %q, %v", names, err)
		}
	}
}

// TestDoesNotKnowTheQuestion has a store that knows no If-None-Match, and says so.
func TestDoesNotKnowTheQuestion(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Header.Get("If-None-Match") != "" {
			refuse(w, http.StatusNotImplemented, "NotImplemented")
			return
		}
		r.Header.Del("X-Amz-Checksum-Sha256")
		inner.ServeHTTP(w, r)
	})
	b := bucket(t, s.config())
	for i, n := range []int{10, 3 * small} {
		if _, err := b.Place(t.Context(), fmt.Sprint(i), desttest.Content(desttest.Bytes(1, n)), nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Place(t.Context(), "0", desttest.Content([]byte("other")), nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

// TestSpoilt has a store that keeps other bytes than those that it took.
func TestSpoilt(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * small} {
		s := newStore(t)
		s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
			r.Header.Del("X-Amz-Checksum-Sha256")
			if r.Method == http.MethodPut && r.ContentLength > 0 {
				body, _ := io.ReadAll(r.Body)
				body[len(body)/2] ^= 1
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			inner.ServeHTTP(w, r)
		})
		b := bucket(t, s.config())
		if _, err := b.Place(t.Context(), "x", desttest.Content(desttest.Bytes(1, size)), nil); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%d bytes: got %v, want that it is not what was sent", size, err)
		}
		if files, err := target(t, s.config()).Files(); err != nil || len(files) > 0 {
			t.Errorf("%d bytes: %d files are left, %v", size, len(files), err)
		}
	}
}

// TestReplacedMeanwhile has a store that ignores the question, and another program that replaces what we made.
func TestReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	other := target(t, s.config())
	theirs := []byte("theirs")
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		r.Header.Del("X-Amz-Checksum-Sha256")
		mine := r.Method == http.MethodPut && r.Header.Get("If-None-Match") != ""
		inner.ServeHTTP(w, r)
		if mine { // gofakes3 would keep what is known of the old object
			inner.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodDelete, r.URL.Path, nil))
			if err := other.Put("x", theirs); err != nil {
				t.Error(err)
			}
		}
	})
	_, err := bucket(t, s.config()).Place(t.Context(), "x", desttest.Content([]byte("mine")), nil)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if files, err := other.Files(); err != nil || !bytes.Equal(files["x"], theirs) {
		t.Errorf("theirs was removed: %q, %v", files, err)
	}
}

// TestOtherLabels resumes an upload that was begun for another file, whose beginning was the same.
func TestOtherLabels(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.hashes(false)
	b := bucket(t, s.config())
	long := desttest.Bytes(1, 6*small)
	ctx, cancel := context.WithCancel(t.Context())
	sent := int64(0)
	_, err := b.Place(ctx, "x", desttest.Content(long), func(n int64) {
		if sent += n; sent > 3*small {
			cancel()
		}
	})
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	short := long[:4*small]
	p, err := b.Place(t.Context(), "x", desttest.Content(short), nil)
	if err != nil || p.Sent > 2*small {
		t.Errorf("placed %+v, %v", p, err)
	}
	if p, err = b.Place(t.Context(), "x", desttest.Content(short), nil); err != nil || !p.Already {
		t.Errorf("placed again %+v, %v", p, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	b := bucket(t, s.config())
	names := []string{"latin-1 \xe9t\xe9", "\xff", "\ufffd", "\ufffdff", "\ufffd\ufffd\xfe", "d\xc3/x"}
	for i, name := range names {
		data := desttest.Bytes(uint64(i), 100)
		if _, err := b.Place(t.Context(), name, desttest.Content(data), nil); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if p, err := b.Place(t.Context(), name, desttest.Content(data), nil); err != nil || !p.Already {
			t.Errorf("%q again: %+v, %v", name, p, err)
		}
	}
	found := map[string]bool{}
	if err := b.List(t.Context(), "", func(f connector.Found) error { found[f.Name] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("%q is not listed, but %v", name, found)
		}
	}
	long := strings.Repeat(strings.Repeat("d", 250)+"/", 4) + strings.Repeat("x", 20)
	if _, err := b.Place(t.Context(), long, desttest.Content(nil), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key of more than 1024 bytes: got %v, want an invalid name", err)
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := []string{"a", "f", "0", "ä", "\xff", "\xef", "\xbf", "\xbd", "\xc3", replacement}
		name := strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "pieces"), "")
		k := escape(name)
		if back, ok := unescape(k); !ok || back != name || strings.ToValidUTF8(k, "") != k {
			t.Fatalf("%q became %q, and %q (%v)", name, k, back, ok)
		}
	})
	for _, k := range []string{"\ufffd", "\ufffdf", "\ufffdzz"} {
		if _, ok := unescape(k); ok {
			t.Errorf("%q is taken for a key of ours", k)
		}
	}
}

func TestConfig(t *testing.T) {
	bad := Config{Endpoint: "minio:9000", Bucket: "A", Prefix: "../x", AccessKey: "a", PartSize: 1, Verify: "yes", Silence: 1}
	var got []string
	for _, err := range bad.Validate() {
		name, _, _ := strings.Cut(err.Error(), ":")
		got = append(got, name)
	}
	if want := "endpoint bucket prefix secret_key part_size verify silence"; strings.Join(got, " ") != want {
		t.Errorf("faults of %v, want %s", got, want)
	}
	if errs := (Config{Bucket: "archive"}).Validate(); len(errs) > 0 {
		t.Error(errs)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	if _, err := New(Config{Bucket: "archive"}); !fault.Is(err, fault.Credentials) {
		t.Errorf("got %v, want that there are no keys", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "mine")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
	t.Setenv("AWS_SESSION_TOKEN", "once")
	t.Setenv("AWS_REGION", "eu-central-1")
	s := newStore(t)
	var header http.Header
	s.stand(func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		header = r.Header.Clone()
		inner.ServeHTTP(w, r)
	})
	b, err := New(Config{Endpoint: s.URL, Bucket: "archive"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Probe(t.Context()), b.Close()); err != nil {
		t.Error(err)
	}
	if a := header.Get("Authorization"); !strings.Contains(a, "mine/") || !strings.Contains(a, "/eu-central-1/") ||
		header.Get("X-Amz-Security-Token") != "once" {
		t.Errorf("it was signed by %s, with token %q", a, header.Get("X-Amz-Security-Token"))
	}
	if (&Bucket{cfg: Config{Bucket: "b"}}).root() != "s3://b" {
		t.Error("the root of a bucket without a prefix")
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	b := &Bucket{cfg: Config{Bucket: "b"}.WithDefaults()}
	for _, size := range []int64{1, 16 << 20, 100 << 30, 5 << 40} {
		if part := b.partSize(size); part < leastPart || part > mostPart || (size+part-1)/part > mostParts {
			t.Errorf("%d bytes in parts of %d", size, part)
		}
	}
	if b.partSize(5<<30) != 16<<20 {
		t.Error("parts grow before they have to")
	}
}
