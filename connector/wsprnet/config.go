package wsprnet

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"holdfast/base/secret"
	"holdfast/base/web"
)

// Config is the feed of WSPR spots of wsprnet.org, or one like it.
type Config struct {
	// URL of the spots; default http://www.wsprnet.org/drupal/wsprnet/spots/json.
	URL string `yaml:"url" json:"url,omitempty"`
	// LoginURL is where a session is asked for: /drupal/rest/user/login on the host of url, so default
	// http://www.wsprnet.org/drupal/rest/user/login.
	LoginURL string `yaml:"login_url" json:"login_url,omitempty"`
	// Username of the account. Without one there is no login, which wsprnet.org itself wants.
	Username string `yaml:"username" json:"username,omitempty"`
	// Password of the user.
	Password secret.Text `yaml:"password" json:"password,omitempty"`
	// SessionFile keeps the session from one start to the next; default session.json in the directory of the job.
	SessionFile string `yaml:"session_file" json:"session_file,omitempty"`
	// Every is the time between polls; default two minutes, kept away from even minutes, when everybody uploads.
	// wsprnet.org itself is never asked oftener.
	Every time.Duration `yaml:"every" json:"every,omitempty"`
	// Band by name or number; default All.
	Band string `yaml:"band" json:"band,omitempty"`
	// ExcludeSpecial leaves out special call signs with 1; default 0.
	ExcludeSpecial int `yaml:"exclude_special" json:"exclude_special,omitempty" jsonschema:"enum=0,enum=1"`
	// MaxBytesPerSecond is what comes over the network in a second at most, as it is there (compressed, if the feed
	// compresses); default 20000, -1 for no limit.
	MaxBytesPerSecond int `yaml:"max_bytes_per_second" json:"max_bytes_per_second,omitempty"`
	// RequestTimeout is the longest silence: to connect, to the first byte and between bytes;
	// default 2m.
	RequestTimeout time.Duration `yaml:"request_timeout" json:"request_timeout,omitempty"`
	// PageTimeout ends a page that drips on and on; what came until then is used; default 10m.
	PageTimeout time.Duration `yaml:"page_timeout" json:"page_timeout,omitempty"`
	// MaxPageBytes is the most of one page, at least 64KiB; what is beyond is asked for again; default 64MiB.
	MaxPageBytes int64 `yaml:"max_page_bytes" json:"max_page_bytes,omitempty"`
	// LoginPause is how long a refused login is not tried again; default 1h.
	LoginPause time.Duration `yaml:"login_pause" json:"login_pause,omitempty"`
}

// defaultURL is the feed itself. It is by invitation; no test goes there.
const defaultURL = "http://www.wsprnet.org/drupal/wsprnet/spots/json"

const loginPath = "/drupal/rest/user/login"

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	dur := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.URL, defaultURL)
	def(&c.Band, "All")
	if u, err := url.Parse(c.URL); err == nil {
		def(&c.LoginURL, (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: loginPath}).String())
	}
	dur(&c.RequestTimeout, 120*time.Second)
	dur(&c.PageTimeout, 10*time.Minute)
	dur(&c.LoginPause, time.Hour)
	if c.MaxBytesPerSecond == 0 {
		c.MaxBytesPerSecond = 20_000
	}
	if c.MaxPageBytes == 0 {
		c.MaxPageBytes = 64 << 20
	}
	return c
}

// Problem is one fault of a configuration: Key is the name under `wsprnet:`.
type Problem struct{ Key, Text string }

// Error returns the key and what is wrong with it.
func (p Problem) Error() string { return p.Key + ": " + p.Text }

// Validate returns all faults at once, each a Problem. A missing password is one unless the session
// file holds a session of this user.
func (c Config) Validate() (faults []error) {
	bad := func(key, format string, args ...any) {
		faults = append(faults, Problem{key, fmt.Sprintf(format, args...)})
	}
	d := c.WithDefaults()
	for key, raw := range map[string]string{"url": d.URL, "login_url": d.LoginURL} {
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			bad(key, "is no URL: %v", errors.Unwrap(err))
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			bad(key, "is %q, want an http:// or https:// URL", u.Redacted())
		case u.User != nil:
			bad(key, "holds a user name; put it into username and password")
		case web.BadPort(u) != "":
			bad(key, "%s", web.BadPort(u))
		}
	}
	if isPlaceholder(c.Username) || c.Username == "" && isWsprnet(hostOf(d.URL)) {
		bad("username", "is %s; the feed of wsprnet.org wants an account", shownOr(c.Username, "empty"))
	}
	if c.Username != "" && (c.Password == "" || isPlaceholder(c.Password.Reveal())) {
		if s, _ := loadSession(c.SessionFile, c.Username, d.LoginURL); !s.valid() {
			state := "empty"
			if c.Password != "" {
				state = "still the placeholder"
			}
			bad("password", "is %s; set the password of %s", state, c.Username)
		}
	}
	if c.ExcludeSpecial != 0 && c.ExcludeSpecial != 1 {
		bad("exclude_special", "is %d, want 0 or 1", c.ExcludeSpecial)
	}
	if c.MaxBytesPerSecond < -1 {
		bad("max_bytes_per_second", "is %d, want a number of bytes, or -1 for no limit",
			c.MaxBytesPerSecond)
	}
	if c.MaxPageBytes != 0 && d.MaxPageBytes < 64<<10 {
		bad("max_page_bytes", "is %d, want at least 65536", c.MaxPageBytes)
	}
	for key, v := range map[string]time.Duration{"every": c.Every, "request_timeout": c.RequestTimeout,
		"page_timeout": c.PageTimeout, "login_pause": c.LoginPause} {
		if v < 0 {
			bad(key, "is %v, want a time above 0", v)
		}
	}
	return sorted(faults)
}

func isPlaceholder(s string) bool { return strings.EqualFold(s, "CHANGEME") }

func shownOr(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
