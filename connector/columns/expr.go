package columns

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

// Expr is a jq expression. A plain path, as most are, is walked without an interpreter.
type Expr struct {
	path []string
	code *gojq.Code
}

var plainPath = regexp.MustCompile(`^\.[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// ParseExpr reads an expression.
func ParseExpr(text string) (Expr, error) {
	if plainPath.MatchString(text) {
		return Expr{path: strings.Split(text[1:], ".")}, nil
	}
	q, err := gojq.Parse(text)
	if err != nil {
		return Expr{}, fmt.Errorf("is no jq expression: %w", err)
	}
	code, err := gojq.Compile(q)
	if err != nil {
		return Expr{}, fmt.Errorf("is no jq expression: %w", err)
	}
	return Expr{code: code}, nil
}

// One returns the only value of the expression, nil if there is none.
func (e Expr) One(ctx context.Context, v any) (any, error) {
	if e.code == nil {
		return walk(v, e.path)
	}
	var got any
	n := 0
	err := e.Each(ctx, plainFields(v), func(v any) error {
		if got, n = v, n+1; n > 1 {
			return errors.New("the expression gives several values, want one")
		}
		return nil
	})
	return got, err
}

// Each calls yield for every value of the expression.
func (e Expr) Each(ctx context.Context, v any, yield func(any) error) error {
	it := e.code.RunWithContext(ctx, v)
	for {
		got, ok := it.Next()
		if !ok {
			return nil
		}
		if err, bad := got.(error); bad {
			return err
		}
		if err := yield(got); err != nil {
			return err
		}
	}
}

func walk(v any, path []string) (any, error) {
	for _, name := range path {
		if v == nil {
			return nil, nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("looks for %s in %s", name, KindOf(v))
		}
		v = m[name]
	}
	return v, nil
}

// KindOf names the type of a value for a person.
func KindOf(v any) string {
	switch v := v.(type) {
	case time.Time, Clock:
		return "a time"
	case Odd:
		return v.What
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case string:
		return "text"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// Plain reports whether the expression is a path, which gives one value.
func (e Expr) Plain() bool { return e.code == nil }
