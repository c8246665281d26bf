package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/job/supervise/rule"
)

func do(t *testing.T, tools *Tools, c rule.Call) Outcome {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	o, err := tools.Do(t.Context(), &c)
	if err != nil || o.Begun.IsZero() {
		t.Fatalf("%s: %+v, %v", c.Words(), o, err)
	}
	return o
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestRun(t *testing.T) {
	tools := &Tools{Life: "life"}
	o := do(t, tools, rule.Call{ID: "a1", Run: sh(`printf 'two\nlines \033[2J\377\n'; env`), Env: map[string]string{"UNIT": "a b"}})
	if o.Failed != "" || !strings.HasPrefix(o.Output, "two\nlines \\u001b[2J\uFFFD\n") || !strings.Contains(o.Output, "UNIT=a b\n") {
		t.Errorf("got %+v", o)
	}
	if !strings.Contains(o.Output, "HOLDFAST_RUN=life/a1") {
		t.Error("without a mark")
	}
	if o := do(t, tools, rule.Call{Run: sh("echo no; exit 3")}); o.Failed != "/bin/sh: exit status 3" || o.Code != 3 || !o.Again || o.Output != "no" {
		t.Errorf("got %+v", o)
	}
	// Who writes lines has a say in the ID.
	if o := do(t, tools, rule.Call{ID: "r/a\x00b\n\x1b/1", Run: sh("true")}); o.Failed != "" {
		t.Errorf("got %+v", o)
	}
	o = do(t, tools, rule.Call{ID: "a2", Run: sh("trap '' TERM; sleep 60 >/dev/null 2>&1 &")})
	if o.Failed != "" || o.Left != 1 {
		t.Errorf("what it left behind: %+v", o)
	}
	o = do(t, tools, rule.Call{Run: sh("sleep 60"), Timeout: 20 * time.Millisecond})
	if !strings.Contains(o.Failed, "took too long") || !o.Again || o.Took > 30*time.Second {
		t.Errorf("got %+v", o)
	}
	o = do(t, tools, rule.Call{Run: sh("echo begin; head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")})
	if !strings.HasPrefix(o.Output, "begin\n") || !strings.HasSuffix(o.Output, "\nend") || !strings.Contains(o.Output, "bytes left out]") ||
		len(o.Output) > mostOutput+100 {
		t.Errorf("%d bytes of output", len(o.Output))
	}
	if o := do(t, tools, rule.Call{Run: sh("true"), RunAs: "no-such-user"}); o.Failed == "" || o.Again {
		t.Errorf("got %+v", o)
	}
	open := filepath.Join(t.TempDir(), "x")
	if err := errors.Join(os.WriteFile(open, []byte("#!/bin/sh\n"), 0o600), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	if o := do(t, tools, rule.Call{Run: []string{open}}); !strings.Contains(o.Failed, "others may write") || o.Again {
		t.Errorf("got %+v", o)
	}
}

// What is broken off is unknown, not failed.
func TestBrokenOff(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	end := errors.New("the end")
	time.AfterFunc(50*time.Millisecond, func() { stop(end) })
	c := rule.Call{Run: sh("sleep 60"), Timeout: time.Minute}
	if o, err := (&Tools{}).Do(ctx, &c); !errors.Is(err, end) {
		t.Errorf("got %+v, %v", o, err)
	}
}

// What a call of an earlier life left running is found by its mark, that of others is left alone.
func TestLeftover(t *testing.T) {
	start := func(mark string) *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "600")
		cmd.Env = []string{"HOLDFAST_RUN=" + mark}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	ours, others := start("life"+t.Name()+"/x"), start("other"+t.Name()+"/x")
	tools := &Tools{Life: "life" + t.Name()}
	if n, err := tools.Leftover(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _ = ours.Wait(); ours.ProcessState.Success() {
		t.Error("it ended well")
	}
	_ = others.Process.Signal(syscall.SIGTERM)
	if _ = others.Wait(); others.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the other was ended: %v", others.ProcessState)
	}
}

type units struct{ did []string }

func (u *units) Do(_ context.Context, verb, unit string) error {
	u.did = append(u.did, verb+" "+unit)
	switch unit {
	case "gone.service":
		return fmt.Errorf("bus: %w", ErrUnknown)
	case "late.service":
		return fmt.Errorf("%w: %w", ErrUnknown, context.DeadlineExceeded)
	case "none.service":
		return fault.New(fault.NotFound, "no such unit")
	}
	return nil
}

func (u *units) Kill(_ context.Context, unit, signal string) error {
	u.did = append(u.did, signal+" "+unit)
	return nil
}

func TestOthers(t *testing.T) {
	u := &units{}
	var told string
	tools := &Tools{Units: u, Notify: func(ctx context.Context, target, text string) error {
		if told = target + ": " + text; target == "slow" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}, Order: func(_ context.Context, job, order string, with map[string]string) (string, error) {
		return fmt.Sprint(order, " ", job, " ", with), nil
	}}
	if o := do(t, tools, rule.Call{Systemctl: "restart", Unit: "a.service"}); o.Failed != "" {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{Systemctl: "restart", Unit: "none.service"}); o.Failed != "no such unit" || o.Again {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{Systemctl: "start", Unit: "gone.service"}); !o.Unknown || o.Failed == "" {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{Systemctl: "start", Unit: "late.service"}); o.Unknown || !o.Again {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{Signal: "HUP", Unit: "a.service"}); o.Failed != "" {
		t.Errorf("got %+v", o)
	}
	if got := strings.Join(u.did, ", "); got != "restart a.service, restart none.service, start gone.service, start late.service, HUP a.service" {
		t.Errorf("did %s", got)
	}
	if o := do(t, tools, rule.Call{Notify: "ops", Text: "hello"}); o.Failed != "" || told != "ops: hello" {
		t.Errorf("got %+v, told %q", o, told)
	}
	if o := do(t, tools, rule.Call{Notify: "slow", Timeout: time.Millisecond}); !strings.Contains(o.Failed, "longer than 1ms") || !o.Again {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{Holdfast: "pause", Job: "spots", With: map[string]string{"a": "b"}}); o.Output != "pause spots map[a:b]" {
		t.Errorf("got %+v", o)
	}
	if o := do(t, &Tools{}, rule.Call{Systemctl: "restart", Unit: "a.service"}); !strings.Contains(o.Failed, "no systemd") || o.Again {
		t.Errorf("got %+v", o)
	}
	if o := do(t, tools, rule.Call{}); o.Failed == "" || o.Again {
		t.Errorf("got %+v", o)
	}
}

// A request has its secrets, and no error has any of them.
func TestRequest(t *testing.T) {
	var got, key string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, key = fmt.Sprintf("%s %s %s %s", r.Method, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), b), r.Header.Get("Idempotency-Key")
		switch r.URL.Path {
		case "/geheim/bad":
			w.WriteHeader(http.StatusBadRequest)
		case "/geheim/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/geheim/away":
			http.Redirect(w, r, "/geheim/other", http.StatusTemporaryRedirect)
			return
		case "/geheim/cut":
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, "answer\x00")
	}))
	tools := &Tools{Client: srv.Client()}
	tools.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	id := "id-1"
	request := func(path string) Outcome {
		tools.Secrets = func(*rule.Call) (*rule.Request, error) {
			return &rule.Request{URL: secret.Text(srv.URL + "/geheim/" + path), Headers: map[string]secret.Text{"Authorization": "Bearer x"}}, nil
		}
		o := do(t, tools, rule.Call{ID: id, HTTP: &rule.Request{Method: "PUT", Body: "{}", Type: "application/json"}})
		if strings.Contains(o.Failed, "geheim") {
			t.Errorf("shows its secret: %s", o.Failed)
		}
		return o
	}
	if o := request(""); o.Failed != "" || o.Code != 200 || o.Output != `answer\u0000` || got != "PUT Bearer x application/json {}" || key != `"id-1"` {
		t.Errorf("got %+v; asked %s, key %s", o, got, key)
	}
	if o := request("bad"); o.Failed != "the server answers 400 Bad Request" || o.Again {
		t.Errorf("got %+v", o)
	}
	if o := request("away"); !strings.Contains(o.Failed, "no redirect is followed") || o.Again || o.Code != 307 {
		t.Errorf("got %+v", o)
	}
	id = "r/a\x00\n\x1b\"\u202e/1" // who writes lines has a say in it
	if o := request(""); o.Failed != "" || key != `"r%2Fa%00%0A%1B%22%E2%80%AE%2F1"` {
		t.Errorf("got %+v, key %s", o, key)
	}
	if o := request("busy"); o.Code != 429 || !o.Again {
		t.Errorf("got %+v", o)
	}
	if o := request("cut"); !strings.Contains(o.Failed, "breaks off") || !o.Again {
		t.Errorf("got %+v", o)
	}
	srv.Close()
	if o := request(""); !strings.Contains(o.Failed, "refused") || !o.Again {
		t.Errorf("got %+v", o)
	}
}
