//go:build goexperiment.jsonv2

package trivy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aquasecurity/trivy/pkg/misconf"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
)

// The credentials are put together here, so that they are none to whoever looks through this file.
var (
	baseToken  = "ghp_" + strings.Repeat("b4Se", 9)
	appToken   = "ghp_" + strings.Repeat("aPp1", 9)
	gitlab     = "glpat-" + strings.Repeat("x9Y2", 5)
	stripe     = "sk_live_" + strings.Repeat("m3N7", 5)
	password   = "correct-horse-battery"
	hiddenOnes = []string{baseToken, appToken, gitlab, stripe, password}
)

// withSections is the scanner of the process, looking for more.
func withSections(t *testing.T, extras ...pratique.ExtraKind) *Scanner {
	t.Helper()
	s := newScanner(t)
	cfg := Config{Extras: extras}
	more := &Scanner{
		cfg: cfg, option: cfg.option(), temp: s.temp, layers: newLayerCache(), trees: s.trees,
		analyzers: s.analyzers, normalized: s.normalized,
		redactor: s.redactor, logErrors: s.logErrors, now: s.now,
	}
	if cfg.looksFor(pratique.ExtraMisconfigurations) {
		var err error
		if more.option.MisconfScannerOption.RegoScanner, err = misconf.InitRegoScanner(more.option.MisconfScannerOption); err != nil {
			t.Fatal(err)
		}
	}
	return more
}

// badHabits is an image with something for every section: credentials in a base layer, in an upper
// one, in one that is removed again, and in the configuration; configuration files that fail
// checks; packages with licenses.
func badHabits(t *testing.T) layers.Image {
	return imagetest.BuildAs(t, func(c *v1.ConfigFile) {
		c.Config.Env = []string{"STRIPE=" + stripe}
		c.Config.User = ""
		c.History = []v1.History{
			{CreatedBy: "ADD file:abc in /"}, {CreatedBy: `CMD ["sh"]`, EmptyLayer: true},
			{CreatedBy: "RUN /bin/sh -c apt-get install -y curl # buildkit"},
			{CreatedBy: "COPY . /srv # buildkit"},
			{CreatedBy: "RUN /bin/sh -c rm /srv/gone # buildkit"},
			{CreatedBy: `ENTRYPOINT ["/srv/run"]`, EmptyLayer: true},
		}
	},
		imagetest.Files{
			"etc/os-release": debianRelease, "etc/debian_version": "12.5\n",
			"etc/token": "token: " + baseToken + "\n",
			"var/lib/dpkg/status": dpkg("bash", "5.2.15-2", "bash",
				"Somebody <somebody@debian.org>"),
			"usr/share/doc/bash/copyright": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-3+\n",
		},
		imagetest.Files{
			"srv/env": "first line\nGITHUB=" + appToken + "\npassword: " +
				password + "\n",
			"srv/gone":                        "gitlab " + gitlab + "\n",
			"srv/node_modules/a/package.json": `{"name":"a","version":"1.0.0","license":"AGPL-3.0-only"}`,
			"srv/node_modules/b/package.json": `{"name":"b","version":"1.0.0","license":"MIT OR Apache-2.0"}`,
		},
		imagetest.Files{
			"srv/Dockerfile": "FROM debian:latest\nRUN apt-get update\nADD x /x\n",
			"srv/k8s.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n    image: x\n" +
				"    securityContext:\n      privileged: true\n",
			"srv/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  app.conf: |\n    key=" + password + ":x\n    password=" + password + "\n",
			"srv/leaky/Dockerfile": "FROM debian:12\nENV GITHUB_TOKEN=" + password +
				"\nRUN apt-get install curl && curl -u x:" + appToken + " https://example.com\n",
			"srv/stack.json": `{"AWSTemplateFormatVersion":"2010-09-09","Resources":{"B":{"Type":"AWS::S3::Bucket","Properties":{"AccessControl":"PublicRead"}}}}`,
		},
		imagetest.Files{"srv/.wh.gone": ""},
	)
}

