package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/pratique-dev/pratique/internal/display"
	"golang.org/x/term"
)

// progress tells somebody who waits how far something is: one line that is rewritten on a terminal, a line now
// and then elsewhere, nothing when quiet. It may be used by several goroutines.
type progress struct {
	out      io.Writer
	terminal bool
	fd       int
	quiet    bool
	now      func() time.Time

	mu     sync.Mutex
	what   string
	shown  time.Time
	onLine bool
}

// lineEvery is the time between two lines where lines cannot be rewritten, redrawEvery where they can.
const (
	lineEvery   = 5 * time.Second
	redrawEvery = 100 * time.Millisecond
)

func newProgress(out io.Writer, quiet bool) *progress {
	p := &progress{out: display.Raw(out), quiet: quiet, now: time.Now}
	if file, ok := p.out.(*os.File); ok {
		p.fd = int(file.Fd())
		p.terminal = term.IsTerminal(p.fd)
	}
	return p
}

// step says what is done now.
func (p *progress) step(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = display.Line(what)
	p.show("")
}

// bytes says how much of it is done; it is shown now and then.
func (p *progress) bytes(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := lineEvery
	if p.terminal {
		every = redrawEvery
	}
	if p.now().Sub(p.shown) < every && done < total {
		return
	}
	if !p.terminal && done == total {
		return // the next step says so
	}
	p.show(fmt.Sprintf("  %s of %s", bytesText(done), bytesText(total)))
}

func (p *progress) show(detail string) {
	p.shown = p.now()
	switch {
	case p.quiet:
	case p.terminal:
		// A line that is wrapped cannot be taken back.
		line := []rune(p.what + detail)
		if width, _, err := term.GetSize(p.fd); err == nil && width > 0 && len(line) >= width {
			line = line[:width-1]
		}
		fmt.Fprintf(p.out, "\r\033[K%s", string(line))
		p.onLine = true
	default:
		fmt.Fprintf(p.out, "%s%s\n", p.what, detail)
	}
}

// done takes the line away.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onLine {
		fmt.Fprint(p.out, "\r\033[K")
	}
	p.onLine = false
}

// bytesText is a number of bytes in the unit that people think in.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
}
