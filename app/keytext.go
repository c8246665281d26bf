package app

import (
	_ "embed"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// What the schema says of each key is the comment of its field, and of each kind the comment of its type: written beside
// the code that reads it, and taken from there by a test.
//
//go:generate env HOLDFAST_UPDATE=1 go test -run TestKeyTexts .
//go:embed keytext.json
var keyTextFile []byte

var keyTexts = sync.OnceValue(func() (texts map[string]string) {
	if err := json.Unmarshal(keyTextFile, &texts); err != nil {
		panic(err) // it is a part of the program
	}
	return texts
})

// keyText is what a field of a configuration means, or with no field what the type is.
var keyText = func(t reflect.Type, field string) string { return keyTexts()[keyTextName(t, field)] }

func keyTextName(t reflect.Type, field string) string {
	name, _, _ := strings.Cut(t.Name(), "[") // what a type is of does not matter
	name = t.PkgPath() + "." + name
	if field != "" {
		name += "." + field
	}
	return name
}
