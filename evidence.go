package pratique

import (
	"encoding/json"
	"fmt"
	"time"
)

// Manifest is what a resolver found behind a ref: the subject, and the platform images of an index.
type Manifest struct {
	Subject   Subject  `json:"subject"`
	MediaType string   `json:"mediaType"`
	Platform  Platform `json:"platform,omitempty"`
	// Children are the platform images of an index, in its order, with those of nested indexes;
	// empty for a single image.
	Children []Child `json:"children,omitempty"`
	// Uninspected are images of an index that a runtime might run and that cannot be inspected. Each
	// of them denies the index.
	Uninspected []Uninspected `json:"uninspected,omitempty"`
	// NotImage says why this manifest is not a container image (a signature, an SBOM, a Helm chart);
	// empty for images. Such a manifest is ignored, and never allowed.
	NotImage string `json:"notImage,omitempty"`
}

// Child is one platform image of an index.
type Child struct {
	Digest Digest `json:"digest"`
	// Platform is that of the index, or of the image's own configuration if the index has none.
	Platform Platform `json:"platform"`
	// Configured is the platform of the image's own configuration, if the index has another one.
	// Runtimes use that of the index.
	Configured Platform `json:"configured,omitempty"`
}

// Uninspected is an image of an index that cannot be inspected.
type Uninspected struct {
	// Digest is the digest in the index. It may be of an algorithm that cannot be verified.
	Digest string `json:"digest"`
	// Platform is empty if it is not known.
	Platform Platform `json:"platform,omitempty"`
	Reason   string   `json:"reason"`
}

// IsIndex reports whether m is an index, not one image.
func (m Manifest) IsIndex() bool {
	return IsIndexType(m.MediaType) || len(m.Children) > 0 || len(m.Uninspected) > 0
}

// Images returns the images to inspect: the children of an index, or the image itself.
func (m Manifest) Images() []Child {
	if m.IsIndex() {
		return m.Children
	}
	return []Child{{Digest: m.Subject.Digest, Platform: m.Platform}}
}

// ImageConfig is the part of an image's configuration that policies and people need.
type ImageConfig struct {
	Digest   Digest    `json:"digest"`
	Platform Platform  `json:"platform"`
	Created  time.Time `json:"created,omitzero"`
	User     string    `json:"user,omitempty"`
	// Labels are all labels, unless AllLabels is set: that is the document with all of them, and
	// Labels are those that a fact has room for.
	Labels    map[string]string `json:"labels,omitempty"`
	AllLabels Digest            `json:"allLabels,omitzero"`
	Layers    int               `json:"layers"`
	// Size is the sum of the compressed layers, in bytes.
	Size int64 `json:"size"`
}

// Inventory is the packages of one platform image, by operating system and application. It holds all
// that matching needs, so an image is matched again without its layers.
type Inventory struct {
	// Scanner is the tool that analyzed the layers.
	Scanner Tool          `json:"scanner"`
	OS      OS            `json:"os,omitzero"`
	Lists   []PackageList `json:"lists,omitempty"`
}

// Packages counts the packages of all lists.
func (i Inventory) Packages() int {
	n := 0
	for _, l := range i.Lists {
		n += len(l.Packages)
	}
	return n
}

// Tool is a program or library that made a document.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// OS is the operating system of an image, for example family "debian", name "12.5".
type OS struct {
	Family string `json:"family"`
	Name   string `json:"name"`
	// Extended is set where the vendor's extended support applies (Ubuntu ESM).
	Extended bool `json:"extended,omitempty"`
	// RepositoryFamily and RepositoryRelease are the package repository an Alpine image points to.
	RepositoryFamily  string `json:"repositoryFamily,omitempty"`
	RepositoryRelease string `json:"repositoryRelease,omitempty"`
}

// PackageClass distinguishes packages of the operating system from those of applications.
type PackageClass string

// The classes, spelled as Trivy spells them.
const (
	ClassOS       PackageClass = "os-pkgs"
	ClassLanguage PackageClass = "lang-pkgs"
)

