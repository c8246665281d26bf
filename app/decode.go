package app

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
	"holdfast/base/strictyaml"
)

// Mistake is one fault of a configuration, with its place.
type Mistake = strictyaml.Mistake

// Mistakes are all faults of a configuration, in the order of their lines.
type Mistakes = strictyaml.Mistakes

type entry = strictyaml.Entry

// decoder decodes a configuration: it knows times, sizes and secrets, and puts environment variables in.
type decoder struct {
	*strictyaml.Decoder
	env    func(string) (string, bool)
	hidden map[ast.Node]bool // literal secrets, which no copy of the text may hold
}

func newDecoder(file string, env func(string) (string, bool)) *decoder {
	d := &decoder{Decoder: &strictyaml.Decoder{File: file}, env: env, hidden: map[ast.Node]bool{}}
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

// custom is decoded by itself, not by its fields.
type custom interface {
	decode(d *decoder, n ast.Node, path string)
}

// scalar puts one word or number into v.
func (d *decoder) scalar(n ast.Node, raw string, v reflect.Value, path string) {
	s, ok := d.Expand(n, raw, path, d.env)
	if !ok {
		return
	}
	var err error
	switch v.Interface().(type) {
	case secret.Text:
		if !strings.Contains(raw, "${") {
			d.hidden[n] = true
		}
		v.SetString(s)
	case time.Duration:
		var t time.Duration
		t, err = strictyaml.Duration(s)
		v.SetInt(int64(t))
	case Bytes:
		var b Bytes
		b, err = parseBytes(s)
		v.SetInt(int64(b))
	default:
		err = strictyaml.SetPlain(v, s)
	}
	if err != nil && s != raw { // what came out of the environment is not repeated in a message: it may be a secret
		err = fmt.Errorf("%s, got what %s holds", strings.SplitN(err.Error(), ", got ", 2)[0], raw)
	}
	if err != nil {
		d.Bad(n, path, "%v", err)
	}
}
