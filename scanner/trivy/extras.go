//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"context"
	"slices"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing/expression"
	"github.com/aquasecurity/trivy/pkg/scan/local"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/aquasecurity/trivy/pkg/vulnerability"

	"github.com/pratique-dev/pratique"
)

// scannerOf returns Trivy's name for a kind of extra findings.
func scannerOf(s pratique.ExtraKind) types.Scanner {
	switch s {
	case pratique.ExtraSecrets:
		return types.SecretScanner
	case pratique.ExtraMisconfigurations:
		return types.MisconfigScanner
	case pratique.ExtraLicenses:
		return types.LicenseScanner
	default:
		return types.NoneScanner
	}
}

// extras returns the extra findings of an analyzed image; nil if none are configured.
func (s *Scanner) extras(ctx context.Context, detail ftypes.ArtifactDetail) (*pratique.Extras, error) {
	wanted := s.cfg.extras()
	if len(wanted) == 0 {
		return nil, nil
	}
	out := &pratique.Extras{
		Scanner: Tool(), Kinds: wanted,
		Secrets: []pratique.Secret{}, Misconfigurations: []pratique.Misconfiguration{},
		Licenses: []pratique.License{},
	}
	options := types.ScanOptions{
		PkgTypes: types.PkgTypes, PkgRelationships: ftypes.Relationships,
		LicenseCategories: licenseCategories(),
	}
	for _, section := range wanted {
		options.Scanners = append(options.Scanners, scannerOf(section))
	}
	// Trivy removes development packages from them
	detail.Applications = slices.Clone(detail.Applications)
	// No database is needed: the scanners do not include vulnerabilities.
	service := local.NewService(fixedApplier{detail}, nil, nil, vulnerability.Client{})
	response, err := service.Scan(ctx, "", "", nil, options)
	if err != nil {
		return nil, err
	}
	results := response.Results
	if err := filter(ctx, results); err != nil {
		return nil, err
	}
	for _, r := range results {
		if err := s.redactor.add(out, r); err != nil {
			return nil, err
		}
	}
	sortExtras(out)
	return out, nil
}

// fixedApplier returns layers that were merged before.
type fixedApplier struct{ detail ftypes.ArtifactDetail }

func (a fixedApplier) ApplyLayers(context.Context, string, []string) (ftypes.ArtifactDetail, error) {
	return a.detail, nil
}

// licenseCategories returns the defaults of the command line.
func licenseCategories() map[ftypes.LicenseCategory][]string {
	return map[ftypes.LicenseCategory][]string{
		ftypes.CategoryForbidden:    expression.ForbiddenLicenses,
		ftypes.CategoryRestricted:   expression.RestrictedLicenses,
		ftypes.CategoryReciprocal:   expression.ReciprocalLicenses,
		ftypes.CategoryNotice:       expression.NoticeLicenses,
		ftypes.CategoryPermissive:   expression.PermissiveLicenses,
		ftypes.CategoryUnencumbered: expression.UnencumberedLicenses,
	}
}

// add converts a result of Trivy, without quotes from the image. The command that made a layer is
// left out for that reason, too.
func (h redactor) add(out *pratique.Extras, r types.Result) error {
	for _, f := range r.Secrets {
		severity, err := severityOf(f.Severity)
		if err != nil {
			return err
		}
		out.Secrets = append(out.Secrets, pratique.Secret{
			Rule: f.RuleID, Category: string(f.Category), Title: f.Title, Severity: severity,
			Path:      r.Target,
			StartLine: f.StartLine, EndLine: f.EndLine, Match: f.Match, Layer: toLayer(f.Layer),
		})
	}
	for _, f := range r.Misconfigurations {
		severity, err := severityOf(f.Severity)
		if err != nil {
			return err
		}
		out.Misconfigurations = append(out.Misconfigurations, pratique.Misconfiguration{
			ID: f.ID, Type: string(r.Type), Title: f.Title, Description: f.Description,
			Message:    h.message(f.ID, f.Message, f.Title),
			Resolution: f.Resolution, Severity: severity, PrimaryURL: f.PrimaryURL, Path: r.Target,
			StartLine: f.CauseMetadata.StartLine, EndLine: f.CauseMetadata.EndLine,
			Layer: toLayer(f.Layer),
		})
	}
	for _, f := range r.Licenses {
		severity, err := severityOf(f.Severity)
		if err != nil {
			return err
		}
		out.Licenses = append(out.Licenses, pratique.License{
			Name: f.Name, Category: string(f.Category), Severity: severity, Package: f.PkgName,
			Path: f.FilePath,
		})
	}
	return nil
}

func severityOf(name string) (pratique.Severity, error) {
	return pratique.ParseSeverity(cmp.Or(name, dbtypes.SeverityUnknown.String()))
}

// sortExtras orders findings by severity, and makes equal findings equal bytes.
func sortExtras(s *pratique.Extras) {
	slices.SortStableFunc(s.Secrets, func(a, b pratique.Secret) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.StartLine, b.StartLine),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.EndLine, b.EndLine), cmp.Compare(a.Match, b.Match))
	})
	slices.SortStableFunc(s.Misconfigurations, func(a, b pratique.Misconfiguration) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.StartLine, b.StartLine), cmp.Compare(a.Message, b.Message),
			cmp.Compare(a.EndLine, b.EndLine))
	})
	slices.SortStableFunc(s.Licenses, func(a, b pratique.License) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Category, b.Category))
	})
}
