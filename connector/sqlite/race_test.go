//go:build race

package sqlite

// slower is how many times fewer rows a test with many of them writes: SQLite turned into Go is
// that much slower under the race detector.
const slower = 20
