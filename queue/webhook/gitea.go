package webhook

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
)

// gitea is Forgejo, too, which sends the same header under both names.
func gitea() Format {
	return Format{
		Name: "gitea", Sender: "Gitea and Forgejo",
		Methods:   []Method{MethodHMACSHA256, MethodHeader, MethodBearer, MethodBasic},
		signature: signatureFormat{header: "X-Gitea-Signature"},
		unsigned: []string{"X-Gitea-Event", "X-Gitea-Delivery", "X-Forgejo-Event",
			"X-Forgejo-Delivery"},
		Digestless: true, contentTypes: []string{"application/json"}, parse: parseGitea,
		Answers: Answers{
			Retries: "nothing by itself; a person can repeat a delivery",
			Loses:   "whatever is not answered with 2xx within 5 seconds",
		},
	}
}

type giteaEvent struct {
	Action  string `json:"action"`
	Package *struct {
		Owner struct {
			Login string `json:"login"`
		} `json:"owner"`
		Type      string `json:"type"`
		Name      string `json:"name"`
		Version   string `json:"version"`
		URL       string `json:"html_url"`
		CreatedAt string `json:"created_at"`
	} `json:"package"`
	Sender struct {
		Login string `json:"login"`
	} `json:"sender"`
}

// parseGitea uses the header only to ignore an event: no signature covers headers.
func parseGitea(h http.Header, body []byte) ([]Notification, error) {
	var e giteaEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	n := Notification{
		ID:     cmp.Or(h.Get("X-Gitea-Delivery"), h.Get("X-Forgejo-Delivery")),
		Action: giteaAction(e.Action), Actor: e.Sender.Login,
	}
	switch event := cmp.Or(h.Get("X-Gitea-Event"), h.Get("X-Forgejo-Event"), "package"); {
	case e.Package == nil && event != "package":
		n.Action = ActionOther
	case e.Package == nil:
		return nil, errors.New(`no "package"`)
	case e.Package.Type != "container":
		n.Action = ActionNotImage
	case n.Action != ActionPush:
	case e.Package.Owner.Login == "":
		return nil, errors.New(`no "package.owner.login"`)
	case e.Package.Name == "":
		return nil, errors.New(`no "package.name"`)
	case e.Package.Version == "":
		return nil, errors.New(`no "package.version"`)
	default:
		// The registry has the owner in lower case. The name is escaped in the URL, and here it is
		// not.
		n.Host, n.At = hostOf(e.Package.URL), parseTime(e.Package.CreatedAt)
		n.Repository = strings.ToLower(e.Package.Owner.Login + "/" + e.Package.Name)
		n.setReference(e.Package.Version)
	}
	return []Notification{n}, nil
}

// giteaAction maps the action: a tag that is pushed again is deleted and created.
func giteaAction(word string) Action {
	switch word {
	case "created":
		return ActionPush
	case "deleted":
		return ActionDelete
	}
	return ActionOther
}
