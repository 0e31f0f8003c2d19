package settings

import (
	"cmp"
	"runtime"
	"time"

	"github.com/pratique-dev/pratique/internal/config"
)

// Defaults of the fields that a configuration leaves out.
const (
	defaultDataDir       = "pratique-data"
	DefaultListen        = "127.0.0.1:8080"
	DefaultMemory        = 2 << 30
	DefaultLayerStore    = 20 << 30
	DefaultAnalysisStore = 2 << 30
	DefaultLedgerSize    = 8 << 30
	DefaultSweepInterval = time.Hour
	QueueRoom            = 2 << 30 // for the work queues beside the ledger
	DefaultVerdictAge    = 24 * time.Hour
	DefaultTimeout       = 10 * time.Minute
	defaultDBInterval    = 6 * time.Hour
	defaultDBAge         = 72 * time.Hour
	maxDefaultWorkers    = 4
)

// WithDefaults fills in what the configuration leaves out and more than one part reads.
func WithDefaults(c config.Config) config.Config {
	if c.DataDir == "" {
		c.DataDir = defaultDataDir
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	c.Workers.Inspect = cmp.Or(c.Workers.Inspect, min(runtime.NumCPU(), maxDefaultWorkers))
	c.Workers.Attest = cmp.Or(c.Workers.Attest, c.Workers.Inspect)
	if len(c.Database.Sources) == 0 {
		c.Database.Sources = []string{"mirror.gcr.io/aquasec/trivy-db:2",
			"ghcr.io/aquasecurity/trivy-db:2"}
	}
	if c.Database.Offline {
		c.Database.Sources = nil
	}
	return c
}
