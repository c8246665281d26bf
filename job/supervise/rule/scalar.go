package rule

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
)

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// scalar puts one word or number into v. Secrets alone may come out of the environment: a $ has a meaning of its own in
// regular expressions.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	s, ok := scalarText(n)
	if !ok {
		d.bad(n, path, "want a single value, got %s", describe(n))
		return
	}
	if _, is := v.Interface().(secret.Text); is {
		v.SetString(variable.ReplaceAllStringFunc(s, func(m string) string {
			value, set := d.env(m[2 : len(m)-1])
			if !set {
				d.bad(n, path, "the environment variable %s is not set", m[2:len(m)-1])
			}
			return value
		}))
		return
	}
	if err := setScalar(v, s); err != nil {
		d.bad(n, path, "%v", err)
	}
}

func setScalar(v reflect.Value, s string) error {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		t, err := parseTime(s)
		v.SetInt(int64(t))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("want true or false, got %.60q", s)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil {
			return fmt.Errorf("want a whole number, got %.60q", s)
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || v.OverflowUint(u) {
			return fmt.Errorf("want a whole number from 0, got %.60q", s)
		}
		v.SetUint(u)
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("want a number, got %.60q", s)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a %s can't be written in a rule file", v.Type())
	}
	return nil
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
