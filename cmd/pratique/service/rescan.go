package service

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/pipeline/rescanning"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/pratique-dev/pratique/scanner/rescan"
	"github.com/pratique-dev/pratique/scanner/trivy/delta"
)

// lookEvery is how often a new database, or an image that became stale, is looked for.
const lookEvery = time.Second

func (i *Inspect) openInventory(ctx context.Context) (err error) {
	open := func(path string) (*inventory.Projection, error) {
		return inventory.Open(path, inventory.Config{Documents: i.Documents, Keys: delta.Keys})
	}
	i.Inventory, i.remembering, err = openProjection(ctx, i.Shared, "inventory", open, inventory.Remove)
	return err
}

// FollowLedger keeps the inventory up to date with the ledger. Documents may be out of reach for a
// while, and then it waits: pushes do not need it.
func (i *Inspect) FollowLedger(ctx context.Context) error {
	for {
		err := i.remembering.Follow(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			i.log.LogAttrs(ctx, slog.LevelWarn, "the inventory does not follow the ledger",
				slog.String("error", err.Error()))
		}
		const pause = 5 * time.Second
		if backoff.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// Rescanner is the part of the inspect role that matches again when the database changes. It takes
// half of the children at most, and they take a push before its next batch.
func (i *Inspect) Rescanner() *rescanning.Rescan {
	return &rescanning.Rescan{
		Process: i.process(), Documents: i.Documents, Lists: i.Inventory, Images: i.Inventory,
		Matcher: i.Matchers, Facts: adapter.Facts{Ledger: i.Ledger.For(pratique.RoleInspect),
			Broker: i.Broker},
		Batches: i.Broker, Database: i.CurrentDatabase, Ready: i.remembering.Ready,
		Isolated: inspector.AfterCrash, Requests: max(1, i.conf.Workers.Inspect/2),
		Interval: lookEvery, Log: i.log,
		Lookup: rescan.Lookup{AffectedPackages: delta.AffectedPackages, Comparable: delta.Comparable},
		Diff: func(ctx context.Context, from pratique.Digest,
			to scanner.DatabaseDir) (rescan.Delta, error) {
			return delta.Compare(ctx, filepath.Join(i.path("database"), from.Hex()), to.Dir)
		},
	}
}

// CurrentDatabase is the vulnerability database in use.
func (i *Inspect) CurrentDatabase() (scanner.DatabaseDir, error) {
	g, err := i.Database.Current()
	return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
}

// keptDatabase is the one that the next is compared to; it must stay on disk until then.
func (i *Inspect) keptDatabase() []pratique.Digest {
	if i.Inventory == nil {
		return nil
	}
	r, err := i.Inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	return []pratique.Digest{r.To.Digest}
}

// maxSetAside bounds the images that the status names; a metric counts all.
const maxSetAside = 20

// aboutRescan is the rescanning for the service's status.
func (i *Inspect) aboutRescan() *api.Rescan {
	r, err := i.Inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	out := &api.Rescan{Rescan: r}
	out.Aside, _ = i.Inventory.Aside(maxSetAside) // the counts are there
	return out
}

func (i *Inspect) rescanMetrics(context.Context) (telemetry.Rescan, error) {
	r, err := i.Inventory.Rescan()
	if err != nil {
		return telemetry.Rescan{}, err
	}
	f := telemetry.Rescan{Rescan: r}
	if !r.StartedAt.IsZero() && r.FinishedAt.IsZero() {
		f.Running = i.age(r.StartedAt)
	}
	// One that cannot begin is as much behind as one that does not end.
	if db, err := i.CurrentDatabase(); err == nil && db.Digest != r.To.Digest {
		since := db.DownloadedAt
		if since.IsZero() {
			since = db.UpdatedAt
		}
		f.Running = max(f.Running, i.age(since))
	}
	return f, nil
}
