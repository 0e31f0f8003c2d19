package powercut

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
)

// Serve serves a disk and ends the process, if [Mount] in another process started this one to do
// that; otherwise it returns at once.
func Serve() {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		return
	}
	signal.Ignore(os.Interrupt) // the disk ends after the process that uses it
	if err := serve(dir); err != nil {
		kind := "error"
		if errors.Is(err, errors.ErrUnsupported) {
			kind = "unsupported"
		}
		fmt.Printf("%s: %v\n", kind, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve mounts a disk at dir and obeys the standard input until it ends.
func serve(dir string) error {
	d := newDisk()
	unmount, err := mount(d, dir)
	if err != nil {
		return err
	}
	fmt.Println("ok")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		command, arguments, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "cut":
			err = d.obeyCut(arguments)
		case "restore":
			err = d.restore()
		case "unmount":
			if err := unmount(); err != nil {
				return err
			}
			fmt.Println("ok")
			return nil
		default:
			err = fmt.Errorf("there is no command %q", command)
		}
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println("ok")
	}
	return unmount()
}

func (d *disk) obeyCut(arguments string) error {
	var n int
	var a, b uint64
	if _, err := fmt.Sscan(arguments, &n, &a, &b); err != nil {
		return err
	}
	d.cutAfter(n, rand.New(rand.NewPCG(a, b)))
	return nil
}
