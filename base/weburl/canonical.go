package weburl

import "strings"

// Rules say which differences between URLs make no other page: two URLs with one canonical form are fetched
// once. A rule that is off leaves its part as it is.
type Rules struct {
	// Lowercase makes path and query lower case. The host is lower case anyway.
	Lowercase bool
	// Userinfo takes user and password away.
	Userinfo bool
	// WWW takes www., www1. and the like from the host, unless the path is / and there is no query: a home page
	// is rather fetched twice than a site not at all that is there under one of its names only.
	WWW bool
	// Sessions takes away session ids: in the query jsessionid, PHPSESSID and sid of 32 letters and digits,
	// ASPSESSIONIDxxxxxxxx of 24 letters, CFID with CFTOKEN; in the path ;jsessionid, and before an .aspx the
	// segments of ASP.NET's.
	Sessions bool
	// Query takes away a ? with nothing behind it and the & at both ends of a query.
	Query bool
	// DefaultDocuments takes index.html, default.aspx and the like from the end of a path.
	DefaultDocuments bool
}

// Heritrix are the rules that Heritrix 3 has where nothing is configured (its RulesCanonicalizationPolicy): all
// but default documents. Where it would find an id in the middle of another parameter's name, or take away one
// of several, these are stricter: a parameter is taken whole, and every one, so that canonical forms are their
// own canonical forms.
var Heritrix = Rules{Lowercase: true, Userinfo: true, WWW: true, Sessions: true, Query: true}

// Canonical returns the form of u under these rules. The canonical form of a canonical form is itself.
func (r Rules) Canonical(u URL) URL {
	if u.href == "" {
		return u
	}
	user, host, path, query := u.href[len(u.Scheme())+3:u.host], u.Host(), u.Path(), u.href[u.query:]
	if r.Userinfo {
		user = ""
	}
	if r.Lowercase {
		path, query = strings.ToLower(path), strings.ToLower(query)
	}
	if r.Sessions {
		path, query = pathWithoutSessions(path), queryWithoutSessions(query)
	}
	if r.Query && query != "" {
		if query = strings.Trim(query[1:], "&"); query != "" {
			query = "?" + query
		}
	}
	if r.DefaultDocuments {
		path = withoutDocument(path)
	}
	if r.WWW && (len(path) > 1 || len(query) > 1) {
		for bare := withoutWWW(host); bare != host && strings.Contains(bare, "."); bare = withoutWWW(host) {
			host = bare
		}
	}
	if len(user)+len(host)+len(path)+len(query) == len(u.href)-len(u.Scheme())-3-int(u.path-u.hostEnd) &&
		path == u.Path() && query == u.href[u.query:] {
		return u
	}
	return locate(u.Scheme() + "://" + user + host + u.href[u.hostEnd:u.path] + path + query)
}

// withoutWWW takes one www label, numbered or not, from the front of a host; what is left is never nothing.
func withoutWWW(host string) string {
	rest, ok := strings.CutPrefix(host, "www")
	if !ok {
		return host
	}
	if rest = strings.TrimLeft(rest, "0123456789"); len(rest) < 2 || rest[0] != '.' {
		return host
	}
	return rest[1:]
}

// pathWithoutSessions takes ;jsessionid=... from a path, and the segments that ASP.NET writes ids into.
func pathWithoutSessions(path string) string {
	if !strings.ContainsAny(path, ";(") {
		return path
	}
	const jsession = ";jsessionid="
	for at := 0; at+len(jsession)+32 <= len(path); at++ {
		end := at + len(jsession) + 32
		if path[at] == ';' && strings.EqualFold(path[at:at+len(jsession)], jsession) &&
			alphanumeric(path[at+len(jsession):end]) && (end == len(path) || path[end] == '/' || path[end] == ';') {
			path = path[:at] + path[end:]
			at-- // another may follow
		}
	}
	path = withoutDots(path)
	if strings.IndexByte(path, '(') < 0 || !strings.Contains(strings.ToLower(path), ".aspx") {
		return path
	}
	segments := strings.Split(path, "/")
	kept := segments[:1]
	for i, s := range segments[1:] {
		if i+2 == len(segments) || !aspSession(s) {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
}

// withoutDots goes up where an id that was taken away stood behind dots.
func withoutDots(path string) string {
	if !mayBeDots(path) {
		return path
	}
	u, err := Limit(1 << 30).Parse("http://x" + path)
	if err != nil {
		return path
	}
	return u.Path()
}

// aspSession reports whether a segment is (24 letters and digits), or (S(24 letters and digits)).
func aspSession(s string) bool {
	inner, ok := strings.CutPrefix(s, "(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return false
	}
	inner = inner[:len(inner)-1]
	if len(inner) == 24 {
		return alphanumeric(inner)
	}
	for inner != "" {
		if len(inner) < 27 || !alphanumeric(inner[:1]) || inner[1] != '(' || !alphanumeric(inner[2:26]) || inner[26] != ')' {
			return false
		}
		inner = inner[27:]
	}
	return s != "()"
}

// queryWithoutSessions takes the parameters from a query, with its question mark, that are session ids.
func queryWithoutSessions(query string) string {
	if !strings.Contains(query, "=") {
		return query
	}
	var cfid, cftoken, found bool
	for p := range strings.SplitSeq(query[1:], "&") {
		name, value, _ := strings.Cut(p, "=")
		cfid = cfid || value != "" && strings.EqualFold(name, "cfid")
		cftoken = cftoken || value != "" && strings.EqualFold(name, "cftoken")
		found = found || isSession(name, value)
	}
	if !found && !(cfid && cftoken) {
		return query
	}
	kept := make([]string, 0, 8)
	for p := range strings.SplitSeq(query[1:], "&") {
		name, value, _ := strings.Cut(p, "=")
		fusion := cfid && cftoken && value != "" && (strings.EqualFold(name, "cfid") || strings.EqualFold(name, "cftoken"))
		if !fusion && !isSession(name, value) {
			kept = append(kept, p)
		}
	}
	return "?" + strings.Join(kept, "&")
}

// isSession reports whether a parameter is a session id of a known kind.
func isSession(name, value string) bool {
	switch len(value) {
	case 32:
		return (strings.EqualFold(name, "jsessionid") || strings.EqualFold(name, "phpsessid") ||
			strings.EqualFold(name, "sid")) && alphanumeric(value)
	case 24:
		const asp = "aspsessionid"
		return len(name) == len(asp)+8 && strings.EqualFold(name[:len(asp)], asp) && letters(name) && letters(value)
	}
	return false
}

func letters(s string) bool {
	for i := range len(s) {
		if b := s[i] | 0x20; b < 'a' || b > 'z' {
			return false
		}
	}
	return true
}

func alphanumeric(s string) bool {
	for i := range len(s) {
		if b := s[i] | 0x20; (b < 'a' || b > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// withoutDocument takes the name of a default document from the end of a path.
func withoutDocument(path string) string {
	i := strings.LastIndexByte(path, '/') + 1
	stem, suffix, _ := strings.Cut(strings.ToLower(path[i:]), ".")
	if stem != "index" && stem != "default" && stem != "home" {
		return path
	}
	switch suffix {
	case "html", "htm", "shtml", "xhtml", "php", "asp", "aspx", "jsp", "cgi", "cfm":
		return path[:i]
	}
	return path
}
