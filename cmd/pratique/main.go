// Command pratique is the whole service and its tools in one binary: pratique serve runs every role,
// pratique submit and pratique why are for developers, pratique demo shows the line at work.
package main

import "github.com/pratique-dev/pratique/cmd/pratique/cli"

func main() { cli.Main() }
