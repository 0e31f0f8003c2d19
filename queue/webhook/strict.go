package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"io"
)

const maxDepth = 32

// unmarshalStrict decodes exactly one JSON value. Duplicate names, names in another case and bytes that are not
// UTF-8 are refused or not matched, so nobody else can read another value from the same bytes; so is nesting
// deeper than any sender's.
func unmarshalStrict(body []byte, into any) error {
	if err := checkDepth(body); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func checkDepth(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		switch _, err := d.ReadToken(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case d.StackDepth() > maxDepth:
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
	}
}
