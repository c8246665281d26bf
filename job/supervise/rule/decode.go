package rule

import (
	"fmt"
	"reflect"
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

// scalar puts one word or number into v. Secrets alone may come out of the environment: a $ has a meaning of its own in
// regular expressions.
func (d *decoder) scalar(n ast.Node, s string, v reflect.Value, path string) {
	var err error
	switch v.Interface().(type) {
	case secret.Text:
		text, _ := d.Expand(n, s, path, d.env)
		v.SetString(text)
	case time.Duration:
		var t time.Duration
		t, err = duration(s)
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

// duration reads a time that a rule may speak of.
func duration(s string) (time.Duration, error) {
	t, err := strictyaml.Duration(s)
	if err == nil && (t < 0 || t > maxTime) {
		err = fmt.Errorf("want a time from 0s to %dd, got %.60q", maxTime/(24*time.Hour), s)
	}
	return t, err
}
