package httppush

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"holdfast/connector"
)

// values are what a template can use. What stands in a URL is escaped for it.
type values struct {
	Key  string // the idempotency key
	Job  string
	Rows int64 // how many, of the delivery

	// For keys alone.
	From, To uint64
	Order    string // asc or desc
	Limit    int
}

// nobody is what requests are made of that speak of no delivery.
var nobody = values{Key: "holdfast-probe", Order: "asc", Limit: 1}

// templates are the parts of a request.
type templates struct {
	url, lookup, keys *template.Template
	headers           map[string]*template.Template
}

// question is what the templates give.
type question struct {
	url, lookup, keys string
	headers           map[string]string
}

// parseTemplates returns the templates, or what is wrong with them, found by using them once.
func parseTemplates(c Config) (t templates, faults []error) {
	parse := func(key, text string) *template.Template {
		t, err := template.New(key).Option("missingkey=error").Parse(text)
		if err == nil {
			err = t.Execute(&strings.Builder{}, nobody)
		}
		if err != nil {
			text := strings.TrimPrefix(err.Error(), "template: ")
			faults = append(faults, fmt.Errorf("%s: is no template that can be used: %s", key,
				strings.TrimSuffix(text, " in type httppush.values")))
		}
		return t
	}
	t = templates{url: parse("url", c.URL), lookup: parse("lookup", c.Lookup), keys: parse("keys", c.Keys),
		headers: map[string]*template.Template{}}
	for name, text := range c.Headers {
		t.headers[name] = parse("headers", text.Reveal())
	}
	return t, faults
}

// fill makes a request's parts of the values.
func (t templates) fill(v values) (q question, err error) {
	run := func(t *template.Template, v values) string {
		var b strings.Builder
		if e := t.Execute(&b, v); e != nil {
			err = fmt.Errorf("fill the templates of the request: %w", e)
		}
		return b.String()
	}
	inURL := v
	inURL.Key, inURL.Job = url.QueryEscape(v.Key), url.PathEscape(v.Job)
	q = question{url: run(t.url, inURL), lookup: run(t.lookup, inURL), keys: run(t.keys, inURL),
		headers: map[string]string{}}
	for name, h := range t.headers {
		q.headers[name] = run(h, v)
	}
	return q, err
}

// valuesOf are the values for a delivery under a key.
func valuesOf(d connector.Delivery, key string) values {
	return values{Key: key, Job: d.Token.Job, Rows: d.Rows.NumRows()}
}

// place is where the sink posts to, for errors: without a query, which may hold a secret.
func (s *Sink) place() string {
	q, _ := s.templates.fill(nobody)
	u, err := url.Parse(q.url)
	if err != nil {
		return "the receiver"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// decided reports whether a status means one thing whatever the configuration says.
func decided(status int) bool {
	return slices.Contains([]int{401, 403, 407, 408, 425, 429}, status)
}
