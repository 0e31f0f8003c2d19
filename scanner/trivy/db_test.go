//go:build goexperiment.jsonv2

package trivy

import (
	"testing"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// advisory is a line of a database made for a test.
type advisory struct {
	bucket, source, pkg, id string
	content                 dbtypes.Advisory
	severity                dbtypes.Severity
}

// advisories are enough for every kind of package in the test images.
func advisories() []advisory {
	return []advisory{
		{"debian 12", "debian", "openssl", "CVE-2024-0001",
			dbtypes.Advisory{FixedVersion: "3.0.11-1~deb12u2"}, dbtypes.SeverityHigh},
		{"debian 12", "debian", "bash", "CVE-2024-0002", dbtypes.Advisory{}, dbtypes.SeverityLow},
		{"debian 12", "debian", "docker-ce", "CVE-2024-0003", dbtypes.Advisory{FixedVersion: "99"},
			dbtypes.SeverityCritical},
		{"alpine 3.19", "alpine", "musl", "CVE-2024-0004",
			dbtypes.Advisory{FixedVersion: "1.2.4-r3"}, dbtypes.SeverityUnknown},
		{"npm::GitHub Security Advisory npm", "ghsa", "lodash", "CVE-2024-0005",
			dbtypes.Advisory{PatchedVersions: []string{"4.17.21"},
				VulnerableVersions: []string{"<4.17.21"}}, dbtypes.SeverityCritical},
		{"maven::GitHub Security Advisory Maven", "ghsa", "org.example:lib", "CVE-2024-0006",
			dbtypes.Advisory{PatchedVersions: []string{"1.3"},
				VulnerableVersions: []string{"<1.3"}}, dbtypes.SeverityMedium},
	}
}

// buildDB writes a database with Trivy's own library.
func buildDB(t *testing.T, lines []advisory) scanner.DatabaseDir {
	t.Helper()
	dir := t.TempDir()
	writeDB(t, dir, func(tx *bolt.Tx) error {
		var c trivydb.Config
		published := time.Date(2024, 2, 3, 0, 0, 0, 0, time.UTC)
		for _, a := range lines {
			if err := c.PutDataSource(tx, a.bucket,
				dbtypes.DataSource{ID: dbtypes.SourceID(a.source), Name: a.source + " name",
					URL: "https://advisories.example"}); err != nil {
				return err
			}
			if err := c.PutAdvisory(tx, []string{a.bucket, a.pkg}, a.id, a.content); err != nil {
				return err
			}
			if err := c.PutVulnerability(tx, a.id, dbtypes.Vulnerability{
				Title: "Trouble in " + a.pkg, Description: "Long story.",
				References:     []string{"https://example.org/" + a.id},
				VendorSeverity: dbtypes.VendorSeverity{dbtypes.SourceID(a.source): a.severity},
				PublishedDate:  &published,
				CweIDs:         []string{"CWE-79"},
				CVSS:           dbtypes.VendorCVSS{"nvd": {V3Score: 7.5, V3Vector: "CVSS:3.1/AV:N"}},
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return scanner.DatabaseDir{Dir: dir, Database: pratique.Database{
		Version: 2, Digest: pratique.DigestOf([]byte(dir)), UpdatedAt: today.Add(-36 * time.Hour),
	}}
}

// writeDB borrows the one handle of this process from the shared scanner.
func writeDB(t *testing.T, dir string, fill func(tx *bolt.Tx) error) {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if err := shared.handle.close(); err != nil {
		t.Fatal(err)
	}
	if err := trivydb.Init(dir); err != nil {
		t.Fatal(err)
	}
	if err := (trivydb.Config{}).BatchUpdate(fill); err != nil {
		t.Fatal(err)
	}
	if err := trivydb.Close(); err != nil {
		t.Fatal(err)
	}
}
