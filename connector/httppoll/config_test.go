package httppoll

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMistakes(t *testing.T) {
	one := 1
	for want, change := range map[string]func(*Config){
		"url: is missing":                        func(c *Config) { c.URL = "" },
		"url: want an http://":                   func(c *Config) { c.URL = "ftp://h/{{.Cursor}}" },
		"url: holds a user name":                 func(c *Config) { c.URL = "http://u:p@h/{{.Cursor}}" },
		"url: is no template":                    func(c *Config) { c.URL = "http://h/{{.Curser}}" },
		"headers.X: is no template":              func(c *Config) { c.Headers = headers("X", "{{") },
		"cursor: is kept, and neither":           func(c *Config) { c.URL = "http://h/" },
		"cursor: want column or jq":              func(c *Config) { c.Cursor.JQ = ".x" },
		"cursor.jq: is no jq":                    func(c *Config) { c.Cursor = Cursor{JQ: ".["} },
		"cursor.column: there is no column":      func(c *Config) { c.Cursor.Column = "x" },
		"key: there is no column \"x\"":          func(c *Config) { c.Key = "id,x" },
		"key: column \"v\" is float64":           func(c *Config) { c.Key = "v" },
		"key: is missing, and there is no":       func(c *Config) { c.Key, c.Cursor = "", Cursor{} },
		"key: column \"id\" is optional":         func(c *Config) { c.Columns[0].Optional = true },
		"time: column \"id\" is int64":           func(c *Config) { c.Time = "id" },
		"method: is \"PUT\"":                     func(c *Config) { c.Method = "PUT" },
		"body: is there, and method is GET":      func(c *Config) { c.Body = "x" },
		"auth: want one of":                      func(c *Config) { c.Auth = Auth{Basic: &Basic{User: "u"}, Bearer: "t"} },
		"auth.basic.user: is missing":            func(c *Config) { c.Auth.Basic = &Basic{} },
		"auth.login.url: want an http://":        func(c *Config) { c.Auth.Login = &Login{Body: "x"} },
		"auth.login: want either body":           func(c *Config) { c.Auth.Login = &Login{URL: "http://h"} },
		"headers: Authorization is set by":       func(c *Config) { c.Auth.Bearer, c.Headers = "t", headers("authorization", "x") },
		"format: is \"xml\"":                     func(c *Config) { c.Format = "xml" },
		"delimiter: is for format csv":           func(c *Config) { c.Delimiter = ";" },
		"delimiter: is \"ab\"":                   func(c *Config) { c.Delimiter, c.Format = "ab", "csv" },
		"rows: is no jq":                         func(c *Config) { c.Rows = ".[" },
		"rows: is for format json":               func(c *Config) { c.Rows, c.Format = ".[]", "csv" },
		"extra: is \"all\"":                      func(c *Config) { c.Extra = "all" },
		"columns: there is none":                 func(c *Config) { c.Columns = nil },
		"columns[1].name: \"id\" is there twice": func(c *Config) { c.Columns[1].Name = "id" },
		"columns[1].name: \"key\" is the column": func(c *Config) { c.Columns[1].Name, c.Key = "key", "id,id" },
		"columns[1].type: is \"int\"":            func(c *Config) { c.Columns[1].Type = "int" },
		"columns[1].from: is no jq":              func(c *Config) { c.Columns[1].From = ".a b" },
		"columns[1].format: is for type time":    func(c *Config) { c.Columns[1].Format = "unix" },
		"columns[1].format: is \"iso\"":          func(c *Config) { c.Columns[1].Type, c.Columns[1].Format = "time", "iso" },
		"page: want one of":                      func(c *Config) { c.Page = Paging{Next: "link", JQ: ".x"} },
		"page.next: is \"x\"":                    func(c *Config) { c.Page.Next = "x" },
		"page.number: is counted":                func(c *Config) { c.Page.Number = &one },
		"page.size: is -1":                       func(c *Config) { c.Page.Size = -1 },
		"page.jq: is for format json":            func(c *Config) { c.Page.JQ, c.Format = ".x", "jsonl" },
		"every: is -1s":                          func(c *Config) { c.Every = -time.Second },
		"max_bytes: is -1":                       func(c *Config) { c.MaxBytes = -1 },
		"max_bytes_per_second: is -2":            func(c *Config) { c.MaxBytesPerSecond = -2 },
	} {
		c := idConfig("http://h")
		if faults := c.Validate(); len(faults) > 0 {
			t.Fatalf("without a mistake: %v", faults)
		}
		change(&c)
		faults := c.Validate()
		if !slices.ContainsFunc(faults, func(err error) bool { return strings.HasPrefix(err.Error(), want) }) {
			t.Errorf("want %q, got %v", want, faults)
		}
		if _, err := Open(c, Options{}); err == nil {
			t.Errorf("%s: it opens", want)
		}
	}
}

func TestStart(t *testing.T) {
	s := open(t, idConfig("http://h"))
	same(t, "from the beginning", string(s.Start(0)), `{"v":1}`)
	same(t, "behind 7", string(s.Start(7)), `{"v":1,"cursor":"7"}`)
	c := idConfig("http://h")
	c.Cursor = Cursor{Column: "v"}
	same(t, "a key that is no cursor", string(open(t, c).Start(7)), `{"v":1}`)
}
