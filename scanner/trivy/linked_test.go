//go:build goexperiment.jsonv2

package trivy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// TestLinkedPackages: the inventory has what a container would see, however it is packed, and
// whether the layers are new, remembered or kept.
func TestLinkedPackages(t *testing.T) {
	for _, test := range images.AllLinked() {
		t.Run(test.Name, func(t *testing.T) {
			img, k := imagetest.BuildOf(t, test.Layers...), kept{}
			if test.Refused {
				if _, err := newScanner(t).Analyze(t.Context(), img,
					nil); pratique.KindOf(err) != pratique.Corrupt {
					t.Fatalf("got %v, want an error of kind corrupt", err)
				}
				return
			}
			for _, how := range []string{"new", "remembered", "kept"} {
				if how != "remembered" {
					forgetAll(t)
				}
				inv := analyzeWith(t, img, k)
				var got []string
				for _, l := range inv.Lists {
					for _, p := range l.Packages {
						version := p.Version
						if p.Release != "" {
							version += "-" + p.Release
						}
						got = append(got, p.Name+" "+version)
						if p.Layer.DiffID.IsZero() ||
							!slices.ContainsFunc(img.Layers, func(l layers.Layer) bool {
								return l.DiffID == p.Layer.DiffID
							}) {
							t.Errorf("%s: %s comes from layer %s", how, p.Name, p.Layer.DiffID)
						}
					}
				}
				slices.Sort(got)
				if diff := cmp.Diff(test.Packages, got); diff != "" {
					t.Errorf("%s (-want +got)\n%s", how, diff)
				}
				if inv.OS.Name != test.OS {
					t.Errorf("%s: the release is %q, want %q", how, inv.OS.Name, test.OS)
				}
			}
		})
	}
}

// TestLinkedRPM: the database of RPM is found wherever links put it, once.
func TestLinkedRPM(t *testing.T) {
	for _, test := range images.LinkedRPM(imagetest.RPMDatabase(t)) {
		t.Run(test.Name, func(t *testing.T) {
			inv := analyze(t, imagetest.BuildOf(t, test.Layers...))
			var got []string
			for _, l := range inv.Lists {
				for _, p := range l.Packages {
					got = append(got, p.Name)
				}
			}
			slices.Sort(got)
			want := []string{"bash", "openssl-libs"}
			if diff := cmp.Diff(want, slices.DeleteFunc(got, func(name string) bool {
				return name == "gpg-pubkey"
			})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if inv.OS.Family != "rocky" || inv.OS.Name != "9.3" {
				t.Errorf("the system is %+v", inv.OS)
			}
		})
	}
}

// TestLinkedReleases: the links that distributions themselves put beside their release files change
// nothing.
func TestLinkedReleases(t *testing.T) {
	link := func(to string) string { return imagetest.Symlink + to }
	for name, test := range map[string]struct {
		files imagetest.Files
		want  string
	}{
		"rocky": {imagetest.Files{
			"etc/rocky-release":  "Rocky Linux release 8.9 (Green Obsidian)\n",
			"etc/redhat-release": link("rocky-release"), "etc/system-release": link("rocky-release"),
			"usr/lib/os-release": "ID=\"rocky\"\nVERSION_ID=\"8.9\"\n",
			"etc/os-release":     link("../usr/lib/os-release"),
		}, "rocky 8.9"},
		"alma": {imagetest.Files{
			"etc/almalinux-release": "AlmaLinux release 9.3 (Shamrock Pampas Cat)\n",
			"etc/redhat-release":    link("almalinux-release"),
			"etc/system-release":    link("almalinux-release"),
		}, "alma 9.3"},
		"centos": {imagetest.Files{
			"etc/centos-release": "CentOS Linux release 7.9.2009 (Core)\n",
			"etc/redhat-release": link("centos-release"), "etc/system-release": link("centos-release"),
		}, "centos 7.9.2009"},
		"fedora": {imagetest.Files{
			"usr/lib/fedora-release": "Fedora release 39 (Thirty Nine)\n",
			"etc/fedora-release":     link("../usr/lib/fedora-release"),
			"etc/redhat-release":     link("fedora-release"),
			"etc/system-release":     link("fedora-release"),
		}, "fedora 39"},
		"amazon": {imagetest.Files{
			"usr/lib/system-release":   "Amazon Linux release 2023.3.20231218 (Amazon Linux)\n",
			"etc/system-release":       link("../usr/lib/system-release"),
			"etc/amazon-linux-release": link("../usr/lib/system-release"),
		}, "amazon 2023.3.20231218 (Amazon Linux)"},
		"oracle": {imagetest.Files{
			"etc/oracle-release": "Oracle Linux Server release 8.9\n",
			"etc/redhat-release": "Red Hat Enterprise Linux release 8.9 (Ootpa)\n",
			"etc/system-release": link("oracle-release"),
		}, "oracle 8.9"},
	} {
		t.Run(name, func(t *testing.T) {
			if inv := analyze(t, imagetest.Build(t, test.files)); inv.OS.Family+" "+
				inv.OS.Name != test.want {
				t.Errorf("got %+v, want %s", inv.OS, test.want)
			}
		})
	}
}

// TestSystemPlaces: every path at which Trivy looks for a package database or a release is one
// where runtimes must not disagree.
func TestSystemPlaces(t *testing.T) {
	r := newScanner(t).analyzers
	if len(r.fixed) < 20 || len(r.releases) < 10 {
		t.Fatalf("Trivy looks at %d paths, %d of releases: too few to be true", len(r.fixed),
			len(r.releases))
	}
	for name := range r.fixed {
		if !filetree.IsSystemPath(name) && !isElsewhere(name) {
			t.Errorf("%s is not among the places of the system", name)
		}
	}
	for name, want := range map[string]string{
		"lib/apk/db/installed": "apk", "var/lib/dpkg/status": "dpkg packages",
		"var/lib/dpkg/status.d/x": "dpkg packages",
		"var/lib/dpkg/available":  "dpkg available", "etc/os-release": "os-release",
		"srv/lib.jar": "jar", "x/package.json": "node-pkg",
	} {
		if got := r.roles(name, 0); len(got) != 1 || !got[want] {
			t.Errorf("%s is read as %v, want %s", name, got, want)
		}
	}
	if got := r.roles("bin/x", 0o755); !got["gobinary"] || len(r.roles("bin/x", 0)) != 0 {
		t.Errorf("a program is read as %v, and %v if it is none", got, r.roles("bin/x", 0))
	}
}

// isElsewhere lists what Trivy knows about and no advisory depends on.
func isElsewhere(name string) bool {
	return slices.Contains([]string{"usr/share/rapidfort/curated.json", "root/buildinfo"}, name)
}
