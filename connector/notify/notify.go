// Package notify tells people something through a service that a URL names: Slack, mail, Matrix, ntfy,
// Telegram and the others of shoutrrr.
//
//	notify: {ops: "${SLACK_URL}"}
//
// Such a URL is a secret: no error of this package has any part of it but the name of the service. Nothing
// here decides what is told or how often.
package notify

import (
	"errors"
	"io"
	"log"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"holdfast/base/fault"
	"holdfast/base/secret"
)

// Target is one place where people are told.
type Target struct {
	url    secret.Text
	sender *router.ServiceRouter
}

// Open returns the target of a URL. It connects to nothing.
func Open(address secret.Text) (*Target, error) {
	service, _, ok := strings.Cut(address.Reveal(), "://")
	if !ok {
		return nil, fault.New(fault.Permanent, "want a URL as shoutrrr reads it, such as ntfy://ntfy.sh/TOPIC")
	}
	sender, err := shoutrrr.CreateSender(address.Reveal())
	if err != nil {
		return nil, fault.New(fault.Permanent, "the URL of %s is not understood", known(service))
	}
	sender.SetLogger(log.New(io.Discard, "", 0)) // it would show the URL
	return &Target{address, sender}, nil
}

var word = regexp.MustCompile(`^[a-z][a-z0-9+]{1,15}$`)

// known is the name of a service, if it looks like one: a URL that was cut wrongly may begin with a secret.
func known(service string) string {
	if word.MatchString(service) {
		return service
	}
	return "the service"
}

// Send tells it, and returns when the service took it or ten seconds have gone by.
func (t *Target) Send(text string) error {
	if err := errors.Join(t.sender.Send(text, nil)...); err != nil {
		return fault.New(fault.Transient, "%s", t.hide(err.Error()))
	}
	return nil
}

var anyURL = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"']+`)

// hide takes all URLs out of a text, and every part of ours that could be a secret.
func (t *Target) hide(text string) string {
	text = anyURL.ReplaceAllString(text, "***")
	parts := []string{t.url.Reveal()}
	if u, err := url.Parse(t.url.Reveal()); err == nil {
		password, _ := u.User.Password()
		parts = append(parts, password, u.User.Username(), u.Host, u.Hostname(), u.RawQuery)
		parts = append(parts, strings.Split(u.Path, "/")...)
		for _, values := range u.Query() {
			parts = append(parts, values...)
		}
	}
	// The longest first: one that another holds would leave the rest of that readable.
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	for _, p := range parts {
		if len(p) > 2 {
			text = strings.ReplaceAll(text, p, "***")
		}
	}
	return text
}
