//go:build goexperiment.jsonv2

package trivy

import (
	"slices"

	"github.com/aquasecurity/trivy/pkg/cache"
	"github.com/aquasecurity/trivy/pkg/fanal/analyzer"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	"github.com/aquasecurity/trivy/pkg/fanal/handler"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/iac/rego"
	"github.com/aquasecurity/trivy/pkg/misconf"

	"github.com/pratique-dev/pratique"
)

// parallelFiles is Trivy's default for concurrent files, and concurrent layers.
const parallelFiles = 5

func (c Config) looksFor(s pratique.ExtraKind) bool { return slices.Contains(c.Extras, s) }

// extras returns the configured kinds, in the order of [pratique.ExtraKinds].
func (c Config) extras() []pratique.ExtraKind {
	return slices.DeleteFunc(pratique.ExtraKinds(), func(s pratique.ExtraKind) bool {
		return !c.looksFor(s)
	})
}

// option is equivalent to the command line's options for vulnerabilities and the configured extras.
// Licenses need no analyzer: the packages have them.
func (c Config) option() artifact.Option {
	disabled := []analyzer.Type{
		analyzer.TypeApkCommand, analyzer.TypeLicenseFile, analyzer.TypeExecutable,
		analyzer.TypeRpmArchive,
	}
	disabled = append(disabled, analyzer.TypeLockfiles...)
	option := artifact.Option{
		Parallel:          parallelFiles,
		NoProgress:        true,
		Offline:           true,
		DetectionPriority: ftypes.PriorityPrecise,
	}
	if !c.looksFor(pratique.ExtraSecrets) {
		disabled = append(disabled, analyzer.TypeSecret, analyzer.TypeImageConfigSecret)
	}
	if c.looksFor(pratique.ExtraMisconfigurations) {
		// Terraform's parser fetches modules from URLs in the image.
		disabled = append(disabled, analyzer.TypeTerraform, analyzer.TypeTerraformPlanJSON,
			analyzer.TypeTerraformPlanSnapshot)
		option.MisconfScannerOption = misconf.ScannerOption{Namespaces: rego.BuiltinNamespaces()}
	} else {
		disabled = append(disabled, analyzer.TypeConfigFiles...)
		disabled = append(disabled, analyzer.TypeHistoryDockerfile)
	}
	option.DisabledAnalyzers = disabled
	return option
}

// Fingerprint identifies what the analysis of a layer depends on: the version of Trivy, its
// analyzers and their versions, and the options. It is Trivy's own key without the layer. A
// [Scanner] must not be given analyses with another fingerprint, or those made with another Java
// database.
func (c Config) Fingerprint() (string, error) {
	const op = "name the analyzer"
	option := c.option()
	group, err := analyzer.NewAnalyzerGroup(option.AnalyzerOptions())
	if err != nil {
		return "", pratique.Wrap(pratique.Internal, op, "", err)
	}
	handlers, err := handler.NewManager(option)
	if err != nil {
		return "", pratique.Wrap(pratique.Internal, op, "", err)
	}
	// Our own version: it changes when cached analyses change, or have to be made again.
	const layout = 3
	key, err := cache.CalcKey("", layout, group.AnalyzerVersions(), handlers.Versions(), option)
	if err != nil {
		return "", pratique.Wrap(pratique.Internal, op, "", err)
	}
	return "trivy " + Tool().Version + " " + key, nil
}
