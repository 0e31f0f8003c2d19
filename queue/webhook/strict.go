package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a body. A token is a brace, a bracket, a name or a value. The shortest have two bytes,
// and need many more in memory.
const (
	maxDepth  = 32
	maxTokens = 200_000
)

// Decode reads a body of any shape, as strictly as those of the known formats.
func Decode(body []byte) (any, error) {
	var v any
	err := unmarshalStrict(body, &v)
	return v, err
}

// unmarshalStrict decodes exactly one JSON value. It refuses or does not match duplicate names,
// names in another case and invalid UTF-8, so that no other program reads another value from the
// same bytes. It bounds nesting and tokens.
func unmarshalStrict(body []byte, into any) error {
	if err := checkTokens(body); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// checkTokens checks a body without allocating for it.
func checkTokens(body []byte, options ...jsontext.Options) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), options...) // a buffer is read in place
	for n := 0; ; n++ {
		switch _, err := d.ReadToken(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case d.StackDepth() > maxDepth:
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		case n == maxTokens:
			return errors.New("more than 200,000 JSON tokens")
		}
	}
}

// parseTime reads RFC 3339. A time that cannot be read is zero: the push counts without it.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return representable(at)
}

// parseUnix reads seconds since 1970, which some write as 1.4e+09. Anything else is zero.
func parseUnix(number jsontext.Value) time.Time {
	seconds, err := strconv.ParseFloat(string(number), 64)
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}
	}
	return representable(time.Unix(int64(seconds), 0))
}

// representable returns the time in UTC, or zero if RFC 3339, whose years have four digits, cannot
// represent it: an event that cannot be stored would be sent again for ever.
func representable(at time.Time) time.Time {
	if at = at.UTC(); at.Year() < 0 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}
