package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
)

// ownPair is the key pair that is used where none is configured.
type ownPair struct{ private, passphrase, public []byte }

// ownKey returns the key pair in dir, made on the first call.
func ownKey(dir string) (pair ownPair, err error) {
	prefix := filepath.Join(dir, "cosign")
	if _, err := os.Stat(prefix + ".key"); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return ownPair{}, err
		}
		if err := makeOwnKey(prefix); err != nil {
			return ownPair{}, err
		}
	}
	for _, part := range []struct {
		ending string
		into   *[]byte
	}{{".key", &pair.private}, {".passphrase", &pair.passphrase}, {".pub", &pair.public}} {
		if *part.into, err = os.ReadFile(prefix + part.ending); err != nil {
			return ownPair{}, err
		}
	}
	return pair, nil
}

// makeOwnKey writes a key pair and its passphrase. The passphrase comes first: a key without one is lost.
func makeOwnKey(prefix string) error {
	passphrase, err := randomText()
	if err != nil {
		return err
	}
	// Some of the files are there when the process died between them; the private key is the last one.
	for _, left := range []string{".passphrase", ".pub"} {
		if err := os.Remove(prefix + left); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := writeNew(prefix+".passphrase", passphrase, 0o600); err != nil {
		return err
	}
	return writeKeyPair(filepath.Clean(prefix), passphrase)
}

// randomText is 32 random bytes as text.
func randomText() ([]byte, error) {
	const size = 32
	random := make([]byte, size)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	return []byte(base64.RawURLEncoding.EncodeToString(random)), nil
}
