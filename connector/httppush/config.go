package httppush

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Config is any receiver of HTTP that deliveries are posted to.
type Config struct {
	// URL that deliveries are posted to; a template: .Key (the idempotency key), .Job, .Rows (their number).
	URL string `yaml:"url" jsonschema:"required"`
	// Headers of every request; the values are templates like url.
	Headers map[string]secret.Text `yaml:"headers"`
	// Auth says who we are: at most one of basic and bearer.
	Auth Auth `yaml:"auth"`
	// Method of a delivery; default POST.
	Method string `yaml:"method" jsonschema:"enum=POST,enum=PUT,enum=PATCH"`
	// Format of a delivery: json is an array of objects; default json.
	Format string `yaml:"format" jsonschema:"enum=json,enum=jsonl,enum=csv"`
	// Compression of a delivery; default none.
	Compression string `yaml:"compression" jsonschema:"enum=none,enum=gzip,enum=zstd"`
	// KeyHeader holds the idempotency key, in quotes; default Idempotency-Key. For a receiver that wants it
	// elsewhere or without quotes, .Key stands in headers or url.
	KeyHeader string `yaml:"key_header"`
	// Idempotent says that the receiver does what has one key once, however often and however near to each
	// other it comes, and remembers keys for longer than a delivery is repeated; default false. We can't prove it.
	Idempotent bool `yaml:"idempotent"`
	// Already are statuses by which the receiver says of a repeat that it has it; default none. 409 and 422
	// are usual.
	Already []int `yaml:"already"`
	// Refused are statuses by which it refuses a delivery because of its rows, none of which it has taken;
	// default those of 400, 413 and 422 that are not in already: one status can't mean both.
	Refused []int `yaml:"refused"`
	// Rejected is a jq expression that gives, of an answer of 2xx in JSON, the rows that were not taken: an
	// array of {"row": place in the delivery from 0, "reason": text}.
	Rejected string `yaml:"rejected"`
	// Lookup is the URL, a template like url, that answers 2xx if a delivery was taken and 404 if not. It is
	// asked (GET) before a repeat.
	Lookup string `yaml:"lookup"`
	// Keys is the URL, a template, that answers the integer keys from .From to .To that the receiver has,
	// each as often as it has the row, as a JSON array in .Order (asc or desc), of which .Limit are enough.
	Keys string `yaml:"keys"`
	// Probe is a request that shows that a delivery would be taken, and leaves no trace.
	Probe Request `yaml:"probe"`
	// Timeout is how long the receiver may be silent; default 30s.
	Timeout time.Duration `yaml:"timeout"`
}

// Auth says who we are; at most one of the two.
type Auth struct {
	// Basic is a user with a password, sent with every request.
	Basic *Basic `yaml:"basic"`
	// Bearer is a token, sent with every request.
	Bearer secret.Text `yaml:"bearer"`
}

// Basic is a user with a password.
type Basic struct {
	// User is the name.
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
}

// Request is a URL with a method.
type Request struct {
	// Method of the request; default GET.
	Method string `yaml:"method" jsonschema:"enum=GET,enum=HEAD,enum=OPTIONS,enum=POST"`
	// URL that is asked.
	URL string `yaml:"url"`
}

const (
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatCSV   = "csv"

	packNone = "none"
	packGzip = "gzip"
	packZstd = "zstd"
)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.Method, http.MethodPost)
	def(&c.Format, formatJSON)
	def(&c.Compression, packNone)
	def(&c.KeyHeader, "Idempotency-Key")
	def(&c.Probe.Method, http.MethodGet)
	if c.Refused == nil {
		refused := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}
		c.Refused = slices.DeleteFunc(refused, func(n int) bool { return slices.Contains(c.Already, n) })
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

// check is a configuration and what is wrong with it.
type check struct {
	Config
	connector.Faults
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	k := &check{Config: c.WithDefaults()}
	k.OneOf("method", k.Method, http.MethodPost, http.MethodPut, http.MethodPatch)
	k.OneOf("format", k.Format, formatJSON, formatJSONL, formatCSV)
	k.OneOf("compression", k.Compression, packNone, packGzip, packZstd)
	k.OneOf("probe.method", k.Probe.Method, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost)
	if c.Probe.URL == "" && c.Probe.Method != "" {
		k.Bad("probe.url", "is missing: method says how to ask, and nothing says where")
	}
	k.places()
	k.auth()
	k.statuses()
	if _, err := columns.ParseExpr(k.Rejected); k.Rejected != "" && err != nil {
		k.Bad("rejected", "%v", err)
	}
	if k.Timeout < 0 {
		k.Bad("timeout", "is %v, want a time above 0", k.Timeout)
	}
	return k.Sorted()
}

// places checks every URL and header.
func (k *check) places() {
	if k.URL == "" {
		k.Bad("url", "is missing")
	}
	t, faults := parseTemplates(k.Config)
	k.Faults = append(k.Faults, faults...)
	if len(faults) > 0 {
		return
	}
	q, _ := t.fill(nobody)
	for key, raw := range map[string]string{"url": q.url, "lookup": q.lookup, "keys": q.keys,
		"probe.url": k.Probe.URL} {
		if why := web.BadURL(raw); raw != "" && why != "" {
			k.Bad(key, "%s", why)
		}
	}
	for name, v := range q.headers {
		if why := web.BadHeaderValue(v); why != "" {
			k.Bad("headers."+name, "%s", why)
		}
	}
	other := nobody
	other.Key, other.From, other.Order, other.Limit = "other", 1, "desc", 2
	o, _ := t.fill(other)
	if k.Lookup != "" && q.lookup == o.lookup && !k.keyInHeaders(q, o) {
		k.Bad("lookup", "does not use .Key")
	}
	if k.Keys != "" {
		for _, part := range []string{".From", ".To", ".Order"} {
			if !strings.Contains(k.Keys, part) {
				k.Bad("keys", "does not use %s", part)
			}
		}
	}
}

// keyInHeaders reports whether the headers of two deliveries differ.
func (k *check) keyInHeaders(a, b question) bool {
	for name, v := range a.headers {
		if b.headers[name] != v {
			return true
		}
	}
	return false
}

func (k *check) auth() {
	b := k.Auth.Basic
	if b != nil && b.User == "" {
		k.Bad("auth.basic.user", "is missing")
	}
	if b != nil && k.Auth.Bearer != "" {
		k.Bad("auth", "want one of basic and bearer")
	}
	for name := range k.Headers {
		why := web.BadHeaderName(name)
		switch {
		case why != "":
			k.Bad("headers", "%q %s", name, why)
		case strings.EqualFold(name, "Authorization") && (b != nil || k.Auth.Bearer != ""):
			k.Bad("headers", "Authorization is set by auth already")
		case strings.EqualFold(name, "Content-Encoding"):
			k.Bad("headers", "Content-Encoding is set by compression")
		}
	}
	if why := web.BadHeaderName(k.KeyHeader); why != "" {
		k.Bad("key_header", "%q %s", k.KeyHeader, why)
	}
}

// statuses checks that no status has two meanings, or one that would hide what a person must do.
func (k *check) statuses() {
	for key, list := range map[string][]int{"already": k.Already, "refused": k.Refused} {
		for _, n := range list {
			if n < 400 || n > 499 || decided(n) {
				k.Bad(key, "has %d, want statuses from 400 to 499, without 401, 403, 407, 408, 425 and 429", n)
			}
		}
	}
	for _, n := range k.Already {
		if slices.Contains(k.Refused, n) {
			k.Bad("already", "has %d, and refused has it too: a delivery can't be taken and refused by one status", n)
		}
	}
}
