package settings

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// The folders of the databases below dataDir.
const (
	DatabaseFolder = "database"
	JavaFolder     = "java-database"
)

// Database is for the vulnerability database, which is always there. The configuration has its
// defaults.
func Database(c config.Config, path func(string) string) database.Config {
	return database.Config{
		Sources: c.Database.Sources, Hosts: mirrors(c.Registries), CA: c.Database.CA.Value(),
		StaticDir: c.Database.Dir, Dir: path(DatabaseFolder),
		Interval: c.Database.Interval.Std(defaultDBInterval),
	}
}

// Java is for the Java database; ok says whether it is used.
func Java(c config.Config, path func(string) string) (cfg database.Config, ok bool) {
	cfg = database.Config{
		Kind: database.Java(), Sources: c.Database.Java.Sources, Hosts: mirrors(c.Registries),
		CA: c.Database.CA.Value(), Dir: path(JavaFolder),
		Interval: c.Database.Interval.Std(defaultDBInterval),
	}
	if ok = len(cfg.Sources) > 0; c.Database.Offline {
		cfg.Sources = nil
	}
	return cfg, ok
}

// Below returns where a file lies in a directory.
func Below(dir string) func(string) string {
	return func(name string) string { return filepath.Join(dir, name) }
}

// TooOld says that the policy denies everything with a vulnerability database; it is empty if it
// does not.
func TooOld(p config.Policy, d pratique.Database, now time.Time) string {
	params := Policy(p).Params
	limit := params.Limit(now)
	if d.Age(now) <= limit {
		return ""
	}
	return fmt.Sprintf("the vulnerability database is %s old, and every image is denied: %s is %s; pratique db update or db import brings a newer one",
		words.Age(d.Age(now)), params.LimitKey(now), words.Age(limit))
}
