package rule

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
	"holdfast/base/strictyaml"
)

// Mistake is one thing that is wrong in a rule file.
type Mistake = strictyaml.Mistake

// Mistakes are all that is wrong in a file, in its order.
type Mistakes = strictyaml.Mistakes

// decoder decodes a rule file: it knows times, secrets and the kinds of sources.
type decoder struct {
	*strictyaml.Decoder
	env   func(string) (string, bool)
	kinds Kinds
}

// custom is decoded by itself, not by its fields.
type custom interface {
	decode(d *decoder, n ast.Node, path string)
}

func newDecoder(file string, kinds Kinds, env func(string) (string, bool)) *decoder {
	d := &decoder{Decoder: &strictyaml.Decoder{File: file, Single: true}, env: env, kinds: kinds}
	d.Custom = func(v any, n ast.Node, path string) bool {
		c, ok := v.(custom)
		if ok {
			c.decode(d, n, path)
		}
		return ok
	}
	d.Scalar = d.scalar
	return d
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// scalar puts one word or number into v. Secrets alone may come out of the environment: a $ has a meaning of its own in
// regular expressions.
func (d *decoder) scalar(n ast.Node, s string, v reflect.Value, path string) {
	var err error
	switch v.Interface().(type) {
	case secret.Text:
		v.SetString(variable.ReplaceAllStringFunc(s, func(m string) string {
			value, set := d.env(m[2 : len(m)-1])
			if !set {
				d.Bad(n, path, "the environment variable %s is not set", m[2:len(m)-1])
			}
			return value
		}))
	case time.Duration:
		var t time.Duration
		t, err = parseTime(s)
		v.SetInt(int64(t))
	default:
		err = strictyaml.SetPlain(v, s)
	}
	if err != nil {
		d.Bad(n, path, "%v", err)
	}
}

// maxTime is the longest time that a rule may speak of: sums of two can't overflow.
const maxTime = 10 * 365 * 24 * time.Hour

// parseTime reads a time as Go writes it, with days (7d) besides.
func parseTime(s string) (time.Duration, error) {
	bad := fmt.Errorf("want a time such as 30s, 5m, 1h30m or 7d, got %.60q", s)
	total, rest := time.Duration(0), strings.TrimSpace(s)
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 12)
		if err != nil {
			return 0, bad
		}
		total = time.Duration(n) * 24 * time.Hour
		if rest = after; rest == "" {
			rest = "0"
		}
	}
	t, err := time.ParseDuration(rest)
	if err != nil || t < 0 || t > maxTime || total+t > maxTime {
		return 0, bad
	}
	return total + t, nil
}
