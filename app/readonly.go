package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector/clickhouse"
)

// readonly is the user of ClickHouse who may only read, whom `holdfast wsprnet` sets up as the old
// scraper did.
type readonly struct {
	server   clickhouse.Config
	user     string
	password secret.Text
}

// wantReadonly reads the flags; nil means that nobody is to be set up.
func wantReadonly(f WsprnetFlags, sinkCfg any, p *Plan) (*readonly, error) {
	if f.ReadonlyUser == nil || *f.ReadonlyUser == "" {
		return nil, nil
	}
	server, ok := sinkCfg.(clickhouse.Config)
	if !ok {
		p.notice("--setup-readonly-user is passed over: nothing of ClickHouse is given, so there is none")
		return nil, nil
	}
	r := &readonly{server: server, user: *f.ReadonlyUser,
		password: secret.Text(deref(f.ReadonlyPassword))}
	if strings.EqualFold(r.password.Reveal(), "CHANGEME") {
		return nil, fault.NewUsage("",
			"--setup-readonly-password is still the placeholder; set the password of %s", r.user)
	}
	return r, nil
}

// SetUp makes what the plan needs at its servers. A server that is away is no error: the next start
// tries again. A server that takes its users from a file is a usage error whose hint is what to put
// there; once it is there, there is nothing more to set up.
func (p *Plan) SetUp(ctx context.Context) error {
	r := p.readonly
	if r == nil || r.known(ctx) {
		return nil
	}
	err := clickhouse.SetupReadOnly(ctx, r.server, r.user, r.password)
	switch {
	case err == nil:
		p.Log.Info(fmt.Sprintf("read-only user %s is set up", r.user))
		return nil
	case fault.Is(err, fault.Permanent):
		return &fault.Usage{Err: fmt.Errorf("--setup-readonly-user: %w", err)}
	}
	p.notice("read-only user %s is not set up: %v; the next start tries again", r.user, err)
	return nil
}

// known reports whether the user can log in already.
func (r *readonly) known(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.URL,
		strings.NewReader("SELECT 1"))
	if err != nil {
		return false
	}
	req.Header.Set("X-ClickHouse-User", r.user)
	req.Header.Set("X-ClickHouse-Key", r.password.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	return resp.StatusCode == http.StatusOK
}
