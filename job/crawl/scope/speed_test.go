package scope

import (
	"fmt"
	"testing"
)

// BenchmarkDecide is of the default scope with a thousand seeds.
func BenchmarkDecide(b *testing.B) {
	var seeds []string
	for i := range 1000 {
		seeds = append(seeds, fmt.Sprintf("http://www.site%d.example.com/", i))
	}
	s := build(b, Default(), seeds...)
	for _, c := range []struct {
		name, url, hops string
	}{
		{"accepted", "http://www.site500.example.com/some/path/page.html?id=12345", "LLLL"},
		{"rejected", "http://www.elsewhere.example.com/some/path/page.html?id=12345", "LLLL"},
		{"embed", "http://www.elsewhere.example.com/some/path/image.png", "LLLLE"},
	} {
		candidate := Candidate{URL: parse(b, c.url), Hops: c.hops}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(candidate)
			}
		})
	}
}

func BenchmarkSheets(b *testing.B) {
	var sheets []Sheet[settings]
	for i := range 1000 {
		sheets = append(sheets, Sheet[settings]{For: []string{fmt.Sprintf("site%d.example.com", i)}, Set: settings{Max: i}})
	}
	s, err := NewSheets(settings{}, sheets, over)
	if err != nil {
		b.Fatal(err)
	}
	u := parse(b, "http://www.site500.example.com/some/path/page.html?id=12345")
	b.ReportAllocs()
	for b.Loop() {
		s.For(u)
	}
}

func BenchmarkPatternOf(b *testing.B) {
	u := parse(b, "http://www.example.com/calendar/2024/05/06/page.html?view=month")
	b.ReportAllocs()
	for b.Loop() {
		PatternOf(u)
	}
}

func BenchmarkWith(b *testing.B) {
	var seeds []string
	for i := range 100_000 {
		seeds = append(seeds, fmt.Sprintf("http://www.site%d.example.com/", i))
	}
	s := build(b, Default(), seeds...)
	for i := 0; b.Loop(); i++ {
		next, err := s.With(fmt.Sprintf("http://new%d.example.com/", i))
		if err != nil {
			b.Fatal(err)
		}
		s = next
	}
}
