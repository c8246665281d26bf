package extract

import (
	"net/http"
	"strings"
)

// headers gives the links of an answer's headers.
func (f *finder) headers(h http.Header) error {
	for _, name := range [...]string{"Location", "Content-Location", "Refresh", "Link"} {
		for _, v := range h.Values(name) {
			if len(v) > 16*maxAddress {
				continue
			}
			var err error
			switch name {
			case "Refresh":
				err = f.link(refreshTarget(v), Redirect, "Refresh:")
			case "Link":
				err = f.linkHeader(v)
			default:
				err = f.link(v, Redirect, name+":")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// linkHeader gives the links of a Link header (RFC 8288, 3): <address>; rel="words"; and a comma before the next.
func (f *finder) linkHeader(v string) error {
	for {
		start := strings.IndexByte(v, '<')
		if start < 0 {
			return nil
		}
		end := strings.IndexByte(v[start:], '>')
		if end < 0 {
			return nil
		}
		ref := v[start+1 : start+end]
		rel := ""
		rel, v = linkParams(v[start+end+1:])
		hop, skip := relHop(rel)
		if skip && hop == Navigation {
			continue
		}
		if err := f.link(ref, hop, "Link:"); err != nil {
			return err
		}
	}
}

// linkParams returns the relation of a link, and what stands behind its parameters.
func linkParams(v string) (rel, rest string) {
	for v != "" {
		v = strings.TrimLeft(v, " \t;")
		if v == "" || v[0] == ',' {
			return rel, v
		}
		end := strings.IndexAny(v, `=;,`)
		if end < 0 {
			return rel, ""
		}
		name := strings.TrimSpace(v[:end])
		if v[end] != '=' {
			v = v[end:]
			continue
		}
		var value string
		value, v = paramValue(strings.TrimLeft(v[end+1:], " \t"))
		if rel == "" && strings.EqualFold(name, "rel") { // the first one counts
			rel = value
		}
	}
	return rel, ""
}

// paramValue reads a token or a quoted string.
func paramValue(v string) (value, rest string) {
	if !strings.HasPrefix(v, `"`) {
		end := strings.IndexAny(v, ";,")
		if end < 0 {
			end = len(v)
		}
		return strings.TrimSpace(v[:end]), v[end:]
	}
	var b []byte
	for i := 1; i < len(v); i++ {
		switch {
		case v[i] == '"':
			return string(b), v[i+1:]
		case v[i] == '\\' && i+1 < len(v):
			i++
			fallthrough
		default:
			b = append(b, v[i])
		}
	}
	return string(b), ""
}
