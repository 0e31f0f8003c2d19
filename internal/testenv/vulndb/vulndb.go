// Package vulndb makes a small vulnerability database in Trivy's format, with Trivy's own library,
// from an excerpt of real advisories: for the demo and for tests.
package vulndb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	ggcrtypes "github.com/google/go-containerregistry/pkg/v1/types"
	bolt "go.etcd.io/bbolt"
	"go.yaml.in/yaml/v3"
)

//go:embed advisories.yaml
var excerpt []byte

// Database is the content of a vulnerability database.
type Database struct {
	UpdatedAt  time.Time  `yaml:"updatedAt"`
	NextUpdate time.Time  `yaml:"nextUpdate"`
	Sources    []Source   `yaml:"sources"`
	Advisories []Advisory `yaml:"advisories"`
}

// Source is where the advisories of one of Trivy's buckets come from.
type Source struct {
	Bucket string `yaml:"bucket"`
	ID     string `yaml:"id"`
	Name   string `yaml:"name"`
	URL    string `yaml:"url"`
}

// Advisory is one vulnerability of one package.
type Advisory struct {
	ID         string   `yaml:"id"`
	Bucket     string   `yaml:"bucket"`
	Package    string   `yaml:"package"`
	Fixed      string   `yaml:"fixed"`
	Vulnerable []string `yaml:"vulnerable"`
	Patched    []string `yaml:"patched"`
	Title      string   `yaml:"title"`
	Severity   string   `yaml:"severity"`
	CVSS       struct {
		Vector string  `yaml:"vector"`
		Score  float64 `yaml:"score"`
	} `yaml:"cvss"`
	Published time.Time `yaml:"published"`
}

// Excerpt returns the advisories that travel with the source.
func Excerpt() (Database, error) {
	var d Database
	return d, yaml.Unmarshal(excerpt, &d)
}

// Write makes trivy.db and metadata.json in dir. It uses Trivy's package-global handle, so only one
// Write may run at a time in a process, and none while that handle is open for scanning.
func (d Database) Write(dir string) error {
	if err := db.Init(dir, db.WithBoltOptions(&bolt.Options{NoSync: true})); err != nil {
		return fmt.Errorf("make vulnerability database: %w", err)
	}
	config := db.Config{}
	err := config.BatchUpdate(func(tx *bolt.Tx) error { return d.put(config, tx) })
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("make vulnerability database: %w", err)
	}
	return metadata.NewClient(dir).Update(metadata.Metadata{Version: db.SchemaVersion,
		UpdatedAt: d.UpdatedAt, NextUpdate: d.NextUpdate})
}

func (d Database) put(config db.Config, tx *bolt.Tx) error {
	for _, s := range d.Sources {
		source := types.DataSource{ID: types.SourceID(s.ID), Name: s.Name, URL: s.URL}
		if err := config.PutDataSource(tx, s.Bucket, source); err != nil {
			return err
		}
	}
	for _, a := range d.Advisories {
		severity, err := types.NewSeverity(a.Severity)
		if err != nil {
			return fmt.Errorf("%s: %w", a.ID, err)
		}
		advisory := types.Advisory{FixedVersion: a.Fixed, VulnerableVersions: a.Vulnerable,
			PatchedVersions: a.Patched}
		if err := config.PutAdvisory(tx, []string{a.Bucket, a.Package}, a.ID, advisory); err != nil {
			return err
		}
		published := a.Published
		if err := config.PutVulnerability(tx, a.ID, types.Vulnerability{
			Title: a.Title, Severity: a.Severity, PublishedDate: &published,
			VendorSeverity: types.VendorSeverity{"nvd": severity},
			CVSS:           types.VendorCVSS{"nvd": {V3Vector: a.CVSS.Vector, V3Score: a.CVSS.Score}},
			References:     []string{"https://nvd.nist.gov/vuln/detail/" + a.ID},
		}); err != nil {
			return err
		}
	}
	return nil
}

const (
	layerType  = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
	configType = "application/vnd.aquasec.trivy.config.v1+json"
)

// Push publishes the database in dir as the OCI artifact that Trivy downloads, under ref.
func Push(ctx context.Context, dir, ref string) error {
	return push(ctx, dir, ref, "trivy.db", layerType)
}

func push(ctx context.Context, dir, ref, file, layerType string) error {
	target, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	layer, err := pack(dir, file)
	if err != nil {
		return err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, ggcrtypes.OCIManifestSchema1),
		configType)
	if image, err = mutate.AppendLayers(image,
		static.NewLayer(layer, ggcrtypes.MediaType(layerType))); err != nil {
		return err
	}
	return remote.Write(target, image, remote.WithContext(ctx))
}

func pack(dir, database string) ([]byte, error) {
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	for _, file := range []string{database, "metadata.json"} {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		if err := archive.WriteHeader(&tar.Header{Name: file, Mode: 0o644,
			Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zipped.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
