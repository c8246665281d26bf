package httppoll

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Config is a feed of HTTP that is polled: any JSON, JSON lines or CSV.
type Config struct {
	// URL is a template: .Cursor (text, empty at the start), .Page, .Now, .Since (the highest event
	// time so far). .Cursor is escaped for a URL.
	URL string `yaml:"url" json:"url,omitempty" jsonschema:"required"`
	// Method of a request; default GET.
	Method string `yaml:"method" json:"method,omitempty" jsonschema:"enum=GET,enum=POST"`
	// Headers of every request; the values are templates as that of url.
	Headers map[string]secret.Text `yaml:"headers" json:"headers,omitempty"`
	// Body of a POST, a template; .Cursor is escaped for a JSON string.
	Body secret.Text `yaml:"body" json:"body,omitempty"`
	// Auth says who we are: at most one of basic, bearer and login.
	Auth Auth `yaml:"auth" json:"auth,omitempty"`
	// AllowHosts are further hosts (host or host:port) that next links and redirects may lead to.
	// Headers, credentials and cookies never go there.
	AllowHosts []string `yaml:"allow_hosts" json:"allow_hosts,omitempty"`
	// Format of an answer; default json.
	Format string `yaml:"format" json:"format,omitempty" jsonschema:"enum=json,enum=jsonl,enum=csv"`
	// Delimiter between the values of a csv; default ",".
	Delimiter string `yaml:"delimiter" json:"delimiter,omitempty"`
	// Rows is the jq expression that gives the items of a json answer; default the array itself, or
	// the object's only array. A plain path such as .data[] is read as a stream.
	Rows string `yaml:"rows" json:"rows,omitempty"`
	// Columns say how an item becomes a row.
	Columns []Column `yaml:"columns" json:"columns,omitempty" jsonschema:"required"`
	// Extra is what becomes of fields that no column is made from: drop, or keep, each as a column of its own; default drop.
	Extra string `yaml:"extra" json:"extra,omitempty" jsonschema:"enum=drop,enum=keep"`
	// Key is the column that identifies a row (int64, uint64 or text), or several, separated by
	// commas: then a text column "key" with their joined values stands in front. It may be missing if there is a cursor.
	Key string `yaml:"key" json:"key,omitempty"`
	// Cursor says how the place in the feed is known; at most one of its keys.
	Cursor Cursor `yaml:"cursor" json:"cursor,omitempty"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time" json:"time,omitempty"`
	// Page says how an answer goes on: at most one of next, jq and number.
	Page Paging `yaml:"page" json:"page,omitempty"`
	// Every is the time between polls; default 1m.
	Every time.Duration `yaml:"every" json:"every,omitempty"`
	// MaxBytesPerSecond is what comes over the network in a second at most; default -1, which is no limit.
	MaxBytesPerSecond int `yaml:"max_bytes_per_second" json:"max_bytes_per_second,omitempty"`
	// Timeout is the longest silence: to connect, to the first byte and between bytes; default 1m.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	// PageTimeout is the longest time for one answer; default 10m.
	PageTimeout time.Duration `yaml:"page_timeout" json:"page_timeout,omitempty"`
	// MaxBytes is the most bytes of one answer, unpacked; default 64MiB.
	MaxBytes int64 `yaml:"max_bytes" json:"max_bytes,omitempty"`
}

// Auth says who we are; at most one of the three.
type Auth struct {
	// Basic is a user with a password, sent with every request.
	Basic *Basic `yaml:"basic" json:"basic,omitempty"`
	// Bearer is a token, sent with every request.
	Bearer secret.Text `yaml:"bearer" json:"bearer,omitempty"`
	// Login is a request whose answer sets the cookies of a session. It is made once, and again when the feed
	// answers 401 or 403.
	Login *Login `yaml:"login" json:"login,omitempty"`
}

// Basic is a user with a password.
type Basic struct {
	// User is the name.
	User string `yaml:"user" json:"user,omitempty"`
	// Password of the user.
	Password secret.Text `yaml:"password" json:"password,omitempty"`
}

