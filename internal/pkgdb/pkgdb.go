// Package pkgdb refuses package databases that a package manager reads otherwise than both engines do. The engines are
// compared with each other, so what they misread alike shows nowhere else.
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
	// maxLine is how much of a line is looked at: all that counts is at its beginning.
	maxLine = 4 << 10
	// maxShown bounds what is shown of a name: it comes from the image.
	maxShown = 120
)

const (
	dpkgStatus = "var/lib/dpkg/status"
	statusDir  = "var/lib/dpkg/status.d/"
	updatesDir = "var/lib/dpkg/updates/"
	rpmDB      = "rpmdb.sqlite"
)

// rpmDirs are where rpm may have its database.
func rpmDirs() []string { return []string{"var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"} }

// rpmLogs are the ends of the names of the files in which SQLite has what is not in the database yet, or not any more.
func rpmLogs() []string { return []string{"-wal", "-journal"} }

// dirs are the directories of which every file may count.
func dirs() []string {
	return []string{"var/lib/dpkg/", statusDir, updatesDir, "lib/apk/db/", "usr/lib/apk/db/"}
}

// checkOf is what a file in one of dirs has to pass by its path; nil if it is no package database.
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

// Check reads a file of a package manager by the path that it has in an image. It is an error of kind Corrupt, which names
// file, line and package, if the package manager reads it otherwise than the engines. Other files pass. Of a line it
// keeps little, and of a file no more than a stanza.
func Check(name string, r io.Reader) error {
	if check := checkOf(name); check != nil {
		return check(pratique.Excerpt(name, maxShown), r)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, op, format, args...)
}

// checkUpdate is of a file of dpkg's journal, which dpkg reads after its status.
func checkUpdate(name string, r io.Reader) error {
	return checkEmpty(name, r, "dpkg takes from there what is not in its status yet: run dpkg --configure -a")
}

// checkLog is of SQLite's logs, out of which it brings a database up to date when rpm opens it.
func checkLog(name string, r io.Reader) error {
	return checkEmpty(name, r, "rpm takes from there what is not in its database: run rpmdb --rebuilddb, or let rpm end before the layer is made")
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

// checkLines hands out the lines of a file with their numbers, from 1 on, without their ends. Of a line that is too long it
// hands out maxLine bytes.
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
