package service

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// TestShadowDiffers: a difference is counted, and logged with all digests.
func TestShadowDiffers(t *testing.T) {
	var out bytes.Buffer
	s := &Inspect{Shared: &Shared{metrics: telemetry.New("test"),
		log: slog.New(slog.NewTextHandler(&out, nil))}}
	digests := inspector.DocumentDigests{SPDX: pratique.DigestOf([]byte("1")),
		CycloneDX: pratique.DigestOf([]byte("2"))}
	other := inspector.DocumentDigests{SPDX: pratique.DigestOf([]byte("3")), CycloneDX: digests.CycloneDX}
	image := pratique.Subject{Repository: pratique.Repository{Registry: "localhost",
		Path: "team/app"}, Digest: digests.SPDX}
	s.checkedSBOM(t.Context(), image, inspector.Shadow{Generated: digests, Full: digests})
	if out.Len() > 0 {
		t.Errorf("nothing differs, and it says %s", &out)
	}
	s.checkedSBOM(t.Context(), image, inspector.Shadow{Generated: other, Full: digests})
	for _, want := range []string{image.String(), other.SPDX.String(), digests.SPDX.String(),
		digests.CycloneDX.String(), "level=ERROR"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &out)
		}
	}
	answer := httptest.NewRecorder()
	s.metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	metrics := answer.Body.String()
	for _, want := range []string{`pratique_sbom_shadow_total{result="equal"} 1`,
		`pratique_sbom_shadow_total{result="different"} 1`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestShadowSeed: the choice outlives the process, and differs between installations.
func TestShadowSeed(t *testing.T) {
	s := &Inspect{Shared: &Shared{dataDir: t.TempDir()}}
	first, err := s.shadowSample()
	if err != nil || first.OneIn != defaultShadow || len(first.Seed) < 32 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := s.shadowSample()
	if err != nil || !slices.Equal(first.Seed, again.Seed) {
		t.Errorf("the next process chooses by another seed, %v", err)
	}
	other, err := (&Inspect{Shared: &Shared{dataDir: t.TempDir()}}).shadowSample()
	if err != nil || slices.Equal(first.Seed, other.Seed) {
		t.Errorf("another installation chooses by the same seed, %v", err)
	}
	file := filepath.Join(s.dataDir, "shadow-seed")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(file, first.Seed[:5], 0o600); err != nil {
		t.Fatal(err)
	}
	if torn, err := s.shadowSample(); err != nil || len(torn.Seed) != len(first.Seed) {
		t.Errorf("of a torn file: %+v, %v", torn, err)
	}
}