func extrasOf(t *testing.T, s *Scanner, img layers.Image, k kept) *pratique.Extras {
	t.Helper()
	a, err := s.Analyze(t.Context(), img, k)
	if err != nil {
		t.Fatal(err)
	}
	return a.Extras
}

func TestExtras(t *testing.T) {
	img := badHabits(t)
	s := withSections(t, pratique.ExtraLicenses, pratique.ExtraSecrets, pratique.ExtraMisconfigurations)
	stored := kept{}
	got := extrasOf(t, s, img, stored)
	if !slices.Equal(got.Kinds, pratique.ExtraKinds()) || got.Scanner != Tool() {
		t.Errorf("scanned %v by %v", got.Kinds, got.Scanner)
	}
	var secrets, misconfigurations, licenses []string
	for _, f := range got.Secrets {
		secrets = append(secrets, f.Path+" "+f.Rule+" "+f.Severity.String())
		if !f.Layer.DiffID.IsZero() != (f.Path != "") {
			t.Errorf("%s is said to come from layer %v", f.Path, f.Layer)
		}
	}
	for _, f := range got.Misconfigurations {
		misconfigurations = append(misconfigurations, f.Path+" "+f.Type+" "+f.ID+" "+f.Severity.String())
	}
	for _, f := range got.Licenses {
		licenses = append(licenses, f.Package+" "+f.Name+" "+f.Category)
	}
	// As Trivy does, what is in layers that it takes for the base image's is left out, and what an
	// upper layer removes is not.
	if diff := cmp.Diff([]string{
		" stripe-secret-token CRITICAL", "/srv/env github-pat CRITICAL",
		"/srv/gone gitlab-pat CRITICAL", "/srv/leaky/Dockerfile github-pat CRITICAL",
	}, secrets); diff != "" {
		t.Error("secrets (-want +got)\n", diff)
	}
	for _, want := range []string{
		" dockerfile DS-0002 HIGH", "srv/config.yaml kubernetes KSV-0109 HIGH",
		"srv/config.yaml kubernetes KSV-01010 MEDIUM",
		"srv/leaky/Dockerfile dockerfile DS-0031 CRITICAL",
		"srv/leaky/Dockerfile dockerfile DS-0029 HIGH", "srv/Dockerfile dockerfile DS-0001 MEDIUM",
		"srv/k8s.yaml kubernetes KSV-0017 HIGH",
	} {
		if !slices.Contains(misconfigurations, want) {
			t.Errorf("no %q in %q", want, misconfigurations)
		}
	}
	if diff := cmp.Diff([]string{"a AGPL-3.0-only forbidden", "bash GPL-3.0-or-later restricted",
		"b MIT OR Apache-2.0 notice"}, licenses); diff != "" {
		t.Error("licenses (-want +got)\n", diff)
	}

	// The credentials are nowhere: not in the report, and not in what is kept of the layers.
	documents := [][]byte{marshal(t, got)}
	for _, b := range stored {
		documents = append(documents, b)
	}
	for _, secret := range hiddenOnes {
		for _, d := range documents {
			if bytes.Contains(d, []byte(secret)) || bytes.Contains(d, []byte(secret[len(secret)-12:])) {
				t.Errorf("%s… is written down in clear: %.2000s", secret[:6], d)
			}
		}
	}
	if !strings.Contains(got.Secrets[1].Match, "GITHUB=****") {
		t.Errorf("match %q", got.Secrets[1].Match)
	}

	s.layers.trim(0)
	if diff := cmp.Diff(got, extrasOf(t, s, withoutFiles(t, img), stored), digests); diff != "" {
		t.Error("from stored analyses (-analyzed +stored)\n", diff)
	}
}

