package httppoll

import (
	"encoding/json"
	"net/url"
	"strings"
	"text/template"
	"time"

	"holdfast/connector"
)

// moment is a time that prints as RFC 3339 where a template does not say otherwise.
type moment struct{ time.Time }

// String returns the time in UTC.
func (m moment) String() string { return m.UTC().Format(time.RFC3339Nano) }

// values are what a template can use.
type values struct {
	Cursor string
	Page   int
	Now    moment
	Since  moment
}

// templates are the parts of a request that hold the cursor.
type templates struct {
	url, body *template.Template
	headers   map[string]*template.Template
}

// question is a request before it is sent.
type question struct {
	url, body string
	headers   map[string]string
}

// parseTemplates returns the templates, or what is wrong with them, found by using them once.
func parseTemplates(c Config) (templates, connector.Faults) {
	var faults connector.Faults
	parse := func(key, text string) *template.Template {
		t, err := template.New(key).Option("missingkey=error").Parse(text)
		if err == nil {
			err = t.Execute(&strings.Builder{}, values{Now: moment{time.Now()}})
		}
		if err != nil {
			text := strings.TrimPrefix(err.Error(), "template: ")
			faults.Bad(key, "is no template that can be used: %s", strings.TrimSuffix(text, " in type httppoll.values"))
		}
		return t
	}
	t := templates{url: parse("url", c.URL), body: parse("body", c.Body.Reveal()),
		headers: map[string]*template.Template{}}
	for name, text := range c.Headers {
		t.headers[name] = parse("headers."+name, text.Reveal())
	}
	return t, faults
}

// fill makes the request of the values. The cursor is text of the feed's: where it stands it must not
// be able to say more than a value.
func (t templates) fill(v values) (q question, err error) {
	run := func(t *template.Template, v values) string {
		var b strings.Builder
		if e := t.Execute(&b, v); e != nil {
			err = e
		}
		return b.String()
	}
	inURL, inBody := v, v
	inURL.Cursor = strings.ReplaceAll(url.QueryEscape(v.Cursor), "+", "%20")
	quoted, _ := json.Marshal(v.Cursor)
	inBody.Cursor = string(quoted[1 : len(quoted)-1])
	q = question{url: run(t.url, inURL), body: run(t.body, inBody), headers: map[string]string{}}
	for name, h := range t.headers {
		q.headers[name] = run(h, v)
	}
	return q, err
}

// sample fills the templates for a check of a configuration: .Since moves with the cursor.
func (t templates) sample(cursor string, page int) question {
	v := values{Cursor: cursor, Page: page, Now: moment{time.Unix(1e9, 0)},
		Since: moment{time.Unix(int64(len(cursor))*123_456_789, 0)}}
	q, _ := t.fill(v)
	return q
}

func (q question) same(o question) bool {
	for name, v := range q.headers {
		if o.headers[name] != v {
			return false
		}
	}
	return q.url == o.url && q.body == o.body
}
