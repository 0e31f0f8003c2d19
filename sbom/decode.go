package sbom

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// Summary is what Pratique reads of an SBOM, in either format.
type Summary struct {
	// Version is that of the format: "SPDX-2.3", "1.6".
	Version string
	// ID identifies the document: the SPDX namespace or the CycloneDX serial number.
	ID string
	// Name is what the document describes.
	Name    string
	Created time.Time
	// Packages are sorted by name, version and PURL, without the image itself, its operating system
	// and its files.
	Packages []Package
}

// Package is a package in an SBOM.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
}

// DecodeSPDX reads SPDX 2 as JSON. The error is Corrupt.
func DecodeSPDX(doc []byte) (Summary, error) {
	const op = "decode spdx"
	var d struct {
		SPDXVersion       string `json:"spdxVersion"`
		Name              string `json:"name"`
		DocumentNamespace string `json:"documentNamespace"`
		CreationInfo      struct {
			Created time.Time `json:"created"`
		} `json:"creationInfo"`
		Packages []struct {
			Name           string `json:"name"`
			VersionInfo    string `json:"versionInfo"`
			PrimaryPurpose string `json:"primaryPackagePurpose"`
			ExternalRefs   []struct {
				Type    string `json:"referenceType"`
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return Summary{}, pratique.Wrap(pratique.Corrupt, op, "", err)
	}
	if d.SPDXVersion == "" {
		return Summary{}, pratique.Wrap(pratique.Corrupt, op, "",
			errors.New("no spdxVersion: this is not SPDX 2"))
	}
	s := Summary{Version: d.SPDXVersion, ID: d.DocumentNamespace, Name: d.Name,
		Created: d.CreationInfo.Created}
	for _, p := range d.Packages {
		if p.PrimaryPurpose == "CONTAINER" || p.PrimaryPurpose == "OPERATING-SYSTEM" {
			continue
		}
		out := Package{Name: p.Name, Version: p.VersionInfo}
		for _, r := range p.ExternalRefs {
			if r.Type == "purl" {
				out.PURL = r.Locator
			}
		}
		s.Packages = append(s.Packages, out)
	}
	sortPackages(s.Packages)
	return s, nil
}

// DecodeCycloneDX reads CycloneDX as JSON. The error is Corrupt.
func DecodeCycloneDX(doc []byte) (Summary, error) {
	const op = "decode cyclonedx"
	var d struct {
		BOMFormat    string `json:"bomFormat"`
		SpecVersion  string `json:"specVersion"`
		SerialNumber string `json:"serialNumber"`
		Metadata     struct {
			Timestamp time.Time `json:"timestamp"`
			Component struct {
				Name string `json:"name"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct {
			Type    string `json:"type"`
			Name    string `json:"name"`
			Version string `json:"version"`
			PURL    string `json:"purl"`
		} `json:"components"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return Summary{}, pratique.Wrap(pratique.Corrupt, op, "", err)
	}
	if d.BOMFormat != "CycloneDX" {
		return Summary{}, pratique.Wrap(pratique.Corrupt, op, "",
			errors.New("bomFormat is not CycloneDX"))
	}
	s := Summary{Version: d.SpecVersion, ID: d.SerialNumber, Name: d.Metadata.Component.Name,
		Created: d.Metadata.Timestamp}
	for _, c := range d.Components {
		if c.Type == "file" || c.Type == "operating-system" {
			continue
		}
		s.Packages = append(s.Packages, Package{Name: c.Name, Version: c.Version, PURL: c.PURL})
	}
	sortPackages(s.Packages)
	return s, nil
}

func sortPackages(packages []Package) {
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
			cmp.Compare(a.PURL, b.PURL))
	})
}
