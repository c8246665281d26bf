package fits

import (
	"math"
	"strconv"
	"strings"
)

// Float returns the value of a float or integer card.
func (c Card) Float() (float64, error) {
	if c.Kind != Float && c.Kind != Integer {
		return 0, c.wrong("a number")
	}
	v, err := float(c.Value)
	if err != nil {
		return 0, c.wrong("a float of 64 bits")
	}
	return v, nil
}

// Complex returns the value of a complex card.
func (c Card) Complex() (complex128, error) {
	if c.Kind != Complex {
		return 0, c.wrong("a complex number")
	}
	a, b, _ := strings.Cut(strings.Trim(c.Value, "()"), ",")
	re, err1 := float(strings.TrimSpace(a))
	im, err2 := float(strings.TrimSpace(b))
	if err1 != nil || err2 != nil {
		return 0, c.wrong("two floats of 64 bits")
	}
	return complex(re, im), nil
}

// float reads a number of 4.2.4, whose exponent begins with E or D.
func float(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.Replace(s, "D", "E", 1), 64)
	if err == nil && math.IsInf(v, 0) {
		err = strconv.ErrRange
	}
	return v, err
}
