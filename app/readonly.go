package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
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

var userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// wantReadonly reads the flags; nil means that nobody is to be set up.
func wantReadonly(f WsprnetFlags, sinkCfg any, p *Plan) (*readonly, error) {
	if f.ReadonlyUser == nil {
		return nil, nil
	}
	server, ok := sinkCfg.(clickhouse.Config)
	if !ok {
		p.notice("--setup-readonly-user is passed over: nothing of ClickHouse is given, so there is none")
		return nil, nil
	}
	r := &readonly{server: server, user: *f.ReadonlyUser, password: secret.Text(deref(f.ReadonlyPassword))}
	if !userName.MatchString(r.user) {
		return nil, usage("", "--setup-readonly-user: %q can't be the name of a user", r.user)
	}
	if strings.EqualFold(r.password.Reveal(), "CHANGEME") {
		return nil, usage("", "--setup-readonly-password is still the placeholder; set the password of %s", r.user)
	}
	return r, nil
}

// SetUp makes what the plan needs at its servers. A server that is away is no error: the next start
// tries again. Text, if not empty, is what a person must put into the server's configuration.
func (p *Plan) SetUp(ctx context.Context) (text string, err error) {
	r := p.readonly
	if r == nil {
		return "", nil
	}
	_, err = r.ask(ctx, r.user, r.password, "SELECT 1")
	known := err == nil
	switch {
	case errors.As(err, new(refused)):
	case err != nil:
		p.notice("read-only user %s is not set up: %v; the next start tries again", r.user, err)
		return "", nil
	}
	if !known && r.password == "" {
		return "", usage("", "--setup-readonly-password is empty; set the password of %s", r.user)
	}
	if !known {
		if _, err := r.ask(ctx, r.server.Username, r.server.Password, r.create()); err != nil {
			return r.failed(err, p)
		}
		p.Log.Info(fmt.Sprintf("read-only user %s was created", r.user))
	}
	grant := fmt.Sprintf("GRANT SELECT ON %s.* TO %s", quoted(r.server.Database, "`"), quoted(r.user, "`"))
	if _, err := r.ask(ctx, r.server.Username, r.server.Password, grant); err != nil && !known {
		return r.failed(err, p)
	}
	return "", nil
}

// failed says what to do where the server makes no users by SQL.
func (r *readonly) failed(err error, p *Plan) (string, error) {
	if !errors.As(err, new(refused)) {
		p.notice("read-only user %s is not set up: %v; the next start tries again", r.user, err)
		return "", nil
	}
	return r.fragment(), usage("put the text above into /etc/clickhouse-server/users.d/"+r.user+".xml and start again",
		"read-only user %s: this server makes no users by SQL for us", r.user)
}

// create never holds the password itself: servers repeat a statement in their logs and errors.
func (r *readonly) create() string {
	return fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED WITH sha256_hash BY '%s'", quoted(r.user, "`"), r.hash())
}

func (r *readonly) hash() string {
	sum := sha256.Sum256([]byte(r.password.Reveal()))
	return hex.EncodeToString(sum[:])
}

func quoted(s, q string) string {
	return q + strings.NewReplacer(`\`, `\\`, q, `\`+q).Replace(s) + q
}

// fragment is what makes the user in the configuration of a server, old ones included.
func (r *readonly) fragment() string {
	return fmt.Sprintf(`<yandex>
  <profiles>
    <holdfast_readonly><readonly>1</readonly></holdfast_readonly>
  </profiles>
  <users>
    <%[1]s>
      <password_sha256_hex>%[2]s</password_sha256_hex>
      <networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
      <profile>holdfast_readonly</profile>
      <quota>default</quota>
      <allow_databases><database>%[3]s</database></allow_databases>
    </%[1]s>
  </users>
</yandex>
`, r.user, r.hash(), r.server.Database)
}

// refused is an answer of the server that is an error; it is not an outage.
type refused struct{ code string }

func (r refused) Error() string { return "the server refused (code " + r.code + ")" }

// ask runs one statement as a user. The text of an error of the server is not repeated.
func (r *readonly) ask(ctx context.Context, user string, password secret.Text, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.URL, strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	if user != "" {
		req.Header.Set("X-ClickHouse-User", user)
		req.Header.Set("X-ClickHouse-Key", password.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return "", fault.New(fault.Transient, "ask ClickHouse: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fault.New(fault.Transient, "ask ClickHouse: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return string(body), nil
	}
	code := resp.Header.Get("X-ClickHouse-Exception-Code")
	if m := exceptionCode.FindSubmatch(body); code == "" && m != nil {
		code = string(m[1])
	}
	if code == "" {
		return "", fault.New(fault.Transient, "ask ClickHouse: %s", resp.Status)
	}
	return "", refused{code}
}

var exceptionCode = regexp.MustCompile(`Code: (\d+)`)
