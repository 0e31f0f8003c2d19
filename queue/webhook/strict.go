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

// What a body may be made of. A token is a brace, a bracket, a name or a value: the shortest ones take two bytes, and
// become many more in memory.
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

// unmarshalStrict decodes exactly one JSON value. Duplicate names, names in another case and bytes that are not
// UTF-8 are refused or not matched, so nobody else can read another value from the same bytes; so are nesting
// deeper than any sender's, and more tokens.
func unmarshalStrict(body []byte, into any) error {
	if err := checkTokens(body); err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// checkTokens goes through a body without keeping anything of it.
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

// parseTime reads RFC 3339. A time that cannot be read is none: it is a remark, and the push is not less real
// without it.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return writable(at)
}

// parseUnix reads seconds since 1970, which some write as 1.4e+09. Anything else is no time.
func parseUnix(number jsontext.Value) time.Time {
	seconds, err := strconv.ParseFloat(string(number), 64)
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}
	}
	return writable(time.Unix(int64(seconds), 0))
}

// writable is the time in UTC, if that can be written as RFC 3339 again, which has years of four digits: an event
// that cannot be stored would come again for ever.
func writable(at time.Time) time.Time {
	if at = at.UTC(); at.Year() < 0 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}
