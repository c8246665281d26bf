package httppoll

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// serve answers with h and returns the URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// idConfig reads {"id": 1, "v": 1.5} items, asked for behind the highest id.
func idConfig(url string) Config {
	return Config{URL: url + "/?after={{.Cursor}}", Key: "id", Cursor: Cursor{Column: "id"},
		Timeout: 500 * time.Millisecond,
		Columns: []Column{{Name: "id", Type: columns.Int64}, {Name: "v", Type: columns.Float64, Optional: true}}}
}

func open(t *testing.T, c Config) *Source {
	t.Helper()
	s, err := Open(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fetch(t *testing.T, s *Source, cursor []byte) connector.Page {
	t.Helper()
	p, err := s.Fetch(t.Context(), connector.Request{Cursor: cursor})
	if err != nil {
		t.Fatalf("fetch from %s: %v", cursor, err)
	}
	return p
}

// rows returns a page's rows as JSON lines.
func rows(t *testing.T, p connector.Page) []string {
	t.Helper()
	if p.Rows == nil {
		return nil
	}
	b, err := p.Rows.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = string(r)
	}
	return out
}

// drain fetches until there is no more, and returns the rows and the cursor.
func drain(t *testing.T, s *Source, cursor []byte) (got []string, end []byte) {
	t.Helper()
	for range 100 {
		p := fetch(t, s, cursor)
		got, cursor = append(got, rows(t, p)...), p.Cursor
		if !p.More {
			return got, cursor
		}
	}
	t.Fatal("there is More after 100 pages")
	return nil, nil
}

// fails fetches and checks the fault.
func fails(t *testing.T, s *Source, cursor []byte, kind fault.Kind, words string) error {
	t.Helper()
	_, err := s.Fetch(t.Context(), connector.Request{Cursor: cursor})
	if !fault.Is(err, kind) || !strings.Contains(fmt.Sprint(err), words) {
		t.Fatalf("got %v of kind %v, want %v with %q", err, fault.KindOf(err), kind, words)
	}
	return err
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want); g != w {
		t.Errorf("%s:\ngot  %s\nwant %s", what, g, w)
	}
}

func headers(name, value string) map[string]secret.Text {
	return map[string]secret.Text{name: secret.Text(value)}
}
