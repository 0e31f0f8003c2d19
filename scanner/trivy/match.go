//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	osdetector "github.com/aquasecurity/trivy/pkg/detector/ospkg"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/result"
	"github.com/aquasecurity/trivy/pkg/scan/langpkg"
	"github.com/aquasecurity/trivy/pkg/scan/local"
	"github.com/aquasecurity/trivy/pkg/scan/ospkg"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/aquasecurity/trivy/pkg/vulnerability"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Match implements [scanner.Matcher]. If the database is missing, damaged, empty or of another
// schema the error is Unavailable, because the next one may be valid. If matching fails it is
// Internal.
func (s *Scanner) Match(ctx context.Context, inv pratique.Inventory,
	db scanner.DatabaseDir) (pratique.Report, error) {
	const op = "match inventory"
	s.mu.Lock()
	defer s.mu.Unlock()
	digest, err := scanner.InventoryDigest(inv)
	if err != nil {
		return pratique.Report{}, err
	}
	if err := s.handle.use(db); err != nil {
		return pratique.Report{}, pratique.Wrap(pratique.Unavailable, op, digest.String(), err)
	}
	var results types.Results
	var covered pratique.Coverage
	err = recoverPanic(func() (err error) {
		if covered, err = coverage(ctx, inv); err != nil {
			return err
		}
		known, err := matchable(inv)
		if err == nil {
			results, err = match(ctx, withoutThirdParty(toTarget(known)))
		}
		return err
	})
	if ctx.Err() != nil {
		return pratique.Report{}, pratique.Wrap(pratique.Unavailable, op, digest.String(), ctx.Err())
	}
	if err != nil {
		err = errors.Join(err, s.handle.close())
		return pratique.Report{}, pratique.Wrap(pratique.Internal, op, digest.String(), err)
	}
	now := s.now().UTC()
	covered.OS.EndOfLife = covered.OS.EndedAt(now)
	report := pratique.Report{
		Scanner: Tool(), Inventory: digest, Database: db.Database, ScannedAt: now,
		DatabaseAgeSeconds: int64(db.Age(now) / time.Second), OS: inv.OS, Coverage: &covered,
		Findings: []pratique.Finding{},
	}
	for _, r := range results {
		for _, v := range r.Vulnerabilities {
			f, err := toFinding(r, v)
			if err != nil {
				return pratique.Report{}, pratique.Wrap(pratique.Internal, op, digest.String(), err)
			}
			report.Findings = append(report.Findings, f)
		}
	}
	scanner.SortFindings(report.Findings)
	return report, nil
}

// withoutThirdParty makes Trivy match packages that claim not to be the distribution's. Trivy
// leaves them out, but the claim is not proven: a package with the name of one of the
// distribution's is matched as that.
func withoutThirdParty(target types.ScanTarget) types.ScanTarget {
	if target.OS.Family == ftypes.Amazon && strings.TrimSpace(target.OS.Name) == "" {
		target.OS = ftypes.OS{} // Trivy would fail; the coverage says that nothing was matched
	}
	for i := range target.Packages {
		target.Packages[i].Repository.Class = ftypes.RepositoryClassUnknown
	}
	return target
}

// match does what Trivy's command line does between merging layers and reporting.
func match(ctx context.Context, target types.ScanTarget) (types.Results, error) {
	service := local.NewService(nil, ospkg.NewScanner(osdetector.WithSupplier(ownDriver)),
		langpkg.NewScanner(), vulnerability.NewClient(trivydb.Config{}))
	results, _, err := service.ScanTarget(ctx, target, types.ScanOptions{
		PkgTypes:            types.PkgTypes,
		PkgRelationships:    ftypes.Relationships,
		Scanners:            types.Scanners{types.VulnerabilityScanner},
		VulnSeveritySources: []dbtypes.SourceID{"auto"},
	})
	if err != nil {
		return nil, err
	}
	return results, filter(ctx, results)
}

// filter keeps all severities; it removes duplicates, and checks that passed.
func filter(ctx context.Context, results types.Results) error {
	all := result.FilterOptions{Severities: []dbtypes.Severity{
		dbtypes.SeverityUnknown, dbtypes.SeverityLow, dbtypes.SeverityMedium, dbtypes.SeverityHigh,
		dbtypes.SeverityCritical,
	}}
	for i := range results {
		if err := result.FilterResult(ctx, &results[i], result.IgnoreConfig{}, all); err != nil {
			return err
		}
	}
	return nil
}

func toFinding(r types.Result, v types.DetectedVulnerability) (pratique.Finding, error) {
	severity, err := pratique.ParseSeverity(cmp.Or(v.Severity, dbtypes.SeverityUnknown.String())) //nolint:staticcheck // the severity that Trivy decided on, which is wanted here
	if err != nil {
		return pratique.Finding{}, err
	}
	f := pratique.Finding{
		ID: v.VulnerabilityID, Aliases: v.VendorIDs,
		Package: v.PkgName, PackageID: v.PkgID, PURL: v.PkgIdentifier.BOMRef, UID: v.PkgIdentifier.UID,
		Installed: v.InstalledVersion, Fixed: v.FixedVersion, Status: v.Status.String(),
		Severity: severity, SeveritySource: string(v.SeveritySource),
		Class: pratique.PackageClass(r.Class), Type: string(r.Type), Target: target(r),
		Path:  pathOf(r, v),
		Title: v.Title, Description: v.Description, PrimaryURL: v.PrimaryURL,
		References: v.References, CWEs: v.CweIDs,
		CVSS: toCVSS(v.CVSS), Published: toTime(v.PublishedDate),
		Modified: toTime(v.LastModifiedDate), Layer: toLayer(v.Layer),
	}
	if v.DataSource != nil {
		f.DataSource = pratique.DataSource{ID: string(v.DataSource.ID), Name: v.DataSource.Name,
			URL: v.DataSource.URL}
	}
	return f, nil
}

// target returns Trivy's name of a result without the image's name, which an inventory does not
// have.
func target(r types.Result) string {
	if r.Class == types.ClassOSPkg {
		return strings.Trim(strings.TrimSpace(r.Target), "()")
	}
	return r.Target
}

// pathOf returns the file of a finding: the package's own, or that of its list.
func pathOf(r types.Result, v types.DetectedVulnerability) string {
	if v.PkgPath != "" || r.Class == types.ClassOSPkg || r.Target == langpkg.PkgTargets[r.Type] {
		return v.PkgPath
	}
	return r.Target
}

func toCVSS(in dbtypes.VendorCVSS) map[string]pratique.CVSS {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]pratique.CVSS, len(in))
	for source, c := range in {
		out[string(source)] = pratique.CVSS(c)
	}
	return out
}

func toTime(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
