package match

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

// maxTexts is how many texts one expression may have; (a|b|c) has three.
const maxTexts = 64

// required returns texts of which at least one is in every line that the expression matches; none if there are no such texts.
func required(re *regexp.Regexp) []literal {
	if re == nil {
		return nil
	}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return nil
	}
	tree = tree.Simplify()
	texts := of(tree)
	// Texts with which all matches begin say where to try, too: they are preferred, unless they are short and the others longer.
	if first := beginOf(tree); weight(first) > 1 && weight(first) >= min(weight(texts), enough) {
		texts = first
		for i := range texts {
			texts[i].begin = true
		}
	}
	if weight(texts) < 2 {
		return nil
	}
	if tree.Op == syntax.OpLiteral && len(texts) == 1 && !texts[0].fold {
		texts[0].whole = texts[0].text == string(tree.Rune)
	}
	return texts
}

// enough is how long a text is that is hardly in a line by chance.
const enough = 12

// beginOf returns texts with one of which every match of a part of an expression begins; none if there are no such texts.
func beginOf(re *syntax.Regexp) []literal {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return text(re)
		}
	case syntax.OpCapture, syntax.OpPlus:
		return beginOf(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if sub.Op != syntax.OpBeginText {
				return beginOf(sub)
			}
		}
	case syntax.OpAlternate:
		var all []literal
		for _, sub := range re.Sub {
			texts := beginOf(sub)
			if all = append(all, texts...); len(texts) == 0 || len(all) > maxTexts {
				return nil
			}
		}
		return all
	}
	return nil
}

// of returns texts of which at least one is in every match of a part of an expression.
func of(re *syntax.Regexp) []literal {
	switch re.Op {
	case syntax.OpLiteral:
		return text(re)
	case syntax.OpCapture, syntax.OpPlus:
		return of(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return of(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []literal
		for _, sub := range re.Sub {
			if texts := of(sub); weight(texts) > weight(best) {
				best = texts
			}
		}
		return best
	case syntax.OpAlternate:
		var all []literal
		for _, sub := range re.Sub {
			texts := of(sub)
			if all = append(all, texts...); len(texts) == 0 || len(all) > maxTexts {
				return nil
			}
		}
		return all
	}
	return nil
}

// text returns the text of a literal. Where upper and lower case are the same it is the longest piece of letters that are one
// byte in both: k is also the Kelvin sign, and s the long s.
func text(re *syntax.Regexp) []literal {
	for _, r := range re.Rune {
		if r == unicode.ReplacementChar {
			return nil // which stands for any byte that is no UTF-8
		}
	}
	if re.Flags&syntax.FoldCase == 0 {
		return []literal{{text: string(re.Rune)}}
	}
	pieces := strings.FieldsFunc(strings.ToLower(string(re.Rune)), func(r rune) bool {
		return r >= unicode.MaxASCII || r == 'k' || r == 's'
	})
	longest := ""
	for _, p := range pieces {
		if len(p) > len(longest) {
			longest = p
		}
	}
	return []literal{{text: longest, fold: true}}
}

// weight says how much texts rule out: the length of the shortest.
func weight(texts []literal) int {
	if len(texts) == 0 {
		return 0
	}
	least := len(texts[0].text)
	for _, t := range texts {
		least = min(least, len(t.text))
	}
	return least
}
