package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pratique-dev/pratique"
)

func ecr() Format {
	return Format{
		Name: "ecr", Sender: "Amazon ECR through EventBridge", Methods: []Method{MethodHeader,
			MethodBasic, MethodBearer},
		HostNamed: true, contentTypes: []string{"application/json", "application/cloudevents+json"},
		parse: parseECR,
		Answers: Answers{
			Retries: "401, 407, 409, 429 and 5xx, and none within 5 seconds: for 24 hours, up to 185 times",
			Loses:   "what gets any other answer but 2xx, and what still fails after that, unless the rule has a dead-letter queue",
		},
	}
}

// ecrEvent is an event of EventBridge, or the CloudEvent that a common input transformer makes of
// it, with "specversion". Events of other services may use the same destination; the content of
// detail depends on the service.
type ecrEvent struct {
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Account    string         `json:"account"`
	Region     string         `json:"region"`
	Time       string         `json:"time"`
	Detail     jsontext.Value `json:"detail"`

	SpecVersion string         `json:"specversion"`
	Type        string         `json:"type"`
	Data        jsontext.Value `json:"data"`
}

func parseECR(_ http.Header, body []byte) ([]Notification, error) {
	var e ecrEvent
	if err := unmarshalStrict(body, &e); err != nil {
		return nil, err
	}
	n := Notification{ID: e.ID, Action: ActionOther, At: parseTime(e.Time)}
	var err error
	switch {
	case e.SpecVersion != "":
		err = e.transformed(&n)
	case e.DetailType == "":
		err = errors.New(`neither "detail-type" nor "specversion": send the event as it is`)
	case e.Source != "aws.ecr":
	case e.DetailType == "ECR Image Action":
		err = e.image(&n)
	case e.DetailType == "ECR Image Scan" || e.DetailType == "ECR Scan Resource Change":
		n.Action = ActionScan
	}
	if err != nil {
		return nil, err
	}
	return []Notification{n}, nil
}

// image reads the event of an image that was pushed or deleted, or could not be.
func (e *ecrEvent) image(n *Notification) error {
	var d struct {
		Action     string `json:"action-type"`
		Result     string `json:"result"`
		Repository string `json:"repository-name"`
		Digest     string `json:"image-digest"`
		Tag        string `json:"image-tag"`
		MediaType  string `json:"manifest-media-type"`
	}
	if len(e.Detail) == 0 {
		return errors.New(`no "detail"`)
	}
	if err := unmarshalStrict(e.Detail, &d); err != nil {
		return fmt.Errorf("detail: %w", err)
	}
	switch {
	case d.Result != "SUCCESS":
		return nil
	case d.Action == "DELETE":
		n.Action = ActionDelete
		return nil
	case d.Action != "PUSH":
		return nil
	}
	n.Action, n.Repository, n.Tag, n.Digest, n.MediaType = ActionPush, d.Repository, d.Tag,
		d.Digest, d.MediaType
	// "artifact-media-type" is not used: it is the type of the configuration, or the artifact type,
	// which a runnable image may have too.
	return n.inECR(e.Account, e.Region)
}

// transformed reads the CloudEvent. It lacks the result of the push, so the rule must select
// successful ones.
func (e *ecrEvent) transformed(n *Notification) error {
	switch e.Type {
	case "":
		return errors.New(`no "type"`)
	case "com.amazon.ecr.image.delete":
		n.Action = ActionDelete
		return nil
	case "com.amazon.ecr.image.push":
	default:
		return nil
	}
	var d struct {
		Repository string `json:"repositoryName"`
		Digest     string `json:"imageDigest"`
		Tag        string `json:"imageTag"`
		Registry   string `json:"registryId"`
	}
	if len(e.Data) == 0 {
		return errors.New(`no "data"`)
	}
	if err := unmarshalStrict(e.Data, &d); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	// urn:aws:ecr:REGION:ACCOUNT:repository/REPOSITORY
	part := strings.SplitN(e.Source, ":", 6)
	if len(part) != 6 || part[0] != "urn" || part[1] != "aws" || part[2] != "ecr" {
		return fmt.Errorf("source %q: want urn:aws:ecr:<region>:<account>:repository/<repository>",
			pratique.Clip(e.Source))
	}
	if part[5] != "repository/"+d.Repository || d.Registry != "" && d.Registry != part[4] {
		return fmt.Errorf("source %q is not of the repository %q in the registry %q",
			pratique.Clip(e.Source), pratique.Clip(d.Repository), pratique.Clip(d.Registry))
	}
	n.Action, n.Repository, n.Tag, n.Digest = ActionPush, d.Repository, d.Tag, d.Digest
	return n.inECR(part[4], part[3])
}

// inECR sets the host, which no event names: the usual one, then other endpoints of the same
// registry.
func (n *Notification) inECR(account, region string) error {
	switch {
	case account == "" || region == "":
		return errors.New(`no "account" or no "region"`)
	case n.Repository == "":
		return errors.New("no name of a repository")
	}
	p := partitionOf(region)
	n.Host = account + ".dkr.ecr." + region + "." + p.suffix
	n.OtherHosts = []string{account + ".dkr.ecr-fips." + region + "." + p.suffix}
	if p.dualStack != "" {
		n.OtherHosts = append(n.OtherHosts,
			account+".dkr-ecr."+region+"."+p.dualStack, account+".dkr-ecr-fips."+region+"."+p.dualStack)
	}
	return nil
}

// partition is a partition of AWS, with its own regions and domains; dualStack is empty if there
// are no such endpoints.
type partition struct{ regions, suffix, dualStack string }

// partitionOf returns the partition of a region, by the prefix of its name.
func partitionOf(region string) partition {
	for _, p := range []partition{
		{"cn-", "amazonaws.com.cn", "on.amazonwebservices.com.cn"},
		{"us-iso-", "c2s.ic.gov", ""},
		{"us-isob-", "sc2s.sgov.gov", ""},
		{"us-isof-", "csp.hci.ic.gov", ""},
		{"eu-isoe-", "cloud.adc-e.uk", ""},
		{"eusc-", "amazonaws.eu", ""},
	} {
		if strings.HasPrefix(region, p.regions) {
			return p
		}
	}
	return partition{suffix: "amazonaws.com", dualStack: "on.aws"}
}