// Login is a request whose answer sets the cookies of a session. It is made once, and again when the
// feed answers 401 or 403.
type Login struct {
	// URL that the login is posted to.
	URL string `yaml:"url" json:"url,omitempty"`
	// Body of the login as it is. Exactly one of body and form is given.
	Body secret.Text `yaml:"body" json:"body,omitempty"`
	// ContentType is that of the body; default application/json.
	ContentType string `yaml:"content_type" json:"content_type,omitempty"`
	// Form has the fields of a login that is posted as a form.
	Form map[string]secret.Text `yaml:"form" json:"form,omitempty"`
	// Pause is how long a refused login is not tried again; default 1h.
	Pause time.Duration `yaml:"pause" json:"pause,omitempty"`
}

// Column is one column of the rows.
type Column = columns.Column

// WithDefaults returns l with everything filled in that has a default.
func (l Login) WithDefaults() Login {
	l.ContentType, l.Pause = cmp.Or(l.ContentType, "application/json"), cmp.Or(l.Pause, time.Hour)
	return l
}

// Cursor says how the place in the feed is known; at most one of the two.
type Cursor struct {
	// Column whose highest value that was seen is the place.
	Column string `yaml:"column" json:"column,omitempty"`
	// JQ is an expression: what it gives of the answer, without the rows where they are a stream, is the place.
	JQ string `yaml:"jq" json:"jq,omitempty"`
}

// Paging says how an answer goes on; at most one of Next, JQ and Number.
type Paging struct {
	// Next: with link, the URL of the next page is that of the Link header's rel=next.
	Next string `yaml:"next" json:"next,omitempty" jsonschema:"enum=link"`
	// JQ is an expression that gives the URL of the next page of the answer, null at the end.
	JQ string `yaml:"jq" json:"jq,omitempty"`
	// Number of the first page, counted up in .Page until a page is empty, or has less items than size.
	Number *int `yaml:"number" json:"number,omitempty"`
	// Size is how many items a full page has: after one, the next is asked for at once.
	Size int `yaml:"size" json:"size,omitempty"`
}

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
	def(&c.Method, http.MethodGet)
	def(&c.Format, formatJSON)
	def(&c.Delimiter, ",")
	def(&c.Extra, columns.ExtraDrop)
	dur(&c.Every, time.Minute)
	dur(&c.Timeout, time.Minute)
	dur(&c.PageTimeout, 10*time.Minute)
	if c.MaxBytesPerSecond == 0 {
		c.MaxBytesPerSecond = -1
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if l := c.Auth.Login; l != nil {
		login := l.WithDefaults()
		c.Auth.Login = &login
	}
	return c
}

const (
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatCSV   = "csv"
)

// spec is what the configuration says of rows.
func (c Config) spec() columns.Spec {
	return columns.Spec{Columns: c.Columns, Key: c.Key, Time: c.Time, Cursor: c.Cursor.Column,
		Extra: c.Extra, Convert: c.Format == formatCSV}
}

// check is a configuration and what is wrong with it.
type check struct {
	Config
	connector.Faults
}

func (k *check) expression(key, text string) {
	if _, err := columns.ParseExpr(text); text != "" && err != nil {
		k.Bad(key, "%v", err)
	}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	k := &check{Config: c.WithDefaults()}
	k.request()
	k.auth()
	k.answer()
	k.spec().Check(k.Bad)
	k.cursor()
	k.paging()
	k.limits()
	return k.Sorted()
}

func (k *check) request() {
	k.OneOf("method", k.Method, http.MethodGet, http.MethodPost)
	if k.Method == http.MethodGet && k.Body != "" {
		k.Bad("body", "is there, and method is GET; want POST")
	}
	if k.URL == "" {
		k.Bad("url", "is missing")
		return
	}
	t, faults := parseTemplates(k.Config)
	k.Faults = append(k.Faults, faults...)
	if len(faults) > 0 {
		return
	}
	if why := web.BadURL(t.sample("", 1).url); why != "" {
		k.Bad("url", "%s", why)
	}
	for name, v := range t.sample("", 1).headers {
		if why := web.BadHeaderValue(v); why != "" {
			k.Bad("headers."+name, "%s", why)
		}
	}
	if (k.Cursor != Cursor{}) && t.sample("", 1).same(t.sample("1", 1)) {
		k.Bad("cursor", "is kept, and neither url, headers nor body uses .Cursor or .Since")
	}
	if k.Page.Number != nil && t.sample("", 1).same(t.sample("", 2)) {
		k.Bad("page.number", "is counted, and neither url, headers nor body uses .Page")
	}
}

