package api

import (
	"net/url"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

// Image is everything known about one image or index.
type Image struct {
	Image      string            `json:"image" doc:"registry/path@digest"`
	Repository string            `json:"repository" doc:"registry/path"`
	Digest     pratique.Digest   `json:"digest"`
	Platform   pratique.Platform `json:"platform,omitempty"`
	State      pratique.State    `json:"state"`
	Detail     string            `json:"detail,omitempty" doc:"Why the work ended as it did"`
	Outcome    pratique.Outcome  `json:"outcome,omitempty" doc:"allow or deny; absent while there is no verdict"`
	Verdict    *pratique.Verdict `json:"verdict,omitempty"`
	// VerdictDigest is the digest of the verdict's document, which the VSA and the commits name.
	VerdictDigest pratique.Digest        `json:"verdictDigest,omitzero"`
	Counts        pratique.Counts        `json:"counts,omitempty" doc:"Findings by severity; for an index see children"`
	Fixable       int                    `json:"fixable" doc:"Findings for which a fixed version is known"`
	Packages      int                    `json:"packages"`
	Extras        *ExtrasView            `json:"extras,omitempty" doc:"Absent if nothing besides packages is looked for"`
	Config        *pratique.ImageConfig  `json:"config,omitempty"`
	Affected      *pratique.Affected     `json:"affected,omitempty" doc:"New findings of the last database that brought any"`
	Database      *DatabaseAge           `json:"database,omitempty" doc:"The vulnerability database matched against; for an index the oldest of its children's"`
	Tags          []index.TagName        `json:"tags,omitempty"`
	Children      []ImageChild           `json:"children,omitempty" doc:"The platform images of an index"`
	Uninspected   []pratique.Uninspected `json:"uninspected,omitempty" doc:"Images of the index that a runtime might run and that could not be inspected; each denies the index"`
	Parents       []string               `json:"parents,omitempty" doc:"The indexes that list this image, as registry/path@digest"`
	// VSA is the digest of the signed verification summary.
	VSA          pratique.Digest         `json:"vsa,omitzero"`
	Attestations []pratique.Attestation  `json:"attestations,omitempty" doc:"What was read back from the registry and verified"`
	Deployments  []pratique.Commit       `json:"deployments,omitempty" doc:"Commits that deployed it, oldest first. What they wrote may have been replaced since: /places says what Git holds now"`
	DeployedTo   []string                `json:"deployedTo,omitempty" doc:"The targets that hold it, as far as the facts say"`
	Drifted      []pratique.Drifted      `json:"drifted,omitempty" doc:"Targets that no longer hold the image, as far as the facts say; /places says what they hold now"`
	Problems     []pratique.PlaceProblem `json:"problems,omitempty" doc:"What could not be edited in the config repositories when this image was deployed"`
	Failure      *pratique.Failed        `json:"failure,omitempty" doc:"The last failed attempt"`
	NextAttempt  time.Time               `json:"nextAttempt,omitzero" doc:"When the last failed attempt is retried, if that is known"`
	Unattested   bool                    `json:"unattested,omitempty" doc:"The verdict denies, and the registry does not show that yet: the image may still be signed there. It is retried"`
	Unmatched    bool                    `json:"unmatched,omitempty" doc:"The image could not be scanned with the newest vulnerability database; failure says why"`
	Facts        []pratique.FactRef      `json:"facts" doc:"The history in the order of the ledger, at most 200 facts; /facts has their number"`
	Links        ImageLinks              `json:"links"`
}

// ExtrasView is the number of extra findings.
type ExtrasView struct {
	Kinds []pratique.ExtraKind `json:"kinds" doc:"What was looked for; the counts of other kinds mean nothing"`
	pratique.ExtraCounts
}

// DatabaseAge is a vulnerability database and its age.
type DatabaseAge struct {
	pratique.Database
	AgeSeconds int64 `json:"ageSeconds"`
}

// ImageChild is one platform of an index.
type ImageChild struct {
	Digest     pratique.Digest   `json:"digest"`
	Platform   pratique.Platform `json:"platform"`
	Configured pratique.Platform `json:"configured,omitempty" doc:"What the image's own configuration says, where the index says something else"`
	Outcome    pratique.Outcome  `json:"outcome,omitempty"`
	Counts     pratique.Counts   `json:"counts,omitempty"`
	Fixable    int               `json:"fixable"`
	Packages   int               `json:"packages"`
	Links      ImageLinks        `json:"links"`
}

// ImageLinks are paths on this server. A document that does not exist has none.
type ImageLinks struct {
	Self      string `json:"self"`
	Facts     string `json:"facts"`
	Report    string `json:"report,omitempty"`
	Extras    string `json:"extras,omitempty"`
	Places    string `json:"places"`
	SPDX      string `json:"spdx,omitempty"`
	CycloneDX string `json:"cyclonedx,omitempty"`
}

// ImageSummary is an item of the list of images.
type ImageSummary struct {
	Image       string            `json:"image"`
	Repository  string            `json:"repository"`
	Digest      pratique.Digest   `json:"digest"`
	Tag         string            `json:"tag,omitempty" doc:"The tag of its last push"`
	Platform    pratique.Platform `json:"platform,omitempty"`
	State       pratique.State    `json:"state"`
	Outcome     pratique.Outcome  `json:"outcome,omitempty"`
	Reasons     int               `json:"reasons" doc:"The number of reasons of the verdict"`
	Counts      pratique.Counts   `json:"counts,omitempty"`
	Fixable     int               `json:"fixable"`
	Deployments int               `json:"deployments" doc:"The number of targets that hold it, as far as the facts say"`
	FirstAt     time.Time         `json:"firstAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
	Self        string            `json:"self"`
}

// ImagePage is a page of the list. A page may be short, even empty, and have a next one.
type ImagePage struct {
	Items      []ImageSummary `json:"items"`
	NextCursor string         `json:"nextCursor,omitempty" doc:"Absent on the last page"`
}

func selfPath(s pratique.Subject, below string) string {
	return "/api/v1/images/" + s.Digest.String() + below + "?repository=" +
		url.QueryEscape(s.Repository.String())
}

func summaryOf(s index.Summary) ImageSummary {
	return ImageSummary{
		Image: s.Subject.String(), Repository: s.Subject.Repository.String(),
		Digest: s.Subject.Digest, Tag: s.Tag,
		Platform: s.Platform, State: s.State, Outcome: s.Outcome, Reasons: s.Reasons, Counts: s.Counts,
		Fixable: s.Fixable, Deployments: s.Deployments, FirstAt: s.FirstAt, UpdatedAt: s.UpdatedAt,
		Self: selfPath(s.Subject, ""),
	}
}

func linksOf(r pratique.Record) ImageLinks {
	l := ImageLinks{Self: selfPath(r.Subject, ""), Facts: selfPath(r.Subject, "/facts"),
		Places: selfPath(r.Subject, "/places")}
	if r.Scanned != nil {
		l.Report = selfPath(r.Subject, "/report")
	}
	if r.Inspected != nil && !r.Inspected.Extras.IsZero() {
		l.Extras = selfPath(r.Subject, "/extras")
	}
	if r.Inspected != nil && !r.Inspected.SPDX.IsZero() {
		l.SPDX = selfPath(r.Subject, "/sbom") + "&format=spdx"
	}
	if r.Inspected != nil && !r.Inspected.CycloneDX.IsZero() {
		l.CycloneDX = selfPath(r.Subject, "/sbom") + "&format=cyclonedx"
	}
	return l
}

// imageOf is the response about one record, without what other records say.
func imageOf(r pratique.Record, now time.Time) Image {
	img := Image{
		Image: r.Subject.String(), Repository: r.Subject.Repository.String(), Digest: r.Subject.Digest,
		State: r.State(), Deployments: r.Deployed, DeployedTo: r.Standing(), Drifted: r.Drifted,
		Failure: r.Failed, Facts: r.History, Links: linksOf(r),
	}
	if r.Resolved != nil {
		img.Platform, img.Uninspected = r.Resolved.Manifest.Platform, r.Resolved.Manifest.Uninspected
	}
	if i := r.Inspected; i != nil {
		img.Packages = i.Packages
		if len(i.ExtraKinds) > 0 {
			img.Extras = &ExtrasView{Kinds: i.ExtraKinds, ExtraCounts: i.ExtraCounts}
		}
		if !i.Image.Digest.IsZero() || i.Image.Platform != "" {
			img.Config, img.Platform = &i.Image, i.Image.Platform
		}
	}
	if r.Scanned != nil {
		img.Counts, img.Fixable = r.Scanned.Counts, r.Scanned.Fixable
		img.Database = databaseAge(r.Scanned.Database, now)
	}
	img.Affected, img.Unattested = r.Affected, index.Unattested(r)
	img.Unmatched = index.RescanFailed(r)
	if r.Evaluated != nil {
		img.Outcome, img.Verdict, img.VerdictDigest = r.Evaluated.Verdict.Outcome,
			&r.Evaluated.Verdict, r.Evaluated.Digest
	}
	if r.Attested != nil {
		img.VSA, img.Attestations = r.Attested.VSA, r.Attested.Attestations
	}
	if r.Completed != nil && img.State == r.Completed.State {
		img.Detail = r.Completed.Detail
	} else if n := len(r.Drifted); n > 0 && img.State == r.Drifted[n-1].State {
		img.Detail = r.Drifted[n-1].Detail
	}
	if r.Completed != nil {
		img.Problems = r.Completed.Problems
	}
	return img
}

func databaseAge(d pratique.Database, now time.Time) *DatabaseAge {
	return &DatabaseAge{Database: d, AgeSeconds: int64(d.Age(now) / time.Second)}
}

// childrenOf lists the platforms of an index, and nothing for an image.
func childrenOf(r pratique.Record) []pratique.Child {
	switch {
	case r.Resolved != nil && len(r.Resolved.Manifest.Children) > 0:
		return r.Resolved.Manifest.Children
	case r.Inspected != nil:
		return r.Inspected.Children
	}
	return nil
}
