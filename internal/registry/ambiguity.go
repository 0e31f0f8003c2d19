package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// unambiguous refuses JSON in which a name occurs twice in one object, also in two spellings of a name that
// matters here: one reader takes the first, another the last, and both have the right digest.
func unambiguous(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

const maxDepth = 32

// meaningful are the names, in lower case, by which manifests and configurations say what an image is.
var meaningful = map[string]bool{
	"schemaversion": true, "mediatype": true, "artifacttype": true, "config": true, "layers": true, "manifests": true,
	"subject": true, "fslayers": true, "digest": true, "size": true, "urls": true, "platform": true, "os": true,
	"architecture": true, "variant": true, "rootfs": true, "diff_ids": true,
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			if err := checkName(dec, seen); err != nil {
				return err
			}
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return notJSON(err)
	}
	return nil
}

func checkName(dec *json.Decoder, seen map[string]bool) error {
	token, err := dec.Token()
	if err != nil {
		return notJSON(err)
	}
	name, ok := token.(string)
	if !ok {
		return errors.New("not JSON")
	}
	if folded := strings.ToLower(name); meaningful[folded] {
		name = folded
	}
	if seen[name] {
		return fmt.Errorf("%q occurs twice in one JSON object", clip(name))
	}
	seen[name] = true
	return nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("not JSON: %w", err)
}