func (k *check) auth() {
	a, n := k.Auth, 0
	if a.Basic != nil {
		n++
		if a.Basic.User == "" {
			k.Bad("auth.basic.user", "is missing")
		}
	}
	if a.Bearer != "" {
		n++
	}
	if l := a.Login; l != nil {
		n++
		if why := web.BadURL(l.URL); why != "" {
			k.Bad("auth.login.url", "%s", why)
		}
		if (l.Body == "") == (len(l.Form) == 0) {
			k.Bad("auth.login", "want either body or form")
		}
		if l.Pause < 0 {
			k.Bad("auth.login.pause", "is %v, want a time above 0", l.Pause)
		}
	}
	if n > 1 {
		k.Bad("auth", "want one of basic, bearer and login")
	}
	for name := range k.Headers {
		if why := web.BadHeaderName(name); why != "" {
			k.Bad("headers", "%q %s", name, why)
		}
		if n > 0 && strings.EqualFold(name, "Authorization") && a.Login == nil {
			k.Bad("headers", "Authorization is set by auth already")
		}
	}
}

func (k *check) answer() {
	k.OneOf("format", k.Format, formatJSON, formatJSONL, formatCSV)
	k.expression("rows", k.Rows)
	if k.Rows != "" && k.Format != formatJSON {
		k.Bad("rows", "is for format json alone")
	}
	d := []rune(k.Delimiter)
	if len(d) != 1 || strings.ContainsAny(k.Delimiter, "\"\r\n\uFFFD") {
		k.Bad("delimiter", "is %q, want one character", k.Delimiter)
	}
	if k.Config.Delimiter != "," && k.Format != formatCSV {
		k.Bad("delimiter", "is for format csv alone")
	}
}

// cursor checks how the place in the feed is known.
func (k *check) cursor() {
	if k.Cursor.Column != "" && k.Cursor.JQ != "" {
		k.Bad("cursor", "want column or jq")
	}
	k.expression("cursor.jq", k.Cursor.JQ)
	if k.Cursor == (Cursor{}) && len(k.spec().Keys()) == 0 {
		k.Bad("key", "is missing, and there is no cursor: every poll would take all rows once more")
	}
}

func (k *check) paging() {
	n := 0
	for _, set := range []bool{k.Page.Next != "", k.Page.JQ != "", k.Page.Number != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		k.Bad("page", "want one of next, jq and number")
	}
	if k.Page.Next != "" {
		k.OneOf("page.next", k.Page.Next, "link")
	}
	k.expression("page.jq", k.Page.JQ)
	if k.Page.Size < 0 {
		k.Bad("page.size", "is %d, want a number from 1", k.Page.Size)
	}
	if k.Format != formatJSON {
		if k.Page.JQ != "" {
			k.Bad("page.jq", "is for format json alone")
		}
		if k.Cursor.JQ != "" {
			k.Bad("cursor.jq", "is for format json alone")
		}
	}
}

func (k *check) limits() {
	for key, v := range map[string]time.Duration{"every": k.Every, "timeout": k.Timeout,
		"page_timeout": k.PageTimeout} {
		if v < 0 {
			k.Bad(key, "is %v, want a time above 0", v)
		}
	}
	if k.MaxBytesPerSecond < -1 {
		k.Bad("max_bytes_per_second", "is %d, want a number of bytes, or -1 for no limit",
			k.MaxBytesPerSecond)
	}
	if k.MaxBytes < 1 {
		k.Bad("max_bytes", "is %d, want a number of bytes", k.MaxBytes)
	}
}
