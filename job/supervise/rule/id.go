package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// escape writes a byte that ends a part as %XX, and % too.
func escape(s string, end byte) string {
	if strings.IndexByte(s, end) < 0 && strings.IndexByte(s, '%') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), string(rune(end)), fmt.Sprintf("%%%02X", end))
}

// maxKey is the most bytes of a key.
const maxKey = 256

// shorten returns a key of at most maxKey bytes; different keys stay different.
func shorten(s string) string {
	if len(s) <= maxKey {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:maxKey-33] + "#" + hex.EncodeToString(sum[:16])
}

// CallID returns the name of an action: unique to its rule, key, event, rung and place.
func CallID(rule, key, event string, rung, place int) string {
	return GroupID(rule, key, event, rung) + "/" + itoa(place)
}

// GroupID returns the name that all actions of one decision share.
func GroupID(rule, key, event string, rung int) string {
	return strings.Join([]string{rule, escape(key, '/'), escape(event, '/'), itoa(rung)}, "/")
}