// PackageList is the packages of the operating system, or of one application such as a Go binary or
// a lock file. Lists are the unit that images share.
type PackageList struct {
	Class PackageClass `json:"class"`
	// Type is the scanner's name of the ecosystem: "debian", "gobinary", "node-pkg".
	Type string `json:"type"`
	// Path is the file that names the packages, empty for lists gathered from many files.
	Path     string    `json:"path,omitempty"`
	Packages []Package `json:"packages"`
}

// Package is one installed package with all that matching reads of it.
type Package struct {
	ID         string   `json:"id,omitempty"`
	UID        string   `json:"uid,omitempty"`
	PURL       string   `json:"purl,omitempty"`
	Name       string   `json:"name"`
	Version    string   `json:"version,omitempty"`
	Release    string   `json:"release,omitempty"`
	Epoch      int      `json:"epoch,omitempty"`
	Arch       string   `json:"arch,omitempty"`
	SrcName    string   `json:"srcName,omitempty"`
	SrcVersion string   `json:"srcVersion,omitempty"`
	SrcRelease string   `json:"srcRelease,omitempty"`
	SrcEpoch   int      `json:"srcEpoch,omitempty"`
	Licenses   []string `json:"licenses,omitempty"`
	Modularity string   `json:"modularity,omitempty"`
	Maintainer string   `json:"maintainer,omitempty"`
	FilePath   string   `json:"filePath,omitempty"`
	// ContentSets, NVR and BuildArch are Red Hat's build information.
	ContentSets []string `json:"contentSets,omitempty"`
	NVR         string   `json:"nvr,omitempty"`
	BuildArch   string   `json:"buildArch,omitempty"`
	Dev         bool     `json:"dev,omitempty"`
	Indirect    bool     `json:"indirect,omitempty"`
	// Layer is the layer that brought the package.
	Layer LayerID `json:"layer,omitzero"`
}

// LayerID names a layer by its compressed digest and by the digest of its tar stream.
type LayerID struct {
	Digest Digest `json:"digest,omitzero"`
	DiffID Digest `json:"diffID,omitzero"`
}

// Severity is the severity of a finding. The zero value is "unknown", for which a policy has to
// decide explicitly.
type Severity int

// The severities, the lowest first.
const (
	SeverityUnknown Severity = iota
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

var severityNames = [...]string{"UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

// Severities returns every severity, the highest first.
func Severities() []Severity {
	return []Severity{SeverityCritical, SeverityHigh, SeverityMedium, SeverityLow, SeverityUnknown}
}

// String returns the upper-case name that vulnerability databases use.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severityNames) {
		return severityNames[SeverityUnknown]
	}
	return severityNames[s]
}

// ParseSeverity reads the upper-case name.
func ParseSeverity(name string) (Severity, error) {
	for i, n := range severityNames {
		if n == name {
			return Severity(i), nil
		}
	}
	return SeverityUnknown, fmt.Errorf("severity %q: want one of CRITICAL, HIGH, MEDIUM, LOW, UNKNOWN", Clip(name))
}

// MarshalText implements [encoding.TextMarshaler].
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Severity) UnmarshalText(text []byte) error {
	parsed, err := ParseSeverity(string(text))
	*s = parsed
	return err
}

// Database identifies a version of the vulnerability database.
type Database struct {
	// Digest is that of the database file, so the same data has the same digest wherever it came
	// from.
	Digest  Digest `json:"digest"`
	Version int    `json:"version"`
	// UpdatedAt is when its publisher built it, NextUpdate when the next one was due.
	UpdatedAt    time.Time `json:"updatedAt"`
	NextUpdate   time.Time `json:"nextUpdate,omitzero"`
	DownloadedAt time.Time `json:"downloadedAt,omitzero"`
	// Source is the reference or directory from which it was loaded.
	Source string `json:"source,omitempty"`
}

// Age is how old the data was at the given time.
func (d Database) Age(now time.Time) time.Duration { return now.Sub(d.UpdatedAt) }

