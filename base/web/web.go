// Package web is what clients and servers of HTTP share. For clients it says what is wrong with URLs and headers:
// connectors ask it when a configuration is checked. What it returns then is text for a person, "" if nothing is
// wrong, and never holds the value, which may be a secret. For servers it checks requests: who may ask, how much a
// request may hold, and whether there is a route for it.
package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// BadURL says what is wrong with the URL of a request over HTTP. It may hold no user name: that belongs elsewhere in a
// configuration, because addresses are shown.
func BadURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "want an http:// or https:// URL"
	case u.User != nil:
		return "holds a user name; put it into auth"
	}
	return BadPort(u)
}

// BadPort says what is wrong with the port of a URL, which may have none.
func BadPort(u *url.URL) string {
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 64); port != "" && (err != nil || n < 1 || n > 65535) {
		return "has the port " + port + ", want one from 1 to 65535"
	}
	return ""
}

// ofConnection are headers that belong to the connection: what is set for them never leaves.
var ofConnection = map[string]bool{"Host": true, "Content-Length": true, "Transfer-Encoding": true,
	"Trailer": true, "Connection": true}

// BadHeaderName says what is wrong with the name of a header.
func BadHeaderName(name string) string {
	switch {
	case !isToken(name):
		return "is no name of a header: want letters, digits and - alone"
	case ofConnection[http.CanonicalHeaderKey(name)]:
		return "is set by the connection itself, and can't be set here"
	}
	return ""
}

// BadHeaderValue says what is wrong with the value of a header.
func BadHeaderValue(value string) string {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "has a line end or another control character in its value, which no header can hold"
		}
	}
	return ""
}

// isToken is what RFC 9110 calls a token.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
