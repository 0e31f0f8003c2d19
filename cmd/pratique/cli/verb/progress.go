package verb

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/display"
)

// Progress tells somebody who waits how far something is: one line that is rewritten on a terminal,
// a line now and then elsewhere, nothing when quiet. It may be used by several goroutines.
type Progress struct {
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

// lineEvery is the time between two lines where lines cannot be rewritten, redrawEvery where they
// can.
const (
	lineEvery   = 5 * time.Second
	redrawEvery = 100 * time.Millisecond
)

// NewProgress shows progress on out, and nothing if it is to be quiet.
func NewProgress(out io.Writer, quiet bool) *Progress {
	p := &Progress{out: display.Raw(out), quiet: quiet, now: time.Now}
	if file, ok := p.out.(*os.File); ok {
		p.fd = int(file.Fd())
		p.terminal = term.IsTerminal(p.fd)
	}
	return p
}

// Step says what is done now.
func (p *Progress) Step(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = display.Line(what)
	p.show("")
}

// Bytes says how much of it is done; it is shown now and then.
func (p *Progress) Bytes(done, total int64) {
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
	p.show(fmt.Sprintf("  %s of %s", words.Bytes(done), words.Bytes(total)))
}

func (p *Progress) show(detail string) {
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

// Done takes the line away.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onLine {
		fmt.Fprint(p.out, "\r\033[K")
	}
	p.onLine = false
}
