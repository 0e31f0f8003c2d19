package vulndb

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/google/go-containerregistry/pkg/registry"
)

func TestExcerptIsReadByTrivysLibrary(t *testing.T) {
	d, err := Excerpt()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := d.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := db.Init(dir); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	advisories, err := db.Config{}.GetAdvisories("debian 12", "openssl")
	if err != nil || len(advisories) != 4 {
		t.Fatalf("openssl of Debian 12: %d advisories, %v", len(advisories), err)
	}
	vulnerability, err := db.Config{}.GetVulnerability("CVE-2020-14343")
	if err != nil || vulnerability.Severity != "CRITICAL" {
		t.Fatalf("CVE-2020-14343: %+v, %v", vulnerability, err)
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	if err := Push(t.Context(), dir, strings.TrimPrefix(server.URL, "http://")+
		"/trivy-db:2"); err != nil {
		t.Fatal(err)
	}
}
