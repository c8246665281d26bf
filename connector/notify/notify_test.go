package notify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/base/secret"
)

// What is told arrives, and one that refuses is an error without a word of the URL.
func TestSend(t *testing.T) {
	var got string
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
		w.WriteHeader(status)
	}))
	defer srv.Close()
	target, err := Open(secret.Text("generic+" + srv.URL + "/geheim123?key=geheim456"))
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Send("the feed is away"); err != nil || !strings.Contains(got, "the feed is away") {
		t.Errorf("got %q, %v", got, err)
	}
	status = http.StatusForbidden
	err = target.Send("x")
	if err == nil || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), srv.URL[7:]) {
		t.Errorf("refused: got %v", err)
	}
	srv.Close()
	err = target.Send("x")
	if err == nil || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), srv.URL[7:]) {
		t.Errorf("away: got %v", err)
	}
}

// A URL that is not understood is told without its secrets.
func TestBadURLs(t *testing.T) {
	for _, u := range []secret.Text{"geheim123", "nosuch://geheim123@geheim456/geheim789", "slack://geheim123",
		"ntfy://user:geheim%zz123@host/topic", "Geheim123Geheim123://x"} {
		if _, err := Open(u); err == nil || strings.Contains(strings.ToLower(err.Error()), "geheim") {
			t.Errorf("got %v", err)
		}
	}
}

// A part of the URL that another part holds leaves nothing of that.
func TestHideWhole(t *testing.T) {
	target := &Target{url: "generic://ops:ops-geheim@host.example/x"}
	if got := target.hide("refused ops-geheim at host.example"); strings.Contains(got, "geheim") {
		t.Errorf("got %q", got)
	}
	target = &Target{url: "generic://host.example/ops?key=ops-geheim"}
	if got := target.hide("refused ops-geheim of ops"); strings.Contains(got, "geheim") {
		t.Errorf("got %q", got)
	}
}
