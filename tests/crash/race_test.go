//go:build race

package crash

// slow says that everything takes some twenty times as long.
const slow = true
