package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/internal/render"
)

// write writes what was found to standard output and to the files that were asked for. A file is
// written under another name first, so that nobody takes a part for the whole.
func (f *flags) write(out io.Writer, s scanned) error {
	for _, output := range f.outputs {
		format, file, _ := strings.Cut(output, "=")
		tmp, err := os.OpenFile(file+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // a report for others to read
		if err != nil {
			return err
		}
		err = errors.Join(writeFormat(tmp, format, s, render.Style{Now: time.Now()}), tmp.Close())
		if err == nil {
			err = os.Rename(tmp.Name(), file)
		}
		if err != nil {
			return errors.Join(err, os.Remove(tmp.Name()))
		}
	}
	raw := display.Raw(out)
	return writeFormat(raw, f.format, s, styleOf(raw))
}

func writeFormat(w io.Writer, format string, s scanned, style render.Style) error {
	switch format {
	case "json":
		return render.JSON(w, s.Scan)
	case "sarif":
		return render.SARIF(w, s.Scan)
	case "spdx-json", "cyclonedx-json":
		if len(s.inspections) != 1 {
			return fmt.Errorf("%s is about one image, and there are %d: choose one with --platform",
				format, len(s.inspections))
		}
		document := s.inspections[0].SPDX
		if format == "cyclonedx-json" {
			document = s.inspections[0].CycloneDX
		}
		_, err := display.JSON(w).Write(document)
		return err
	default:
		return render.Table(w, s.Scan, style)
	}
}

// styleOf fits a table to the terminal, if it is one.
func styleOf(out io.Writer) render.Style {
	style := render.Style{Now: time.Now()}
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return style
	}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil {
		style.Width = width
	}
	style.Color = os.Getenv("NO_COLOR") == ""
	return style
}

// counting shows how much of an image has come.
type counting struct {
	*registry.Client
	progress *verb.Progress
	total    *transfer
}

// transfer counts the bytes of an image's layers.
type transfer struct {
	mu          sync.Mutex
	done, total int64
}

func (c counting) Layer(ctx context.Context, repo pratique.Repository,
	d layers.Descriptor) (io.ReadCloser, error) {
	body, err := c.Client.Layer(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	c.total.mu.Lock()
	c.total.total += d.Size
	c.total.mu.Unlock()
	return &countedBody{ReadCloser: body, counting: c}, nil
}

type countedBody struct {
	io.ReadCloser
	counting
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.total.mu.Lock()
	b.total.done += int64(n)
	done, total := b.total.done, b.total.total
	b.total.mu.Unlock()
	b.progress.Bytes(done, total)
	return n, err
}
