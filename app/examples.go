package app

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed examples/*.yaml
var exampleFiles embed.FS

// Examples are whole configurations, one of each kind of job and connector, by the path of the kind: collect.source.http.
// "holdfast" shows the keys at the top.
func Examples() map[string]string {
	out := map[string]string{}
	files, err := fs.Glob(exampleFiles, "examples/*.yaml")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, file := range files {
		b, err := exampleFiles.ReadFile(file)
		if err != nil {
			panic(err) // it is a part of the program
		}
		out[strings.TrimSuffix(strings.TrimPrefix(file, "examples/"), ".yaml")] = string(b)
	}
	return out
}
