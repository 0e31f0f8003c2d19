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

// parallelFiles is the number of files of one layer, and of layers, that Trivy looks at together: its default.
const parallelFiles = 5

func (c Config) looksFor(s pratique.ExtraKind) bool { return slices.Contains(c.Extras, s) }

// extras returns the extras that are looked for, in the order of [pratique.ExtraKinds].
func (c Config) extras() []pratique.ExtraKind {
	return slices.DeleteFunc(pratique.ExtraKinds(), func(s pratique.ExtraKind) bool { return !c.looksFor(s) })
}

// option is what the command line's image scan for vulnerabilities and the extras amounts to. Licenses need
// no analyzer more: they stand in the packages.
func (c Config) option() artifact.Option {
	disabled := []analyzer.Type{
		analyzer.TypeApkCommand, analyzer.TypeLicenseFile, analyzer.TypeExecutable, analyzer.TypeRpmArchive,
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
		// Terraform's parser fetches modules from wherever a file in the image says.
		disabled = append(disabled, analyzer.TypeTerraform, analyzer.TypeTerraformPlanJSON, analyzer.TypeTerraformPlanSnapshot)
		option.MisconfScannerOption = misconf.ScannerOption{Namespaces: rego.BuiltinNamespaces()}
	} else {
		disabled = append(disabled, analyzer.TypeConfigFiles...)
		disabled = append(disabled, analyzer.TypeHistoryDockerfile)
	}
	option.DisabledAnalyzers = disabled
	return option
}

// Fingerprint names what an analysis of a layer hangs on: this version of Trivy, its analyzers and their versions,
// and the options that decide what they look for. It is Trivy's own key, less the layer. An analysis that
// was made for another fingerprint must not be given to a [Scanner], nor one that was made with another Java database.
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
	// The number is ours: it changes when what is kept does, or when it has to be made again.
	const layout = 3
	key, err := cache.CalcKey("", layout, group.AnalyzerVersions(), handlers.Versions(), option)
	if err != nil {
		return "", pratique.Wrap(pratique.Internal, op, "", err)
	}
	return "trivy " + Tool().Version + " " + key, nil
}
