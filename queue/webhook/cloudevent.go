package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

// cloudEvent is a CloudEvent 1.0, in any of the three modes of the HTTP binding: binary (attributes
// in the header, the data is the body), structured, and a batch of structured ones.
type cloudEvent struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Time        string         `json:"time"`
	Data        jsontext.Value `json:"data"`
	DataBase64  []byte         `json:"data_base64"`
}

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
)

// cloudEventTypes are those of the three modes; data of an image is JSON.
var cloudEventTypes = []string{"application/json", structuredType, batchType}

// readCloudEvents finds the mode in the content type, as the binding says. Otherwise attributes in
// the header mean binary, and without any the body decides: it may come from NATS or from a file.
// An unreadable event of a batch is a notification with an error, any other is an error.
func readCloudEvents(h http.Header, body []byte,
	read func(cloudEvent) (Notification, error)) ([]Notification, error) {
	contentType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	binary := isBinary(h)
	list := contentType != structuredType && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	var e cloudEvent
	var err error
	switch {
	case contentType == batchType || list && !binary:
		return readBatch(body, read)
	case binary:
		e, err = binaryCloudEvent(h, body)
	default:
		err = unmarshalStrict(body, &e)
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, err
	}
	n, err := read(e)
	if err != nil {
		return nil, err
	}
	return []Notification{n}, nil
}

func readBatch(body []byte, read func(cloudEvent) (Notification, error)) ([]Notification, error) {
	elements, err := splitArray(body)
	if err != nil {
		return nil, err
	}
	out := make([]Notification, 0, len(elements))
	for i, element := range elements {
		var n Notification
		var e cloudEvent
		err := json.Unmarshal(element, &e)
		if err == nil {
			err = e.check()
		}
		if err == nil {
			n, err = read(e)
		}
		if err != nil {
			n = unreadable(element, fmt.Errorf("event %d: %w", i+1, err))
		}
		out = append(out, n)
	}
	return out, nil
}

// isBinary reports whether the attributes of an event are in the header.
func isBinary(h http.Header) bool {
	contentType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return contentType != batchType && contentType != structuredType && hasCloudEventHeader(h)
}

func hasCloudEventHeader(h http.Header) bool { return len(h["Ce-Type"])+len(h["Ce-Specversion"]) > 0 }

// binaryCloudEvent reads the attributes from the header. It refuses duplicates, of which programs
// choose differently.
func binaryCloudEvent(h http.Header, body []byte) (cloudEvent, error) {
	e := cloudEvent{Data: body}
	for _, attribute := range []struct {
		header string
		into   *string
	}{
		{"Ce-Specversion", &e.SpecVersion},
		{"Ce-Id", &e.ID},
		{"Ce-Source", &e.Source},
		{"Ce-Type", &e.Type},
		{"Ce-Time", &e.Time},
	} {
		values := h[attribute.header]
		switch len(values) {
		case 0:
			continue
		case 1:
		default:
			return e, fmt.Errorf("the header %s is there %d times", attribute.header, len(values))
		}
		*attribute.into = values[0]
		if plainText, err := url.PathUnescape(values[0]); err == nil {
			*attribute.into = plainText
		}
	}
	return e, nil
}

func (e cloudEvent) check() error {
	switch {
	case e.SpecVersion == "":
		return errors.New(`no "specversion": this is no CloudEvent`)
	case e.SpecVersion != "1.0":
		return fmt.Errorf("CloudEvents %q: want 1.0", pratique.Clip(e.SpecVersion))
	case e.ID == "":
		return errors.New(`no "id"`)
	case e.Source == "":
		return errors.New(`no "source"`)
	case e.Type == "":
		return errors.New(`no "type"`)
	case e.Data != nil && e.DataBase64 != nil:
		return errors.New(`both "data" and "data_base64"`)
	}
	return nil
}

// key identifies an event: ids are unique only for a source.
func (e cloudEvent) key() string { return e.ID + " " + e.Source }

func (e cloudEvent) decode(into any) error {
	data := []byte(e.Data)
	if e.DataBase64 != nil {
		data = e.DataBase64
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New(`no "data"`)
	}
	return unmarshalStrict(data, into)
}
