package httppoll

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// authorized asks with the session there is, and once more with a new one if the feed wants that.
func (s *Source) authorized(ctx context.Context, at position, q question) (answer, error) {
	if s.cfg.Auth.Login == nil {
		return s.ask(ctx, at, q)
	}
	renewed := false
	if !s.loggedIn {
		if err := s.login(ctx); err != nil {
			return answer{}, err
		}
		renewed = true
	}
	ans, err := s.ask(ctx, at, q)
	if !fault.Is(err, fault.Credentials) {
		return ans, err
	}
	if s.loggedIn = false; !renewed {
		if err := s.login(ctx); err != nil {
			return answer{}, err
		}
		if ans, err = s.ask(ctx, at, q); !fault.Is(err, fault.Credentials) {
			return ans, err
		}
	}
	// The login succeeds and does not help: to repeat it would be a storm.
	s.loggedIn = false
	s.refusedUntil = time.Now().Add(s.cfg.Auth.Login.Pause)
	return answer{}, err
}

// login asks for a session, whose cookies the client keeps. After a refusal it does not ask again
// until the pause is over: a feed blocks accounts that knock too often.
func (s *Source) login(ctx context.Context) error {
	l := s.cfg.Auth.Login
	u, err := url.Parse(l.URL)
	if err != nil {
		return fault.New(fault.Permanent, "log in: auth.login.url is no URL")
	}
	what := "log in to " + u.Host
	if wait := time.Until(s.refusedUntil); wait > 0 {
		return loginRefused(fmt.Errorf("%s: refused before, not tried again for %s", what,
			wait.Round(time.Second)))
	}
	body, typ := l.Body.Reveal(), l.ContentType
	if len(l.Form) > 0 {
		form := url.Values{}
		for name, v := range l.Form {
			form.Set(name, v.Reveal())
		}
		body, typ = form.Encode(), "application/x-www-form-urlencoded"
	}
	w := download.NewWatch(ctx, "timeout", s.cfg.Timeout, s.cfg.Timeout)
	defer w.Stop()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, l.URL, strings.NewReader(body))
	if err != nil {
		return fault.New(fault.Permanent, "%s: the URL can't be asked", what)
	}
	req.Header.Set("Content-Type", typ)
	req.Header.Set("User-Agent", s.opts.UserAgent)
	resp, err := s.loginClient().Do(req)
	if err != nil {
		return s.unanswered(what, w.Explain(ctx, err))
	}
	defer resp.Body.Close()
	return s.judgeLogin(what, resp)
}

// loginClient shows the answer of a login as it is: many feeds set the cookie with a redirect, whose
// target is for browsers.
func (s *Source) loginClient() *http.Client {
	c := *s.client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

func (s *Source) judgeLogin(what string, resp *http.Response) error {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode < 400 {
		if len(resp.Cookies()) == 0 {
			return s.outage(what, fmt.Errorf("the answer %s sets no cookie: %s", resp.Status,
				download.Snippet(head)))
		}
		s.loggedIn = true
		return nil
	}
	err := badStatus(what, resp, head)
	if k := fault.KindOf(err); k == fault.Credentials || k == fault.Permanent {
		s.refusedUntil = time.Now().Add(s.cfg.Auth.Login.Pause)
		return loginRefused(err)
	}
	return err
}

// loginRefused is a fault that only a person can mend.
func loginRefused(err error) error {
	return fault.WithHint(fault.As(fault.Credentials, err), "check auth.login, then restart the job")
}
