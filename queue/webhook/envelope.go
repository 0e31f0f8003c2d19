package webhook

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxElements bounds what is decoded of an envelope before its events are counted. It is far above
// [Limits.Events].
const maxElements = 20_000

// splitArray returns the elements of an array, to be decoded one by one with [json.Unmarshal], so
// that an error in one does not affect the others. They share its bytes. Depth, tokens and UTF-8
// are checked here, duplicate names when an element is decoded.
func splitArray(array []byte) ([]jsontext.Value, error) {
	if err := checkTokens(array, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, err
	}
	return splitChecked(array)
}

// splitChecked is splitArray after [checkTokens].
func splitChecked(array []byte) ([]jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(array), jsontext.AllowDuplicateNames(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '[' {
		return nil, errors.Join(errors.New("want a list"), err)
	}
	all := []jsontext.Value{}
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if len(all) == maxElements {
			return nil, errors.New("a list of more than 20,000 elements")
		}
		all = append(all, lastValue(array, d, value))
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return all, nil
}

// extractArray removes the array at a path of names from a body. It returns its elements, as
// [splitArray] does, and the body with null instead of the array, to be decoded strictly. The
// elements are nil if there is no array.
func extractArray(body []byte, path ...string) (elements []jsontext.Value, rest []byte, err error) {
	if err := checkTokens(body, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, nil, err
	}
	pointer := jsontext.Pointer("/" + strings.Join(path, "/"))
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	for {
		token, err := d.ReadToken()
		switch {
		case err != nil: // nothing but the end, after checkTokens
			return nil, body, nil
		case d.StackDepth() != len(path) || token.Kind() != '"' || token.String() != path[len(path)-1]:
		case d.StackPointer() == pointer && d.PeekKind() == '[':
			array, err := d.ReadValue()
			if err != nil {
				return nil, nil, err
			}
			end := int(d.InputOffset())
			// A second array of this name stays, and is refused with the rest.
			rest = slices.Concat(body[:end-len(array)], []byte("null"), body[end:])
			elements, err = splitChecked(body[end-len(array) : end])
			return elements, rest, err
		}
	}
}

// lastValue returns the value just read as a part of the text: the decoder reuses its own bytes.
func lastValue(text []byte, d *jsontext.Decoder, value jsontext.Value) jsontext.Value {
	end := int(d.InputOffset())
	return text[end-len(value) : end : end]
}

// unreadable returns the notification of an element that cannot be read, with its id if that can.
func unreadable(element jsontext.Value, err error) Notification {
	var id struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(element, &id, jsontext.AllowDuplicateNames(true)) // best effort
	return Notification{ID: id.ID, Err: err}
}
