package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/package-url/packageurl-go"

	"github.com/pratique-dev/pratique"
)

// cdevents come with an envelope of CloudEvents or without.
func cdevents() Format {
	f := cloudevents()
	f.Name, f.Sender, f.parse, f.HostNamed = "cdevents", "CDEvents", parseCDEvents, true
	return f
}

// cdEvent is an event. Its content names documents by URL, which are never fetched.
type cdEvent struct {
	Context *struct {
		ID        string `json:"id"`
		Source    string `json:"source"`
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
	} `json:"context"`
	Subject struct {
		ID      string `json:"id"`
		Content struct {
			User string `json:"user"`
		} `json:"content"`
	} `json:"subject"`
}

func parseCDEvents(h http.Header, body []byte) ([]Notification, error) {
	var probe struct {
		SpecVersion jsontext.Value `json:"specversion"`
	}
	if hasCloudEventHeader(h) || unmarshalStrict(body, &probe) != nil || probe.SpecVersion != nil {
		return readCloudEvents(h, body, readEnclosed)
	}
	var bare cdEvent
	if err := unmarshalStrict(body, &bare); err != nil {
		return nil, err
	}
	n, err := bare.notification()
	if err != nil {
		return nil, err
	}
	return []Notification{n}, nil
}

// readEnclosed reads an event in an envelope.
func readEnclosed(envelope cloudEvent) (Notification, error) {
	var e cdEvent
	if err := envelope.decode(&e); err != nil {
		return Notification{}, err
	}
	if c := e.Context; c != nil && c.Type != envelope.Type {
		return Notification{}, fmt.Errorf("the type is %q outside and %q inside",
			pratique.Clip(envelope.Type), pratique.Clip(c.Type))
	}
	return e.notification()
}

func (e cdEvent) notification() (Notification, error) {
	switch {
	case e.Context == nil:
		return Notification{}, errors.New(`no "context"`)
	case e.Context.ID == "":
		return Notification{}, errors.New(`no "context.id"`)
	}
	action, err := cdAction(e.Context.Type)
	n := Notification{
		ID: e.Context.ID + " " + e.Context.Source, Action: action, Actor: e.Subject.Content.User,
		At: parseTime(e.Context.Timestamp),
	}
	if err == nil && action == ActionPush {
		err = n.readPurl(e.Subject.ID)
	}
	return n, err
}

// cdAction reads a type such as dev.cdevents.artifact.published.0.3.0. A packaged artifact is not
// in a registry yet.
func cdAction(name string) (Action, error) {
	rest, ok := strings.CutPrefix(name, "dev.cdevents")
	if !ok {
		return "", fmt.Errorf("type %q: those of CDEvents begin with dev.cdevents", pratique.Clip(name))
	}
	rest, ok = strings.CutPrefix(rest, ".artifact.")
	if !ok {
		return ActionOther, nil
	}
	switch word, _, _ := strings.Cut(rest, "."); word {
	case "published":
		return ActionPush, nil
	case "downloaded":
		return ActionPull, nil
	case "deleted":
		return ActionDelete, nil
	}
	return ActionOther, nil
}

// readPurl reads pkg:oci/app@sha256:…?repository_url=registry.example.com/team/app&tag=1.4.2. The
// name is the last part of the path, which is complete in the qualifier.
func (n *Notification) readPurl(text string) error {
	if text == "" {
		return errors.New(`no "subject.id"`)
	}
	purl, err := packageurl.FromString(text)
	if err != nil {
		return fmt.Errorf("subject.id: %s", pratique.Clip(err.Error()))
	}
	fail := func(why string) error { return fmt.Errorf("subject.id: %s: %q", why, pratique.Clip(text)) }
	switch purl.Type {
	case packageurl.TypeOCI:
	case packageurl.TypeDocker:
		return fail("name images as pkg:oci, with a repository_url")
	default:
		n.Action = ActionNotImage
		return nil
	}
	qualifiers := purl.Qualifiers.Map()
	host, path, ok := strings.Cut(bareHost(qualifiers["repository_url"]), "/")
	switch {
	case !ok:
		return fail("no repository_url=HOST/PATH")
	case purl.Namespace != "" || purl.Subpath != "":
		return fail("a path has no place in the name of pkg:oci")
	case path[strings.LastIndexByte(path, '/')+1:] != strings.ToLower(purl.Name):
		return fail("its repository_url does not end in its name")
	case purl.Version == "" && qualifiers["tag"] == "":
		return fail("neither a digest nor a tag")
	}
	n.Host, n.Repository, n.Tag, n.Digest = host, path, qualifiers["tag"], purl.Version
	return nil
}
