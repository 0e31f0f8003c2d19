//go:build goexperiment.jsonv2

package trivy

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
)

// Trivy continues without a file that it cannot read. That is right for some test's package.json.
// But without its package database an image would look clean, so that is an error.

// isListedDatabase reports whether a file is a package database from which Trivy makes one list
// each time it reads it.
func isListedDatabase(name string) bool {
	switch dir, file := path.Split(name); dir {
	case "var/lib/rpm/", "usr/lib/sysimage/rpm/":
		return slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, file)
	case "usr/share/rpm/":
		return file == "rpmdb.sqlite"
	case "var/lib/rpmmanifest/":
		return file == "container-manifest-2"
	case "lib/apk/db/", "usr/lib/apk/db/":
		return file == "installed"
	default:
		return strings.HasSuffix(name,
			"-bottlerocket-linux-gnu/sys-root/usr/share/bottlerocket/application-inventory.json")
	}
}

// dpkgStatus reports whether a file is a package list of dpkg. Trivy logs its errors with its name.
func dpkgStatus(name string) bool {
	return name == "var/lib/dpkg/status" || path.Dir(name) == "var/lib/dpkg/status.d" &&
		path.Ext(name) != ".md5sums"
}

func isApk(name string) bool { return isListedDatabase(name) && path.Base(name) == "installed" }

// checkDatabasesRead is an error of kind Corrupt if a package database in the layers that were
// analyzed for this image was not read to its end.
func (v *imageCache) checkDatabasesRead(ctx context.Context, logged *logErrors) error {
	damaged, other := logged.parseErrors()
	if damaged != nil {
		return damaged
	}
	parts := v.streams
	for i, l := range v.layers {
		if info, ok := v.newlyAnalyzed(l.DiffID); ok {
			n := v.tree.layers[i]
			parts = append(parts, readStream{info: info, hasApk: n.hasApk(),
				open: func() (io.ReadCloser, error) {
					return n.open(v.tree.image)
				}})
		}
	}
	for _, part := range parts {
		// Only an error makes Trivy leave one out, but it may read a part of apk's without an error.
		if other == nil && !part.hasApk {
			continue
		}
		if err := checkListed(ctx, part, other); err != nil {
			return err
		}
	}
	return nil
}

// readStream is a stream that Trivy read, and the result.
type readStream struct {
	open   func() (io.ReadCloser, error)
	info   ftypes.BlobInfo
	hasApk bool // it has a database of apk
}

// newlyAnalyzed returns the analysis of a layer that was made for this image; ok is false if it was
// cached.
func (v *imageCache) newlyAnalyzed(diffID pratique.Digest) (info ftypes.BlobInfo, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.analyzed {
		if info, ok = v.peek(key); ok && info.DiffID == diffID.String() {
			return info, true
		}
	}
	return ftypes.BlobInfo{}, false
}

// checkListed checks that Trivy has as many lists of each package database as the stream has
// entries for it.
func checkListed(ctx context.Context, part readStream, why error) error {
	f, err := part.open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	missing := map[string]int{}
	for entries := tar.NewReader(seekable(f)); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		name := strings.TrimLeft(path.Clean(h.Name), "/")
		if h.Typeflag != tar.TypeReg || !isListedDatabase(name) {
			continue
		}
		missing[name]++
		if isApk(name) && hasLongLine(entries) {
			return errUnread(name, errors.New("it has a line of more than 64 KiB, where Trivy stops"))
		}
	}
	for _, p := range part.info.PackageInfos {
		missing[p.FilePath]--
	}
	for name, n := range missing {
		if n > 0 && why != nil {
			return errUnread(name, why)
		}
	}
	return nil
}

// seekable lets the tar reader skip the content of files.
func seekable(r io.ReadCloser) io.Reader {
	if f, ok := r.(*os.File); ok {
		return f
	}
	return bufio.NewReaderSize(r, layerBuffer)
}

// hasLongLine reports whether a line is too long for a [bufio.Scanner].
func hasLongLine(r io.Reader) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		continue
	}
	return errors.Is(lines.Err(), bufio.ErrTooLong)
}

func errUnread(name string, why error) error {
	return pratique.Errorf(pratique.Corrupt, "read package database",
		"%s cannot be read to its end: %w", name, why)
}
