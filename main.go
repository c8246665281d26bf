// Holdfast collects, keeps and delivers data through any outage. See README.md.
package main

import (
	"os"

	"holdfast/face/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
