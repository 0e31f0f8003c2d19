//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"sort"
	"strings"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/bucket"
	"github.com/aquasecurity/trivy/pkg/clock"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/alma"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/alpine"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/amazon"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/azure"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/bottlerocket"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/chainguard"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/debian"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/driver"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/echo"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/minimos"
	oraclelinux "github.com/aquasecurity/trivy/pkg/detector/ospkg/oracle"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/photon"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/redhat"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/rocky"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/suse"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/ubuntu"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/wolfi"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
)

// release is a release of an operating system that Trivy matches.
type release struct {
	family ftypes.OSType
	driver driver.Driver
	// buckets are the buckets of its advisories; the release is supported if one of them exists.
	buckets []string
	// versions are the versions that all have to be supported by the vendor.
	versions []string
}

// releaseOf returns what Trivy's driver of the family uses; ok is false if there is no driver, or
// one that does nothing, as for CoreOS.
func releaseOf(os pratique.OS) (r release, ok bool) {
	name := os.Name
	at := func(d driver.Driver, buckets ...bucket.Bucket) (release, bool) {
		r := release{family: ftypes.OSType(os.Family), driver: d, versions: []string{name}}
		for _, b := range buckets {
			r.buckets = append(r.buckets, b.Name())
		}
		return r, true
	}
	major, minor := version.Major(name), version.Minor(name)
	switch ftypes.OSType(os.Family) {
	case ftypes.Alma:
		return at(alma.NewScanner(), bucket.NewAlma(major))
	case ftypes.Alpine:
		stream := alpineStream(os)
		r, ok := at(alpine.NewScanner(), bucket.NewAlpine(stream))
		if stream != minor {
			r.versions = append(r.versions, stream)
		}
		return r, ok
	case ftypes.Amazon:
		if strings.TrimSpace(name) == "" {
			return release{}, false // Trivy's driver requires a version
		}
		return at(amazon.NewScanner(), bucket.NewAmazon(amazonRelease(name)))
	case ftypes.Azure:
		return at(azure.NewAzureScanner(), bucket.NewAzureLinux(minor))
	case ftypes.CBLMariner:
		return at(azure.NewMarinerScanner(), bucket.NewMariner(minor))
	case ftypes.Bottlerocket:
		return at(bottlerocket.NewScanner(), bucket.NewBottlerocket())
	case ftypes.Chainguard:
		return at(chainguard.NewScanner(), bucket.NewChainguard(""))
	case ftypes.Debian:
		return at(debian.NewScanner(), bucket.NewDebian(major))
	case ftypes.Echo:
		return at(echo.NewScanner(), bucket.NewEcho(""))
	case ftypes.MinimOS:
		return at(minimos.NewScanner(), bucket.NewMinimOS(""))
	case ftypes.Oracle:
		return at(oraclelinux.NewScanner(), bucket.NewOracle(major))
	case ftypes.Photon:
		return at(photon.NewScanner(), bucket.NewPhoton(name))
	case ftypes.RedHat, ftypes.CentOS:
		return at(redhat.NewScanner(), bucket.NewRedHat(""))
	case ftypes.Rocky:
		return at(rocky.NewScanner(), bucket.NewRocky(major))
	case ftypes.OpenSUSELeap:
		return at(suse.NewScanner(suse.OpenSUSE), bucket.NewOpenSUSE(name))
	case ftypes.OpenSUSETumbleweed:
		return at(suse.NewScanner(suse.OpenSUSETumbleweed), bucket.NewOpenSUSETumbleweed())
	case ftypes.SLES:
		return at(suse.NewScanner(suse.SUSEEnterpriseLinux), bucket.NewSUSELinuxEnterprise(name))
	case ftypes.SLEMicro:
		return at(suse.NewScanner(suse.SUSEEnterpriseLinuxMicro),
			bucket.NewSUSELinuxEnterpriseMicro(name))
	case ftypes.Ubuntu:
		if os.Extended {
			// While the release itself is supported, Trivy looks that up.
			plain := bucket.NewUbuntu(name)
			name += "-ESM"
			return at(ubuntu.NewScanner(), bucket.NewUbuntu(name), plain)
		}
		return at(ubuntu.NewScanner(), bucket.NewUbuntu(name))
	case ftypes.Wolfi:
		return at(wolfi.NewScanner(), bucket.NewWolfi(""))
	default:
		return release{}, false
	}
}

// alpineStream is the release of the packages: the repository's, if the image names one.
func alpineStream(os pratique.OS) string {
	stream := os.RepositoryRelease
	if strings.Count(stream, ".") > 1 {
		stream = stream[:strings.LastIndex(stream, ".")]
	}
	if stream == "" {
		return version.Minor(os.Name)
	}
	return stream
}

// amazonRelease treats everything except the later releases as the first one.
func amazonRelease(name string) string {
	switch major := version.Major(strings.Fields(name)[0]); major {
	case "2", "2022", "2023":
		return major
	default:
		return "1"
	}
}

// endOfLife returns the last second in which Trivy considers a release supported; zero if support
// never ends or the end is unknown. Trivy compares with a clock, so it is asked for different
// times.
func (r release) endOfLife(ctx context.Context) (first time.Time) {
	// Trivy uses the years 3000 and 9999 if the end is not announced.
	begin := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	never := time.Date(2900, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, v := range r.versions {
		supported := func(at time.Time) bool {
			return r.driver.IsSupportedVersion(clock.With(ctx, at), r.family, v)
		}
		if supported(never) {
			continue
		}
		after := func(seconds int) time.Time { return time.Unix(begin.Unix()+int64(seconds), 0).UTC() }
		end := after(sort.Search(int(never.Unix()-begin.Unix()), func(n int) bool {
			return !supported(after(n))
		}))
		if first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}