// TestBaseLayersAreKeptWhole checks that the secrets of a layer are there when the layer is an
// image's own, after it was known as another one's base.
func TestBaseLayersAreKeptWhole(t *testing.T) {
	s := withSections(t, pratique.ExtraSecrets)
	token := imagetest.Files{"etc/token": "token: " + baseToken + "\n"}
	stored := kept{}
	first := imagetest.BuildAs(t, func(c *v1.ConfigFile) {
		c.History = []v1.History{{CreatedBy: "ADD x"}, {CreatedBy: `CMD ["sh"]`, EmptyLayer: true},
			{CreatedBy: "COPY y"}}
	}, token, imagetest.Files{"a": "b"})
	if got := extrasOf(t, s, first, stored); len(got.Secrets) != 0 {
		t.Errorf("in a base layer: %+v", got.Secrets)
	}
	for range 2 {
		if got := extrasOf(t, s, imagetest.Build(t, token), stored); len(got.Secrets) != 1 ||
			got.Secrets[0].Path != "/etc/token" {
			t.Errorf("in a layer of its own: %+v", got.Secrets)
		}
		s.layers.trim(0)
	}
}

func TestExtrasThatAreOff(t *testing.T) {
	img := badHabits(t)
	a, err := newScanner(t).Analyze(t.Context(), img, nil)
	if err != nil || a.Extras != nil {
		t.Errorf("nothing was asked for: %+v %v", a.Extras, err)
	}
	for _, on := range pratique.ExtraKinds() {
		b, err := withSections(t, on).Analyze(t.Context(), img, nil)
		if err != nil {
			t.Fatal(err)
		}
		counts := b.Extras.Counts()
		want := map[pratique.ExtraKind]int{
			pratique.ExtraSecrets:           counts.Secrets,
			pratique.ExtraMisconfigurations: counts.Misconfigurations,
			pratique.ExtraLicenses:          counts.Licenses,
		}
		for section, n := range want {
			if (n > 0) != (section == on) {
				t.Errorf("only %s was asked for: %d %s", on, n, section)
			}
		}
		if diff := cmp.Diff(a.Inventory, b.Inventory, digests); diff != "" {
			t.Errorf("%s changes the inventory (-without +with)\n%s", on, diff)
		}
	}
}

// TestExtrasAgainstCommandLine compares with what the command line of the same version finds. It is
// named by PRATIQUE_TRIVY: make e2e-real.
func TestExtrasAgainstCommandLine(t *testing.T) {
	binary := os.Getenv("PRATIQUE_TRIVY")
	if binary == "" {
		t.Skip("PRATIQUE_TRIVY is not set")
	}
	type testImage struct {
		img    layers.Image
		layout string
	}
	made := badHabits(t)
	images := map[string]testImage{"made here": {made, imagetest.Layout(t, made)}}
	if data := os.Getenv("PRATIQUE_TEST_DATA"); data != "" {
		for _, name := range []string{"base", "app-node", "alpine-syn"} {
			dir := filepath.Join(data, "images")
			images[name] = testImage{imagetest.Load(t, dir, name+":1"),
				imagetest.Single(t, dir, name+":1")}
		}
	}
	s := withSections(t, pratique.ExtraKinds()...)
	for name, i := range images {
		t.Run(name, func(t *testing.T) {
			want := commandLine(t, binary, i.layout)
			got := extrasOf(t, s, i.img, kept{})
			t.Logf("%+v", got.Counts())
			if diff := cmp.Diff(want, got, digests); diff != "" {
				t.Error("(-command line +here)\n", diff)
			}
		})
	}
}

// commandLine runs Trivy over an OCI layout.
func commandLine(t *testing.T, binary, dir string) *pratique.Extras {
	t.Helper()
	report := runTrivy(t, binary, dir, "--scanners", "secret,misconfig,license",
		"--image-config-scanners", "misconfig",
		"--misconfig-scanners",
		"azure-arm,cloudformation,dockerfile,helm,kubernetes,yaml,json,ansible", "--cache-dir",
		t.TempDir())
	extras := &pratique.Extras{
		Scanner: Tool(), Kinds: pratique.ExtraKinds(),
		Secrets: []pratique.Secret{}, Misconfigurations: []pratique.Misconfiguration{},
		Licenses: []pratique.License{},
	}
	for _, r := range report.Results {
		if r.Target == dir {
			r.Target = "" // the image's configuration
		}
		if err := newRedactor().add(extras, r); err != nil {
			t.Fatal(err)
		}
	}
	sortExtras(extras)
	return extras
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
