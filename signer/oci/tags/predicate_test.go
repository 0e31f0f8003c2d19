package tags_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/cosign/v2/pkg/cosign/attestation"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
)

// TestOthersReadThePredicate decodes our vulnerability predicate into the types of cosign and of
// Trivy. It is here, with the other tests of what foreign tools accept, so that those of package
// attest build in a moment.
func TestOthersReadThePredicate(t *testing.T) {
	t.Parallel()
	published := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	subject, err := pratique.ParseSubject("registry.test/team/app@" +
		pratique.DigestOf([]byte("image")).String())
	if err != nil {
		t.Fatal(err)
	}
	st, err := attest.Vulnerability(attest.VulnerabilityInput{Subject: subject, Event: "event-1",
		Report: pratique.Report{
			Scanner:   pratique.Tool{Name: "trivy", Version: "0.72.0"},
			Inventory: pratique.DigestOf([]byte("inventory")), ScannedAt: published,
			Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")), UpdatedAt: published},
			OS:       pratique.OS{Family: "debian", Name: "12.5"},
			Findings: []pratique.Finding{{
				ID: "CVE-2026-1", Aliases: []string{"DSA-1"}, Package: "libssl3",
				PackageID: "libssl3@3.0.1", PURL: "pkg:deb/debian/libssl3@3.0.1", UID: "u1",
				Installed: "3.0.1", Fixed: "3.0.2", Status: "fixed",
				Severity: pratique.SeverityCritical, SeveritySource: "nvd",
				Class: pratique.ClassOS, Type: "debian", Target: "debian 12.5", Title: "a <title>",
				Description: "long",
				PrimaryURL:  "https://avd.test/1", References: []string{"https://a.test"},
				CWEs: []string{"CWE-79"}, Path: "usr/lib",
				CVSS: map[string]pratique.CVSS{"nvd": {V2Vector: "a", V2Score: 1, V3Vector: "b",
					V3Score: 9.8, V40Vector: "c", V40Score: 9.1}},
				Published: published, Modified: published, DataSource: pratique.DataSource{ID: "debian",
					Name: "Debian", URL: "https://d.test"},
				Layer: pratique.LayerID{Digest: pratique.DigestOf([]byte("layer")),
					DiffID: pratique.DigestOf([]byte("diff"))},
			}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cosign keeps everything", func(t *testing.T) {
		var predicate attestation.CosignVulnPredicate
		decoder := json.NewDecoder(bytes.NewReader(st.Predicate))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&predicate); err != nil {
			t.Fatal(err)
		}
		kept, err := json.Marshal(predicate)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if json.Unmarshal(st.Predicate, &want) != nil || json.Unmarshal(kept, &got) != nil {
			t.Fatal("not JSON")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what a policy sees in cosign (-ours +its):\n%s", diff)
		}
	})
	t.Run("Trivy reads the result", func(t *testing.T) {
		var predicate struct {
			Scanner struct{ Result map[string]json.RawMessage }
		}
		if err := json.Unmarshal(st.Predicate, &predicate); err != nil {
			t.Fatal(err)
		}
		delete(predicate.Scanner.Result, "Pratique") // the one member that is ours
		raw, err := json.Marshal(predicate.Scanner.Result)
		if err != nil {
			t.Fatal(err)
		}
		var trivy types.Report
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&trivy); err != nil {
			t.Fatal(err)
		}
		if len(trivy.Results) != 1 || len(trivy.Results[0].Vulnerabilities) != 1 ||
			trivy.Metadata.OS.Name != "12.5" {
			t.Fatalf("Trivy reads %+v", trivy)
		}
		v := trivy.Results[0].Vulnerabilities[0]
		if v.VulnerabilityID != "CVE-2026-1" || v.Severity != "CRITICAL" ||
			v.Status.String() != "fixed" ||
			v.PkgIdentifier.PURL.String() != "pkg:deb/debian/libssl3@3.0.1" ||
			v.CVSS["nvd"].V3Score != 9.8 ||
			v.Layer.DiffID != pratique.DigestOf([]byte("diff")).String() ||
			!v.PublishedDate.Equal(published) {
			t.Errorf("Trivy reads %+v", v)
		}
	})
}
