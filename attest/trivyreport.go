package attest

import (
	"cmp"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// trivyReport is the part of Trivy's JSON report, schema version 2, that findings fill. Policies in
// use read Results[].Vulnerabilities[].Severity, so the names are Trivy's. The types are ours,
// because Trivy's would link the whole scanner into every program that signs.
type trivyReport struct {
	SchemaVersion int
	CreatedAt     time.Time
	ArtifactName  string
	ArtifactType  string
	Metadata      trivyMetadata
	Results       []trivyResult
	Pratique      evidence
}

type trivyMetadata struct {
	OS          *trivyOS `json:",omitempty"`
	RepoDigests []string
}

type trivyOS struct {
	Family   string
	Name     string
	EOSL     bool `json:",omitzero"`
	Extended bool `json:"extended,omitzero"`
}

type trivyResult struct {
	Target          string
	Class           pratique.PackageClass
	Type            string
	Vulnerabilities []trivyVulnerability
}

type trivyVulnerability struct {
	VulnerabilityID  string
	VendorIDs        []string `json:",omitempty"`
	PkgID            string   `json:",omitempty"`
	PkgName          string
	PkgPath          string          `json:",omitempty"`
	PkgIdentifier    trivyIdentifier `json:",omitzero"`
	InstalledVersion string          `json:",omitempty"`
	FixedVersion     string          `json:",omitempty"`
	Status           string          `json:",omitempty"`
	Layer            trivyLayer      `json:",omitzero"`
	SeveritySource   string          `json:",omitempty"`
	PrimaryURL       string          `json:",omitempty"`
	DataSource       *trivySource    `json:",omitempty"`
	Title            string          `json:",omitempty"`
	Description      string          `json:",omitempty"`
	Severity         string
	CweIDs           []string             `json:",omitempty"`
	CVSS             map[string]trivyCVSS `json:",omitempty"`
	References       []string             `json:",omitempty"`
	PublishedDate    *time.Time           `json:",omitempty"`
	LastModifiedDate *time.Time           `json:",omitempty"`
}

type trivyIdentifier struct {
	PURL string `json:",omitempty"`
	UID  string `json:",omitempty"`
}

type trivyLayer struct {
	Digest string `json:",omitempty"`
	DiffID string `json:",omitempty"`
}

type trivySource struct {
	ID   string `json:",omitempty"`
	Name string `json:",omitempty"`
	URL  string `json:",omitempty"`
}

type trivyCVSS struct {
	V2Vector  string  `json:",omitempty"`
	V3Vector  string  `json:",omitempty"`
	V40Vector string  `json:",omitempty"`
	V2Score   float64 `json:",omitzero"`
	V3Score   float64 `json:",omitzero"`
	V40Score  float64 `json:",omitzero"`
}

// evidence is what Trivy's report has no field for: the inventory and the database of the findings.
type evidence struct {
	Inventory          pratique.Digest   `json:"inventory"`
	Database           pratique.Database `json:"database"`
	DatabaseAgeSeconds int64             `json:"databaseAgeSeconds"`
	Counts             map[string]int    `json:"counts"`
}

func newTrivyReport(subject pratique.Subject, r pratique.Report) trivyReport {
	out := trivyReport{
		SchemaVersion: 2,
		CreatedAt:     r.ScannedAt.UTC(),
		ArtifactName:  subject.String(),
		ArtifactType:  "container_image",
		Metadata:      trivyMetadata{RepoDigests: []string{subject.String()}},
		Results:       trivyResults(r.Findings),
		Pratique: evidence{
			Inventory: r.Inventory, Database: utc(r.Database),
			DatabaseAgeSeconds: r.DatabaseAgeSeconds, Counts: map[string]int{},
		},
	}
	if r.OS.Family != "" {
		ended := r.Coverage != nil && r.Coverage.OS.EndOfLife
		out.Metadata.OS = &trivyOS{Family: r.OS.Family, Name: r.OS.Name, EOSL: ended,
			Extended: r.OS.Extended}
	}
	for severity, n := range r.Counts() {
		out.Pratique.Counts[severity.String()] = n
	}
	return out
}

// trivyResults groups findings by package list. The order does not depend on that of the report.
func trivyResults(findings []pratique.Finding) []trivyResult {
	type list struct {
		target, kind string
		class        pratique.PackageClass
	}
	grouped := map[list][]pratique.Finding{}
	for _, f := range findings {
		key := list{target: cmp.Or(f.Target, f.Path, f.Type), kind: f.Type, class: f.Class}
		grouped[key] = append(grouped[key], f)
	}
	results := make([]trivyResult, 0, len(grouped))
	for key, members := range grouped {
		slices.SortStableFunc(members, compareFindings)
		result := trivyResult{Target: key.target, Class: key.class, Type: key.kind}
		for _, f := range members {
			result.Vulnerabilities = append(result.Vulnerabilities, newTrivyVulnerability(f))
		}
		results = append(results, result)
	}
	slices.SortFunc(results, func(a, b trivyResult) int {
		return cmp.Or(-cmp.Compare(a.Class, b.Class), cmp.Compare(a.Target, b.Target),
			cmp.Compare(a.Type, b.Type))
	})
	return results
}

func compareFindings(a, b pratique.Finding) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package),
		cmp.Compare(a.Installed, b.Installed),
		cmp.Compare(a.Path, b.Path), cmp.Compare(a.PackageID, b.PackageID))
}

func newTrivyVulnerability(f pratique.Finding) trivyVulnerability {
	v := trivyVulnerability{
		VulnerabilityID:  f.ID,
		VendorIDs:        f.Aliases,
		PkgID:            f.PackageID,
		PkgName:          f.Package,
		PkgPath:          f.Path,
		PkgIdentifier:    trivyIdentifier{PURL: f.PURL, UID: f.UID},
		InstalledVersion: f.Installed,
		FixedVersion:     f.Fixed,
		Status:           f.Status,
		Layer:            trivyLayer{Digest: f.Layer.Digest.String(), DiffID: f.Layer.DiffID.String()},
		SeveritySource:   f.SeveritySource,
		PrimaryURL:       f.PrimaryURL,
		Title:            f.Title,
		Description:      f.Description,
		Severity:         f.Severity.String(),
		CweIDs:           f.CWEs,
		References:       f.References,
		PublishedDate:    timePointer(f.Published),
		LastModifiedDate: timePointer(f.Modified),
	}
	if f.DataSource != (pratique.DataSource{}) {
		v.DataSource = &trivySource{ID: f.DataSource.ID, Name: f.DataSource.Name, URL: f.DataSource.URL}
	}
	for source, score := range f.CVSS {
		if v.CVSS == nil {
			v.CVSS = map[string]trivyCVSS{}
		}
		v.CVSS[source] = trivyCVSS(score)
	}
	return v
}

func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// utc converts the database's times, so that the time zone of a process does not change what is
// signed.
func utc(d pratique.Database) pratique.Database {
	d.UpdatedAt, d.NextUpdate, d.DownloadedAt = d.UpdatedAt.UTC(), d.NextUpdate.UTC(),
		d.DownloadedAt.UTC()
	return d
}
