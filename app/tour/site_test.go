package tour

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The page of the tour's crawl counts what its site is asked for, and its button is not for pages of others; the site comes back
// where it was.
func TestSite(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSite(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for range 2 {
		if code, body := ask(t, "GET", s.URL()+"ropes/1", ""); code != 200 || !strings.Contains(body, "Of ropes, part 2") {
			t.Errorf("a page of the site: %d %s", code, body)
		}
	}
	_, body := ask(t, "GET", s.PageURL(), "")
	if !strings.Contains(body, "1 of them more than once") || !strings.Contains(body, "/ropes/1") || !strings.Contains(body, dir) {
		t.Errorf("the page says %s", body)
	}
	if code, _ := ask(t, "POST", s.PageURL()+"kill", "http://evil.example"); code != http.StatusForbidden {
		t.Errorf("another site's page got %d", code)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	was := s.URL()
	again, err := OpenSite(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.URL() != was {
		t.Errorf("it was at %s, and is at %s", was, again.URL())
	}
	if b, err := os.ReadFile(filepath.Join(dir, siteFile)); err != nil || "http://"+strings.TrimSpace(string(b))+"/" != was {
		t.Errorf("%s has %q (%v)", siteFile, b, err)
	}
	if _, err := OpenSite(dir, -time.Second); err == nil {
		t.Error("a delay below 0 is taken")
	}
}

func ask(t *testing.T, method, url, origin string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
