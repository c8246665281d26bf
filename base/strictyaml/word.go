package strictyaml

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// variable is where the value of an environment variable belongs: ${NAME}.
var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// Variables returns s with each ${NAME} replaced by its value.
func Variables(s string, value func(name string) string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string { return value(m[2 : len(m)-1]) })
}

// Expand returns s, which stands at n, with each ${NAME} replaced by the value of that environment variable; ok is false, and a
// mistake kept, if env does not have one of them.
func (d *Decoder) Expand(n ast.Node, s, path string, env func(string) (string, bool)) (out string, ok bool) {
	ok = true
	out = Variables(s, func(name string) string {
		v, set := env(name)
		if !set {
			d.Bad(n, path, "the environment variable %s is not set", name)
			ok = false
		}
		return v
	})
	return out, ok
}

// Duration reads a time as Go writes it, with days (7d) and weeks (2w) besides.
func Duration(s string) (time.Duration, error) {
	bad := fmt.Errorf("want a time such as 120s, 5m, 1h30m or 7d, got %.60q", s)
	rest := strings.TrimSpace(s)
	total := 0.0
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(f) || f < 0 {
			return 0, bad
		}
		total += f * float64(u.size)
		if rest = after; rest == "" {
			rest = "0"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || total+float64(d) > math.MaxInt64 {
		return 0, bad
	}
	return time.Duration(total) + d, nil
}
