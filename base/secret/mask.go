package secret

import (
	"regexp"
	"strings"
)

// userinfo is the part of a URL that says who asks: up to the last @ in front of its path.
var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://([^\s/?#"'<>\\]*)@`)

// namesUser are schemes whose user name is no secret, and has to be seen.
var namesUser = map[string]bool{"sftp": true, "ssh": true, "scp": true}

// Mask returns text with what its URLs have in front of their host hidden: passwords, and tokens that stand there alone. It
// is for texts that tell of a configuration (errors, logs, status), not for rows.
func Mask(text string) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text
	}
	return userinfo.ReplaceAllStringFunc(text, func(m string) string {
		part := userinfo.FindStringSubmatch(m)
		user, _, password := strings.Cut(part[2], ":")
		switch {
		case part[2] == "" || part[2] == example || variables.MatchString(part[2]): // the names of variables are no secret
			return m
		case namesUser[strings.ToLower(part[1])] && password:
			return part[1] + "://" + user + ":" + hidden + "@"
		case namesUser[strings.ToLower(part[1])]:
			return m
		}
		return part[1] + "://" + hidden + "@"
	})
}

// example stands in messages that show what a URL looks like.
const example = "user:password"

// variables is userinfo that holds nothing but names of variables.
var variables = regexp.MustCompile(`^(\$\{[^}]*\})(:\$\{[^}]*\})?$`)
