// Package keyfile writes key pairs and other secrets to files, which it never overwrites.
package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pratique-dev/pratique/signer/key"
)

// WritePair makes prefix.key and prefix.pub; it fails if one of them exists.
func WritePair(prefix string, passphrase []byte) error {
	for _, path := range []string{prefix + ".key", prefix + ".pub"} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already, and nothing was written: name another pair with --output, or move this one away", path)
		}
	}
	private, public, err := key.Generate(passphrase)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path    string
		content []byte
		mode    fs.FileMode
	}{{prefix + ".pub", public, 0o644}, {prefix + ".key", private, 0o600}} {
		if err := WriteNew(file.path, file.content, file.mode); err != nil {
			return err
		}
	}
	return nil
}

// WriteNew creates the file and makes it durable; it fails if it exists.
func WriteNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
