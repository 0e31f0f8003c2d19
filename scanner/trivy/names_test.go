//go:build goexperiment.jsonv2

package trivy

import (
	"strings"
	"testing"

	"github.com/aquasecurity/trivy-db/pkg/ecosystem"
	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/vulnerability"
	"github.com/aquasecurity/trivy/pkg/detector/library"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner/trivy/delta"
)

// TestNamesAreThoseOfTrivy: the database package uses nothing of Trivy's, so its tables are held
// against Trivy's here.
func TestNamesAreThoseOfTrivy(t *testing.T) {
	types := []ftypes.LangType{
		ftypes.Bundler, ftypes.GemSpec, ftypes.Cargo, ftypes.Composer, ftypes.ComposerVendor,
		ftypes.Npm, ftypes.Bun, ftypes.NuGet,
		ftypes.DotNetCore, ftypes.PackagesProps, ftypes.Pip, ftypes.Pipenv, ftypes.Poetry,
		ftypes.Uv, ftypes.PyLock, ftypes.CondaPkg,
		ftypes.CondaEnv, ftypes.PythonPkg, ftypes.NodePkg, ftypes.Yarn, ftypes.Pnpm, ftypes.Jar,
		ftypes.Pom, ftypes.Gradle, ftypes.Sbt,
		ftypes.GoBinary, ftypes.GoModule, ftypes.JavaScript, ftypes.RustBinary, ftypes.Conan,
		ftypes.Cocoapods, ftypes.Swift, ftypes.Pub,
		ftypes.Hex, ftypes.Bitnami, ftypes.Julia, ftypes.K8sUpstream, ftypes.EKS, ftypes.OCP,
	}
	keys := func(listType, name string) []string {
		return delta.Keys(pratique.Inventory{Lists: []pratique.PackageList{
			{Class: pratique.ClassLanguage, Type: listType, Packages: []pratique.Package{{Name: name}}},
		}})
	}
	known := 0
	for _, lang := range types {
		want := "?"
		if driver, ok := library.NewDriver(lang); ok {
			want = driver.Type()
			known++
		}
		if scope, _, _ := strings.Cut(keys(string(lang), "x")[0], "\x00"); scope != want {
			t.Errorf("%s: scope %s, Trivy's ecosystem is %s", lang, scope, want)
		}
		// However Trivy normalizes a name, the two are filed alike.
		for _, name := range []string{"Flask_SQLAlchemy", "https://github.com/A/B.git",
			"github.com/A/B", "Org.Example:Lib_x"} {
			normal := vulnerability.NormalizePkgName(ecosystem.Type(want), name)
			if a, b := keys(string(lang), name), keys(string(lang), normal); strings.Join(a,
				" ") != strings.Join(b, " ") {
				t.Errorf("%s: %q is filed as %q, %q as %q", lang, name, a, normal, b)
			}
		}
	}
	if known < 30 {
		t.Errorf("only %d types are known", known)
	}
	for _, family := range []ftypes.OSType{
		ftypes.Alma, ftypes.Alpine, ftypes.Amazon, ftypes.Azure, ftypes.Bottlerocket,
		ftypes.CBLMariner, ftypes.CentOS, ftypes.Chainguard,
		ftypes.Debian, ftypes.Echo, ftypes.MinimOS, ftypes.OpenSUSELeap, ftypes.OpenSUSETumbleweed,
		ftypes.Oracle, ftypes.Photon,
		ftypes.RedHat, ftypes.Rocky, ftypes.SLEMicro, ftypes.SLES, ftypes.Ubuntu, ftypes.Wolfi,
	} {
		part := pratique.Inventory{OS: pratique.OS{Family: string(family)},
			Lists: []pratique.PackageList{{Class: pratique.ClassOS, Type: string(family)}}}
		if strings.HasPrefix(delta.Keys(part)[0], "?") {
			t.Errorf("%s has no scope", family)
		}
	}
}
