package database

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite" // reads Java databases

	"github.com/pratique-dev/pratique"
)

// Kind is one of Trivy's databases; the zero value is the vulnerability database.
type Kind struct {
	name      string // in messages
	file      string // the database's own file, beside metadata.json
	layerType string
	schema    int
	// inspect opens the file as Trivy does, and refuses an empty one.
	inspect func(path string) error
}

// Vulnerabilities is the vulnerability database, which every match reads.
func Vulnerabilities() Kind {
	return Kind{
		name: "vulnerability database", file: databaseFile, layerType: layerType,
		schema: schemaVersion, inspect: inspectAdvisories,
	}
}

// Java is the database that identifies jars by their SHA-1, for analysis.
func Java() Kind {
	return Kind{
		name: "Java database", file: "trivy-java.db",
		layerType: "application/vnd.aquasec.trivy.javadb.layer.v1.tar+gzip",
		schema:    1, inspect: inspectJars,
	}
}

// String returns the name of the kind.
func (k Kind) String() string { return k.orDefault().name }

func (k Kind) orDefault() Kind {
	if k.file == "" {
		return Vulnerabilities()
	}
	return k
}

// op names an operation on a database of this kind.
func (k Kind) op(verb string) string { return verb + " " + k.name }

// metadata is Trivy's metadata.json.
type metadata struct {
	Version      int
	NextUpdate   time.Time
	UpdatedAt    time.Time
	DownloadedAt time.Time
}

// skew is how far the publisher's clock may be ahead of ours. A database from the future would
// never be too old.
const skew = time.Hour

func (k Kind) parseMetadata(raw []byte, now time.Time) (metadata, error) {
	op := k.op("read metadata of")
	var m metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, pratique.Errorf(pratique.Invalid, op, "%s: %w", metadataFile, err)
	}
	switch {
	case m.Version != k.schema:
		return m, pratique.Errorf(pratique.Invalid, op, "schema version %d, want %d", m.Version, k.schema)
	case m.UpdatedAt.IsZero():
		return m, pratique.Errorf(pratique.Invalid, op, "it does not say when the database was built")
	case m.UpdatedAt.After(now.Add(skew)):
		return m, pratique.Errorf(pratique.Invalid, op, "built at %s, which is in the future",
			m.UpdatedAt.Format(time.RFC3339))
	}
	return m, nil
}

// inspectAdvisories opens the file as a match does, and checks that it has a vulnerability: with an
// empty database every image would pass.
func inspectAdvisories(path string) (err error) {
	refuse := func(format string, args ...any) error {
		return pratique.Errorf(pratique.Invalid, "inspect vulnerability database", format, args...)
	}
	// bbolt maps the file; missing pages fault, and damaged ones panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = refuse("%s is damaged: %v", databaseFile, r)
		}
	}()
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
	if err != nil {
		return refuse("%s: %w", databaseFile, err)
	}
	defer func() { _ = db.Close() }() // only read
	return db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("vulnerability"))
		if bucket == nil {
			return refuse("%s has no vulnerabilities in it", databaseFile)
		}
		if key, _ := bucket.Cursor().First(); key == nil {
			return refuse("%s has no vulnerabilities in it", databaseFile)
		}
		return nil
	})
}

// inspectJars checks that the file has a jar.
func inspectJars(path string) error {
	// immutable: SQLite writes no files beside it, whatever its header says.
	db, err := sql.Open("sqlite",
		(&url.URL{Scheme: "file", Opaque: url.PathEscape(path),
			RawQuery: "mode=ro&immutable=1"}).String())
	if err == nil {
		defer func() { _ = db.Close() }() // only read
		var one int
		err = db.QueryRow("SELECT 1 FROM indices i JOIN artifacts a ON a.id = i.artifact_id LIMIT 1").Scan(&one)
	}
	if err != nil {
		return &pratique.Error{Op: "inspect Java database", Kind: pratique.Invalid,
			Err: fmt.Errorf("no jars can be read from it: %w", err)}
	}
	return nil
}
