package keyfile

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
)

// Pair is the key pair that is used where none is configured.
type Pair struct{ Private, Passphrase, Public []byte }

// PublicFile is the file with the public key of the pair in dir.
func PublicFile(dir string) string { return prefix(dir) + ".pub" }

// prefix is what the paths of the files in dir begin with.
func prefix(dir string) string { return filepath.Join(dir, "cosign") }

// Own returns the key pair in dir, made on the first call.
func Own(dir string) (pair Pair, err error) {
	prefix := prefix(dir)
	if _, err := os.Stat(prefix + ".key"); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Pair{}, err
		}
		if err := makeOwn(prefix); err != nil {
			return Pair{}, err
		}
	}
	for _, part := range []struct {
		ending string
		into   *[]byte
	}{{".key", &pair.Private}, {".passphrase", &pair.Passphrase}, {".pub", &pair.Public}} {
		if *part.into, err = os.ReadFile(prefix + part.ending); err != nil {
			return Pair{}, err
		}
	}
	return pair, nil
}

// makeOwn writes a key pair and its passphrase. The passphrase comes first: a key without one is
// lost.
func makeOwn(prefix string) error {
	passphrase, err := Random()
	if err != nil {
		return err
	}
	// Some of the files are there when the process died between them; the private key is the last
	// one.
	for _, left := range []string{".passphrase", ".pub"} {
		if err := os.Remove(prefix + left); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := WriteNew(prefix+".passphrase", passphrase, 0o600); err != nil {
		return err
	}
	return WritePair(filepath.Clean(prefix), passphrase)
}

// Random is 32 random bytes as text.
func Random() ([]byte, error) {
	const size = 32
	random := make([]byte, size)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	return []byte(base64.RawURLEncoding.EncodeToString(random)), nil
}
