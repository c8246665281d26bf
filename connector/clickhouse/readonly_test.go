package clickhouse

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

// On 18.16 the hint is a users.xml fragment; put there, it works as it says.
func TestSetupReadOnlyByFile(t *testing.T) {
	ch := testenv.ClickHouse(t)
	cfg := Config{URL: ch.URL(), Database: "wsprnet"}
	err := SetupReadOnly(soon(t), cfg, "guest", "pa55 & <word>")
	wantFault(t, "18.16", err, fault.Permanent, "guest", "users.xml")
	hint := fault.HintOf(err)
	if strings.Contains(hint, "pa55") {
		t.Error("the hint shows the password")
	}
	s := open(t, ch.URL())
	prepare(t, s)
	write(t, s, delivery(t, 1, spotBatch(1, noon, 10)))

	// The fragment goes in as a person would put it: beside what is there, in a file of its own.
	home := filepath.Dir(configOf(t, ch))
	extra := filepath.Join(home, "users.d")
	if err := os.MkdirAll(extra, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(extra, "guest.xml"), []byte("<yandex>\n"+hint+"\n</yandex>\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	ch.Restart()
	guest(t, ch)
}

// configOf is where a server's configuration is.
func configOf(t *testing.T, ch *testenv.ClickHouseServer) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(ch.Process().PID()) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	_, file, ok := strings.Cut(string(b), "--config-file=")
	if !ok {
		t.Fatalf("no configuration in %q", b)
	}
	return strings.TrimRight(file, "\x00")
}

// guest reads, and can't write.
func guest(t *testing.T, ch *testenv.ClickHouseServer) {
	t.Helper()
	testenv.Until(t, 10*time.Second, "guest may read", func() bool {
		n, err := ch.TryAs(soon(t), "guest", "pa55 & <word>", "SELECT count() FROM wsprnet.spots")
		return err == nil && n == "10"
	})
	for _, sql := range []string{"INSERT INTO wsprnet.spots (id) VALUES (1)", "DROP TABLE wsprnet.spots",
		"CREATE TABLE wsprnet.x (a UInt8) ENGINE = Memory"} {
		if out, err := ch.TryAs(soon(t), "guest", "pa55 & <word>", sql); err == nil {
			t.Errorf("guest may %s: got %q", sql, out)
		}
	}
}

// The modern engine of the tests lets nobody make users. So its refusal is tried, its parser is
// asked about the statements, and a server that takes everything is told them.
func TestSetupReadOnlyBySQL(t *testing.T) {
	ch := testenv.ModernClickHouse(t)
	cfg := Config{URL: ch.URL(), Database: "wsprnet"}
	err := SetupReadOnly(soon(t), cfg, "guest", "pa55 & <word>")
	wantFault(t, "not allowed", err, fault.Permanent, "guest", "497")
	if hint := fault.HintOf(err); !strings.Contains(hint, "access_management") ||
		!strings.Contains(hint, "password_sha256_hex") {
		t.Errorf("hint: got %q", hint)
	}
	var told []string
	willing := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		told = append(told, string(b))
	}))
	defer willing.Close()
	cfg.URL = willing.URL
	if err := SetupReadOnly(soon(t), cfg, "guest", "pa55 & <word>"); err != nil {
		t.Fatal(err)
	}
	if len(told) != 3 || told[2] != "GRANT SELECT ON `wsprnet`.* TO `guest`" {
		t.Errorf("statements: got %q", told)
	}
	for _, sql := range told {
		if strings.Contains(sql, "pa55") {
			t.Errorf("a statement shows the password: %s", sql)
		}
		ch.Query(t, "EXPLAIN AST "+sql)
	}
}

func TestSetupReadOnlyRefuses(t *testing.T) {
	for _, c := range []struct{ user, password, want string }{
		{"a b", "x", "letters"}, {"", "x", "letters"}, {"a`; DROP", "x", "letters"}, {"a", "", "empty"},
	} {
		err := SetupReadOnly(soon(t), Config{}, c.user, secretOf(c.password))
		wantFault(t, c.user, err, fault.Permanent, c.want)
	}
}
