package spot

import "bytes"

// decimal is a number as it was written: mant times ten to the power of -scale.
type decimal struct {
	mant  uint64
	scale int
	neg   bool
}

// parseDecimal reads a JSON number, or the same in a string with blanks around it. It never goes
// through a binary fraction: 7.040061 is 7,040,061 millionths and nothing else. ok is false for
// what is no number or has more than 18 digits that count.
func parseDecimal(s []byte) (d decimal, ok bool) {
	s = bytes.TrimSpace(s)
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		d.neg = s[0] == '-'
		s = s[1:]
	}
	i, digits := 0, 0
	for point := false; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point && i > 0 {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if d.mant > 1e17 {
			return d, false
		}
		d.mant = d.mant*10 + uint64(c-'0')
		digits++
		if point {
			d.scale++
		}
	}
	if digits == 0 || s[i-1] == '.' {
		return d, false
	}
	if i == len(s) {
		return d, true
	}
	exp, ok := parseExponent(s[i:])
	d.scale -= exp
	return d, ok
}

// parseExponent reads e5, E-3 and the like; exponents beyond what any column could hold are refused.
func parseExponent(s []byte) (exp int, ok bool) {
	if len(s) < 2 || s[0]|0x20 != 'e' {
		return 0, false
	}
	s = s[1:]
	neg := s[0] == '-'
	if neg || s[0] == '+' {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 2 {
		return 0, false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		exp = exp*10 + int(c-'0')
	}
	if neg {
		exp = -exp
	}
	return exp, true
}

// times returns the number multiplied by ten to the power of shift, rounded half away from zero.
// exact tells whether nothing was rounded off; ok is false if it does not fit.
func (d decimal) times(shift int) (v int64, exact, ok bool) {
	m, exact := d.mant, true
	for s := shift - d.scale; s != 0 && m != 0; {
		if s > 0 {
			if m > 1e17 {
				return 0, false, false
			}
			m *= 10
			s--
			continue
		}
		if s < -1 { // only the last digit decides the rounding; the others only exactness
			exact = exact && m%10 == 0
			m /= 10
			s++
			continue
		}
		exact = exact && m%10 == 0
		m = (m + 5) / 10
		s++
	}
	v = int64(m)
	if d.neg {
		v = -v
	}
	return v, exact, true
}

// parseInt reads a whole number; digits alone are the quick way.
func parseInt(s []byte) (v int64, ok bool) {
	t, neg := s, false
	if len(t) > 0 && t[0] == '-' {
		t, neg = t[1:], true
	}
	if len(t) == 0 || len(t) > 18 {
		return parseIntSlow(s)
	}
	for _, c := range t {
		if c < '0' || c > '9' {
			return parseIntSlow(s)
		}
		v = v*10 + int64(c-'0')
	}
	if neg {
		v = -v
	}
	return v, true
}

// parseIntSlow takes 12.0 and 1.2e1 for 12 too.
func parseIntSlow(s []byte) (int64, bool) {
	d, ok := parseDecimal(s)
	if !ok {
		return 0, false
	}
	v, exact, ok := d.times(0)
	return v, ok && exact
}

// parseMHz reads megahertz as whole hertz.
func parseMHz(s []byte) (hz uint64, ok bool) {
	i, v := 0, uint64(0)
	for i < len(s) && i < 9 && s[i]-'0' < 10 {
		v = v*10 + uint64(s[i]-'0')
		i++
	}
	if i > 0 && len(s) == i+7 && s[i] == '.' {
		for _, c := range s[i+1:] {
			if c-'0' >= 10 {
				return 0, false
			}
			v = v*10 + uint64(c-'0')
		}
		return v, true
	}
	d, ok := parseDecimal(s)
	if !ok {
		return 0, false
	}
	w, _, ok := d.times(6)
	if !ok || w < 0 {
		return 0, false
	}
	return uint64(w), true
}
