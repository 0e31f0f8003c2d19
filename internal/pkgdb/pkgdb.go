// Package pkgdb refuses package databases that a package manager reads differently from both
// engines. The engines are compared with each other, so an error that both make would go unnoticed.
package pkgdb

import (
	"bufio"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	op = "read package database"
	// maxLine is the part of a line that is read: everything relevant is at its beginning.
	maxLine = 4 << 10
	// maxShown bounds a name in a message: it comes from the image.
	maxShown = 120
)

const (
	dpkgStatus = "var/lib/dpkg/status"
	statusDir  = "var/lib/dpkg/status.d/"
	updatesDir = "var/lib/dpkg/updates/"
	rpmDB      = "rpmdb.sqlite"
)

// rpmDirs are the directories in which rpm may have its database.
func rpmDirs() []string { return []string{"var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"} }

// rpmLogs are the suffixes of SQLite's files with changes that are not in the database yet.
func rpmLogs() []string { return []string{"-wal", "-journal"} }

// dirs are the directories of which every file may matter.
func dirs() []string {
	return []string{"var/lib/dpkg/", statusDir, updatesDir, "lib/apk/db/", "usr/lib/apk/db/"}
}

// checkOf returns the check for a file in one of dirs; nil if it is not a package database.
func checkOf(name string) func(string, io.Reader) error {
	switch dir, file := path.Split(name); dir {
	case "var/lib/dpkg/":
		if name == dpkgStatus {
			return checkDpkg
		}
	case statusDir:
		if path.Ext(file) != ".md5sums" {
			return checkDpkg
		}
	case updatesDir:
		if strings.Trim(file, "0123456789") == "" {
			return checkUpdate
		}
	case "lib/apk/db/", "usr/lib/apk/db/":
		if file == "installed" {
			return checkApk
		}
	case "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/":
		if end, ok := strings.CutPrefix(file, rpmDB); ok && slices.Contains(rpmLogs(), end) {
			return checkLog
		}
	}
	return nil
}

// Check reads a package manager's file, given its path in an image. If the package manager reads it
// differently from the engines, the error is Corrupt and names file, line and package. Other files
// pass. It keeps at most a stanza in memory.
func Check(name string, r io.Reader) error {
	if check := checkOf(name); check != nil {
		return check(pratique.Excerpt(name, maxShown), r)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, op, format, args...)
}

// checkUpdate checks a file of dpkg's journal, which dpkg reads after its status.
func checkUpdate(name string, r io.Reader) error {
	return checkEmpty(name, r,
		"dpkg has changes there that are not in its status yet: run dpkg --configure -a")
}

// checkLog checks SQLite's logs, which SQLite applies when rpm opens the database.
func checkLog(name string, r io.Reader) error {
	return checkEmpty(name, r,
		"rpm has changes there that are not in its database yet: run rpmdb --rebuilddb, or let rpm end before the layer is made")
}

func checkEmpty(name string, r io.Reader, why string) error {
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return corrupt("%s: %s", name, why)
}

// checkLines calls check with each line and its number, beginning with 1, without the line end. Of
// a longer line it passes maxLine bytes.
func checkLines(r io.Reader, check func(n int, line string) error) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		head, err := lines.ReadSlice('\n')
		line := strings.TrimSuffix(string(head), "\n")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		if !ended || line != "" {
			if err := check(n, line); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}
