package httpcheck

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/secret"
	"holdfast/connector"
)

func look(t *testing.T, cfg Config) []connector.Sample {
	t.Helper()
	w, err := Open(cfg, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := w.look(t.Context())
	if err != nil || len(all) == 0 || all[0].Labels[""] != statusSeries {
		t.Fatalf("got %v, %v", all, err)
	}
	return all
}

func handler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/moved":
		http.Redirect(w, r, "/", http.StatusFound)
	case "/to-key":
		http.Redirect(w, r, "/key", http.StatusFound)
	case "/away": // the same place by another name
		http.Redirect(w, r, "http://localhost"+r.Host[strings.LastIndexByte(r.Host, ':'):]+"/key", http.StatusFound)
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "/slow":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/long":
		_, _ = io.Copy(w, io.LimitReader(endless{}, 1<<20))
	case "/key":
		_, _ = io.WriteString(w, r.Header.Get("X-Key")+"\xff")
	default:
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "fine")
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestLook(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(handler))
	defer srv.Close()
	for _, c := range []struct {
		cfg    Config
		status float64
		text   string
	}{
		{Config{URL: srv.URL}, 418, "fine"},
		{Config{URL: srv.URL + "/moved"}, 302, "Found"},
		{Config{URL: srv.URL + "/moved", Redirects: true}, 418, "fine"},
		{Config{URL: srv.URL + "/key", Headers: map[string]secret.Text{"X-Key": "k"}}, 200, "k\uFFFD"},
		{Config{URL: srv.URL + "/to-key", Redirects: true, Headers: map[string]secret.Text{"X-Key": "k"}}, 200, "k\uFFFD"},
		{Config{URL: srv.URL + "/loop", Redirects: true}, 0, "more than 10 times"},
		{Config{URL: srv.URL + "/slow", Timeout: 50 * time.Millisecond}, 0, "deadline exceeded"},
		{Config{URL: "http://127.0.0.1:1/"}, 0, "connection refused"},
	} {
		if got := look(t, c.cfg); got[0].Value != c.status || !strings.Contains(got[0].Text, c.text) || len(got) != 1 {
			t.Errorf("%s: got %v", c.cfg.URL, got)
		}
	}
	away := Config{URL: srv.URL + "/away", Redirects: true, Headers: map[string]secret.Text{"X-Key": "k"}}
	if got := look(t, away); got[0].Value != 200 || strings.Contains(got[0].Text, "k") {
		t.Errorf("another server was told a secret: %v", got)
	}
	if got := look(t, Config{URL: srv.URL + "/long"}); len(got[0].Text) != mostBody {
		t.Errorf("%d bytes of a long body", len(got[0].Text))
	}
}

func TestCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(handler))
	defer srv.Close()
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	got := look(t, Config{URL: srv.URL, CAFile: ca})
	if len(got) != 2 || got[1].Labels[""] != expirySeries || got[1].Value != float64(srv.Certificate().NotAfter.Unix()) {
		t.Errorf("got %v", got)
	}
	if got := look(t, Config{URL: srv.URL}); got[0].Value != 0 || !strings.Contains(got[0].Text, "certificate") {
		t.Errorf("not trusted: %v", got)
	}
}

func TestOpen(t *testing.T) {
	for _, cfg := range []Config{{}, {URL: "ftp://x/"}, {URL: "http://"}, {URL: "http://x/", CAFile: "/none"}} {
		if _, err := Open(cfg, time.Second); err == nil {
			t.Errorf("%+v opened", cfg)
		}
	}
}