// Report is the findings of one inventory against one database.
type Report struct {
	Scanner   Tool     `json:"scanner"`
	Inventory Digest   `json:"inventory"`
	Database  Database `json:"database"`
	// ScannedAt is when it was made; DatabaseAgeSeconds how old the database was then.
	ScannedAt          time.Time `json:"scannedAt"`
	DatabaseAgeSeconds int64     `json:"databaseAgeSeconds"`
	OS                 OS        `json:"os,omitzero"`
	// Coverage says for what there were advisories; nil if nobody found that out.
	Coverage *Coverage `json:"coverage,omitempty"`
	Findings []Finding `json:"findings"`
}

// Counts returns the number of findings of each severity that occurs.
func (r Report) Counts() Counts {
	c := Counts{}
	for _, f := range r.Findings {
		c[f.Severity]++
	}
	return c
}

// Counts is the number of findings by severity.
type Counts map[Severity]int

// Total is the sum over all severities.
func (c Counts) Total() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

// Finding is one vulnerability in one installed package.
type Finding struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	// Package is the package's name; PackageID and PURL identify it further.
	Package   string `json:"package"`
	PackageID string `json:"packageID,omitempty"`
	PURL      string `json:"purl,omitempty"`
	UID       string `json:"uid,omitempty"`
	Installed string `json:"installed"`
	// Fixed is the fixed version, empty if there is none. Status is the vendor's status: "affected",
	// "fixed", "will_not_fix", "fix_deferred", "end_of_life".
	Fixed          string       `json:"fixed,omitempty"`
	Status         string       `json:"status,omitempty"`
	Severity       Severity     `json:"severity"`
	SeveritySource string       `json:"severitySource,omitempty"`
	Class          PackageClass `json:"class"`
	Type           string       `json:"type"`
	// Target is the scanner's name of the list, Path the file inside the image.
	Target      string          `json:"target,omitempty"`
	Path        string          `json:"path,omitempty"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	PrimaryURL  string          `json:"primaryURL,omitempty"`
	References  []string        `json:"references,omitempty"`
	CWEs        []string        `json:"cwes,omitempty"`
	CVSS        map[string]CVSS `json:"cvss,omitempty"`
	Published   time.Time       `json:"published,omitzero"`
	Modified    time.Time       `json:"modified,omitzero"`
	DataSource  DataSource      `json:"dataSource,omitzero"`
	Layer       LayerID         `json:"layer,omitzero"`
}

// CVSS are the scores and vectors of one source.
type CVSS struct {
	V2Vector  string  `json:"v2Vector,omitempty"`
	V3Vector  string  `json:"v3Vector,omitempty"`
	V40Vector string  `json:"v40Vector,omitempty"`
	V2Score   float64 `json:"v2Score,omitempty"`
	V3Score   float64 `json:"v3Score,omitempty"`
	V40Score  float64 `json:"v40Score,omitempty"`
}

// DataSource is the source of an advisory.
type DataSource struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

// The media types of the documents that inspecting makes.
const (
	MediaTypeSPDX      = "application/spdx+json"
	MediaTypeCycloneDX = "application/vnd.cyclonedx+json"
	MediaTypeReport    = "application/vnd.pratique.report+json"
)

// Predicate types of the statements that Pratique signs. cosign, policy-controller and Kyverno know
// the unversioned names.
const (
	PredicateSPDX          = "https://spdx.dev/Document"
	PredicateCycloneDX     = "https://cyclonedx.org/bom"
	PredicateVulnerability = "https://cosign.sigstore.dev/attestation/vuln/v1"
	PredicateVSA           = "https://slsa.dev/verification_summary/v1"
)

// Statement is an in-toto statement about exactly one subject.
type Statement struct {
	Type          string             `json:"_type"`
	Subject       []StatementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

// StatementSubject is a named artifact with its digests by algorithm.
type StatementSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Envelope is a DSSE envelope: a payload, and signatures over payload and type.
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature of an envelope. KeyID is a hint that is not itself signed.
type EnvelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}
