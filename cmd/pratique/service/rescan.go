package service

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/pratique-dev/pratique/scanner/rescan"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// lookEvery is how often a new database, or an image that became stale, is looked for.
const lookEvery = time.Second

func (s *Service) openInventory(ctx context.Context) error {
	open := func(path string) (*inventory.Projection, error) {
		return inventory.Open(path, inventory.Config{Documents: s.Blobs, Keys: database.Keys})
	}
	var err error
	if s.Inventory, err = openProjection(ctx, s, "inventory.db", open, inventory.Remove); err != nil {
		return err
	}
	s.closers = append(s.closers, s.Inventory.Close)
	return nil
}

// Rescanner is the part of the inspect role that matches again when the database changes. It takes half of the
// children at most, and they take a push before its next batch.
func (s *Service) Rescanner() *pipeline.Rescan {
	return &pipeline.Rescan{
		Base: s.base(pratique.RoleInspect), Lists: s.Inventory, Images: s.Inventory, Matcher: s.Matcher, Facts: adapter.Facts{Ledger: s.Ledger.For(pratique.RoleInspect), Broker: s.Broker},
		Batches: s.Broker, Database: s.CurrentDatabase, Ready: s.remembering.Ready, Again: inspector.Again, Requests: max(1, s.conf.Inspect.Workers/2),
		Every: lookEvery, Log: s.log, Lookup: rescan.Lookup{Concerned: database.Concerned, Comparable: database.Plain},
		Diff: func(ctx context.Context, from pratique.Digest, to scanner.DatabaseDir) (rescan.Delta, error) {
			return database.Diff(ctx, filepath.Join(s.path("database"), from.Hex()), to.Dir)
		},
	}
}

func (s *Service) CurrentDatabase() (scanner.DatabaseDir, error) {
	g, err := s.Database.Current()
	return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
}

// keptDatabase is the one that the next is compared to; it must stay on disk until then.
func (s *Service) keptDatabase() []pratique.Digest {
	if s.Inventory == nil {
		return nil
	}
	r, err := s.Inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	return []pratique.Digest{r.To.Digest}
}

// report is a report as the API gives it: whole, and with the time of the fact that names it.
func (s *Service) report(ctx context.Context, of pratique.Scanned) ([]byte, error) {
	r, err := scanner.LoadReport(ctx, s.Blobs, of)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	return raw, pratique.Wrap(pratique.Internal, "encode report", of.Report.String(), err)
}

// mostAside bounds the images that the status names; a metric counts all.
const mostAside = 20

// aboutRescan is the rescanning for the service's status.
func (s *Service) aboutRescan() *api.Rescan {
	r, err := s.Inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	out := &api.Rescan{Rescan: r}
	out.Aside, _ = s.Inventory.Aside(mostAside) // the counts are there
	return out
}

func (s *Service) rescanFigures(context.Context) (telemetry.Rescan, error) {
	r, err := s.Inventory.Rescan()
	if err != nil {
		return telemetry.Rescan{}, err
	}
	f := telemetry.Rescan{Rescan: r}
	if !r.StartedAt.IsZero() && r.FinishedAt.IsZero() {
		f.Running = s.age(r.StartedAt)
	}
	// One that cannot begin is as much behind as one that does not end.
	if db, err := s.CurrentDatabase(); err == nil && db.Digest != r.To.Digest {
		since := db.DownloadedAt
		if since.IsZero() {
			since = db.UpdatedAt
		}
		f.Running = max(f.Running, s.age(since))
	}
	return f, nil
}
