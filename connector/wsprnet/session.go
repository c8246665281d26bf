package wsprnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// session is what a login gives. In the session file it stands as JSON with the names of the
// login's own answer, so that a file of the old scraper is read too.
type session struct {
	Name     string    `json:"session_name"`
	ID       string    `json:"sessid"`
	Username string    `json:"username,omitempty"`
	LoginURL string    `json:"login_url,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// cookie returns the header's value.
func (s session) cookie() string { return s.Name + "=" + s.ID }

// valid tells whether name and id can stand in a Cookie header.
func (s session) valid() bool {
	ok := func(v string) bool {
		return v != "" && len(v) <= 1024 && !strings.ContainsFunc(v, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`;,"\`, r)
		})
	}
	return ok(s.Name) && ok(s.ID) && !strings.Contains(s.Name, "=")
}

// loadSession reads the session file. Without a file there is no session and no error; a damaged
// one or another user's is an error, and no session either.
func loadSession(path, username, loginURL string) (s session, err error) {
	if path == "" {
		return session{}, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return session{}, nil
	}
	if err != nil {
		return session{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return session{}, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return session{}, fmt.Errorf("read session: %w", err)
	}
	if !s.valid() {
		return session{}, errors.New("it holds no session_name and sessid")
	}
	if s.Username != "" && s.Username != username || s.LoginURL != "" && s.LoginURL != loginURL {
		return session{}, errors.New("it holds the session of another account")
	}
	return s, nil
}

// saveSession writes the session file so that a crash leaves the old one or the new one: the bytes
// are on the disk before the name is, and the name before we return.
func saveSession(path string, s session) (err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// login asks for a session. After a refusal it does not ask again for the same account until
// LoginPause is over: a feed blocks accounts that knock too often.
func (s *Source) login(ctx context.Context) error {
	if wait := time.Until(s.refusedUntil); wait > 0 {
		return s.refusal(fmt.Errorf("log in to %s as %s: refused before, not tried again for %s",
			s.loginHost(), s.cfg.Username, wait.Round(time.Second)))
	}
	if s.cfg.Username == "" || s.cfg.Password == "" || isPlaceholder(s.cfg.Password.Reveal()) {
		return fault.WithHint(fault.New(fault.Credentials,
			"log in to %s: the feed wants a session, and no user name and password are set",
			s.loginHost()), "set username and password")
	}
	body, err := json.Marshal(map[string]string{
		"name": s.cfg.Username, "pass": s.cfg.Password.Reveal()})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.LoginURL, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.Permanent, "log in to %s: %w", s.loginHost(), err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", s.opts.UserAgent)
	w := download.NewWatch(ctx, "request_timeout", s.cfg.RequestTimeout, s.cfg.RequestTimeout)
	defer w.Stop()
	resp, err := s.client.Do(req.WithContext(w.Context()))
	if err != nil {
		return s.outage("log in to "+s.loginHost(), w.Explain(ctx, err))
	}
	defer resp.Body.Close()
	return s.loggedIn(ctx, w, resp)
}

// loggedIn reads the login's answer.
func (s *Source) loggedIn(ctx context.Context, w *download.Watch, resp *http.Response) error {
	what := "log in to " + s.loginHost()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden,
		code == http.StatusNotAcceptable:
		s.refusedUntil = time.Now().Add(s.cfg.LoginPause)
		return s.refusal(fmt.Errorf("%s as %s: refused with %s: %s", what, s.cfg.Username,
			resp.Status, download.Snippet(data)))
	case code != http.StatusOK:
		return s.badStatus(what, resp, data)
	case err != nil:
		return s.outage(what, w.Explain(ctx, err))
	}
	got := session{Username: s.cfg.Username, LoginURL: s.cfg.LoginURL, Since: time.Now().UTC()}
	if err := json.Unmarshal(data, &got); err != nil || !got.valid() {
		return s.outage(what, fmt.Errorf("the answer holds no session: %s", download.Snippet(data)))
	}
	got.Username, got.LoginURL, got.Since = s.cfg.Username, s.cfg.LoginURL, time.Now().UTC()
	s.session, s.hasSession = got, true
	s.note("login", 1)
	if s.cfg.SessionFile != "" {
		if err := saveSession(s.cfg.SessionFile, got); err != nil {
			s.note("session_file_unwritten", 1)
			s.log.Warn("session file can't be written: the next start logs in again",
				"file", s.cfg.SessionFile, "error", err)
		}
	}
	return nil
}

// refusal is a fault that only a person can mend.
func (s *Source) refusal(err error) error {
	return fault.WithHint(fault.As(fault.Credentials, err),
		"check username and password by logging in at %s with a browser; then restart, or `holdfast resume` "+
			"the job",
		s.loginHost())
}

func (s *Source) loginHost() string { return hostOf(s.cfg.LoginURL) }

// RetryLogin ends the pause after a refused login: a person says that it was mended.
func (s *Source) RetryLogin() { s.retry.Store(true) }
