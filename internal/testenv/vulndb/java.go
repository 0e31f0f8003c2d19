package vulndb

import (
	"context"
	"crypto/sha1"
	"errors"
	"time"

	javadb "github.com/aquasecurity/trivy-java-db/pkg/db"
	javatypes "github.com/aquasecurity/trivy-java-db/pkg/types"
	_ "modernc.org/sqlite" // the driver that it uses
)

// Jar is a file that the Java database knows.
type Jar struct {
	Group, Artifact, Version string
	Content                  []byte
}

// WriteJava makes a Java database of the jars in dir: trivy-java.db and metadata.json.
func WriteJava(dir string, updatedAt, nextUpdate time.Time, jars ...Jar) error {
	db, err := javadb.New(dir)
	if err != nil {
		return err
	}
	err = db.Init()
	for _, j := range jars {
		sum := sha1.Sum(j.Content)
		err = errors.Join(err, db.InsertIndexes([]javatypes.Index{{
			GroupID: j.Group, ArtifactID: j.Artifact, Version: j.Version, SHA1: sum[:],
			ArchiveType: javatypes.JarType,
		}}))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	meta := javadb.NewMetadata(dir)
	return meta.Update(javadb.Metadata{Version: javadb.SchemaVersion, UpdatedAt: updatedAt,
		NextUpdate: nextUpdate})
}

// PushJava is [Push] for the Java database in dir.
func PushJava(ctx context.Context, dir, ref string) error {
	return push(ctx, dir, ref, "trivy-java.db", "application/vnd.aquasec.trivy.javadb.layer.v1.tar+gzip")
}

// Pack is the layer of the artifact that [Push] publishes.
func Pack(dir string) ([]byte, error) { return pack(dir, "trivy.db") }
