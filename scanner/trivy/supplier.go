//go:build goexperiment.jsonv2

package trivy

import (
	"strings"

	"github.com/aquasecurity/trivy-db/pkg/ecosystem"
	"github.com/aquasecurity/trivy/pkg/detector/library"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/driver"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/seal"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
)

// Some suppliers patch packages of others: root.io, Seal Security, RapidFort. Trivy recognizes such
// packages by version or name, and uses the supplier's advisories instead of those of the
// distribution or ecosystem; one such package of a distribution decides for all. Anybody can claim
// that, and without advisories nothing is found. So no supplier is ever chosen. A package with the
// original name is matched as the original; one that a supplier renamed is not matched.

// ownDriver is called before Trivy's suppliers, and returns the driver of the distribution.
func ownDriver(os ftypes.OS, _ []ftypes.Package) driver.Driver {
	r, ok := releaseOf(pratique.OS{Family: string(os.Family), Name: os.Name})
	if !ok {
		return nil
	}
	return r.driver
}

// disableSuppliers keeps Trivy from choosing a supplier for packages of applications, in this
// process.
func disableSuppliers() { library.DeregisterSupplier(string(ftypes.SupplierSeal)) }

// renamedBySupplier reports whether a package of an application has a name that Seal gives to
// patched packages.
func renamedBySupplier(eco ecosystem.Type, name string) bool {
	switch eco {
	case ecosystem.Maven:
		rest, ok := strings.CutPrefix(name, "seal.sp")
		return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
	case ecosystem.Pip, ecosystem.RubyGems:
		return strings.HasPrefix(name, "seal-")
	case ecosystem.Npm:
		return strings.HasPrefix(name, "@seal-security/")
	case ecosystem.Go:
		return strings.HasPrefix(name, "sealsecurity.io/")
	default:
		return false
	}
}

// renamedBySupplierOS reports the same for a package of a distribution, as Trivy does.
func renamedBySupplierOS(family ftypes.OSType, p pratique.Package) bool {
	return seal.Supplier(ftypes.OS{Family: family},
		[]ftypes.Package{{Name: p.Name, SrcName: p.SrcName}}) != nil
}
