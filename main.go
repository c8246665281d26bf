// Holdfast collects, keeps and delivers data through any outage. See README.md.
package main

import (
	"os"
	"runtime/debug"

	"holdfast/face/cli"
)

// memory is what the garbage collector aims to stay under, whatever the backlog: with what lies
// outside of its heap the process stays below 256 MB.
const memory = 192 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	os.Exit(cli.Main(os.Args[1:]))
}
