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

// Some suppliers patch packages of others: root.io, Seal Security, RapidFort. Trivy tells their packages by what these say of
// themselves, a version or a name, and looks them up among what the supplier publishes, in place of what the distribution or
// the ecosystem does; one such package of a distribution decides for all of them. Anybody can say so, and where the supplier
// publishes nothing, nothing is found. So no supplier is ever chosen. What has the name of the original is evaluated as that;
// what a supplier renamed is not matched.

// ownDriver takes the place of Trivy's suppliers: it is asked before them, and gives the driver of the distribution.
func ownDriver(os ftypes.OS, _ []ftypes.Package) driver.Driver {
	r, ok := releaseOf(pratique.OS{Family: string(os.Family), Name: os.Name})
	if !ok {
		return nil
	}
	return r.driver
}

// disableSuppliers ends that Trivy chooses one for packages of applications, in this process.
func disableSuppliers() { library.DeregisterSupplier(string(ftypes.SupplierSeal)) }

// renamedBySupplier says whether a package of an application has a name that Seal gives to what it patched.
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

// renamedBySupplierOS says the same of a package of a distribution, as Trivy does.
func renamedBySupplierOS(family ftypes.OSType, p pratique.Package) bool {
	return seal.Supplier(ftypes.OS{Family: family}, []ftypes.Package{{Name: p.Name, SrcName: p.SrcName}}) != nil
}
