package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func acr() Format {
	return Format{
		Name: "acr", Sender: "Azure Container Registry", Methods: []Method{MethodHeader,
			MethodBearer, MethodBasic},
		HostNamed: true, contentTypes: []string{"application/json"}, parse: parseACR,
		Answers: Answers{
			Retries: "nothing",
			Loses:   "whatever is not answered with 2xx",
		},
	}
}

// eventgrid is the same registry through Event Grid, which retries.
func eventgrid() Format {
	return Format{
		Name: "eventgrid", Sender: "Azure Container Registry through Event Grid",
		// Only the URL and Entra's tokens are known to come with the handshake as well as with
		// events; of headers that one adds oneself Azure says no more than that events have them.
		Methods: []Method{MethodOIDC, MethodHeader, MethodURL}, HostNamed: true,
		contentTypes: []string{"application/json", "application/cloudevents+json",
			"application/cloudevents-batch+json"},
		parse: parseEventGrid, handshake: handshakeEventGrid, webhookOptions: true,
		Answers: Answers{
			Retries: "every answer but 200 to 204, and none within 30 seconds: for 24 hours, up to 30 times",
			Loses:   "what is answered with 400, 401, 403 or 413, and what still fails after 24 hours, unless a container for dead letters is given",
		},
	}
}

// parseACR reads the event of a native webhook, which is that of CNCF Distribution without its
// envelope.
func parseACR(_ http.Header, body []byte) ([]Notification, error) {
	var e distributionEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	n := e.notification()
	switch {
	case n.Action == "":
		return nil, errors.New(`no "action"`)
	case n.Action == ActionPush && n.Repository == "":
		return nil, errors.New(`no "target.repository"`)
	}
	return []Notification{n}, nil
}

// gridEvent is an event of either schema; Event Grid's own has "eventType" and "eventTime".
type gridEvent struct {
	ID        string         `json:"id"`
	EventType string         `json:"eventType"`
	EventTime string         `json:"eventTime"`
	Type      string         `json:"type"`
	Time      string         `json:"time"`
	Data      jsontext.Value `json:"data"`
}

const gridValidation = "Microsoft.EventGrid.SubscriptionValidationEvent"

func parseEventGrid(_ http.Header, body []byte) ([]Notification, error) {
	elements, err := gridElements(body)
	if err != nil {
		return nil, err
	}
	out := make([]Notification, 0, len(elements))
	for i, element := range elements {
		n, err := readGrid(element)
		if err != nil {
			n = unreadable(element, fmt.Errorf("event %d: %w", i+1, err))
		}
		out = append(out, n)
	}
	return out, nil
}

// gridElements splits an array. A CloudEvent is sent without one.
func gridElements(body []byte) ([]jsontext.Value, error) {
	switch jsontext.Value(body).Kind() {
	case '[':
		return splitArray(body)
	case '{':
		return []jsontext.Value{body}, checkTokens(body)
	}
	if err := checkTokens(body); err != nil {
		return nil, err
	}
	return nil, errors.New("want an event, or an array of events")
}

func readGrid(element jsontext.Value) (Notification, error) {
	var e gridEvent
	if err := json.Unmarshal(element, &e); err != nil {
		return Notification{}, err
	}
	return e.notification()
}

func (e gridEvent) notification() (Notification, error) {
	n := Notification{ID: e.ID, Action: ActionOther, At: parseTime(cmp.Or(e.EventTime, e.Time))}
	// Old events have their type without the service before it.
	switch strings.TrimPrefix(cmp.Or(e.EventType, e.Type), "Microsoft.ContainerRegistry.") {
	case "":
		return n, errors.New(`neither "eventType" nor "type"`)
	case gridValidation:
		n.Action = ActionPing
	case "ImageDeleted":
		n.Action = ActionDelete
	case "ImagePushed":
		return e.push(n)
	}
	return n, nil
}

// push reads the data, which is that of a native webhook. The id is the outer one, which is the
// same when Event Grid retries.
func (e gridEvent) push(n Notification) (Notification, error) {
	if len(e.Data) == 0 {
		return n, errors.New(`no "data"`)
	}
	var d distributionEvent
	if err := unmarshalStrict(e.Data, &d); err != nil {
		return n, fmt.Errorf("data: %w", err)
	}
	pushed := d.notification()
	if pushed.Repository == "" {
		return n, errors.New(`no "data.target.repository"`)
	}
	pushed.ID, pushed.Action = n.ID, ActionPush
	if pushed.At.IsZero() {
		pushed.At = n.At
	}
	return pushed, nil
}

// handshakeEventGrid answers the handshake of Event Grid's own schema with its code. The URL in it
// is for people. CloudEvents have another handshake, which needs no body.
func handshakeEventGrid(_ http.Header, body []byte) *handshake {
	elements, err := gridElements(body)
	if err != nil || len(elements) != 1 {
		return nil
	}
	var e gridEvent
	if err := json.Unmarshal(elements[0], &e); err != nil || e.EventType != gridValidation {
		return nil
	}
	var d struct {
		Code string `json:"validationCode"`
	}
	if err := unmarshalStrict(e.Data, &d); err != nil || d.Code == "" {
		return nil
	}
	return &handshake{reason: string(ActionPing), body: map[string]string{"validationResponse": d.Code}}
}
