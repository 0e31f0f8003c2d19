package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/pipeline/rescanning"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/inventory"
	"github.com/pratique-dev/pratique/scanner/rescan"
	"github.com/pratique-dev/pratique/scanner/trivy/delta"
)

// lookEvery is how often a new database, or an image that became stale, is looked for.
const lookEvery = time.Second

func (s *service) openInventory(ctx context.Context) error {
	open := func(path string) (*inventory.Projection, error) {
		return inventory.Open(path, inventory.Config{Documents: s.blobs, Keys: delta.Keys})
	}
	var err error
	if s.inventory, err = openProjection(ctx, s, "inventory.db", open, inventory.Remove); err != nil {
		return err
	}
	s.closers = append(s.closers, s.inventory.Close)
	return nil
}

// rescanner is the part of the inspect role that matches again when the database changes. It takes half of the
// children at most, and they take a push before its next batch.
func (s *service) rescanner() *rescanning.Rescan {
	return &rescanning.Rescan{
		Process: s.process(), Documents: s.blobs, Lists: s.inventory, Images: s.inventory, Matcher: s.matcher, Facts: facts{s.ledger.For(pratique.RoleInspect), s.broker},
		Batches: s.broker, Database: s.currentDatabase, Ready: s.remembering.Ready, Isolated: inspector.AfterCrash, Requests: max(1, s.conf.Inspect.Workers/2),
		Interval: lookEvery, Log: s.log, Lookup: rescan.Lookup{AffectedPackages: delta.AffectedPackages, Comparable: delta.Comparable},
		Diff: func(ctx context.Context, from pratique.Digest, to scanner.DatabaseDir) (rescan.Delta, error) {
			return delta.Compare(ctx, filepath.Join(s.path("database"), from.Hex()), to.Dir)
		},
	}
}

func (s *service) currentDatabase() (scanner.DatabaseDir, error) {
	g, err := s.database.Current()
	return scanner.DatabaseDir{Database: g.Database, Dir: g.Dir}, err
}

// keptDatabase is the one that the next is compared to; it must stay on disk until then.
func (s *service) keptDatabase() []pratique.Digest {
	if s.inventory == nil {
		return nil
	}
	r, err := s.inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	return []pratique.Digest{r.To.Digest}
}

// facts appends many facts at once.
type facts struct {
	ledger interface {
		Message(f pratique.Fact) (subject, id string, body []byte, err error)
	}
	broker *queue.Broker
}

func (f facts) AppendAll(ctx context.Context, all []pratique.Fact) error {
	entries := make([]queue.Entry, len(all))
	for i, fact := range all {
		subject, id, body, err := f.ledger.Message(fact)
		if err != nil {
			return err
		}
		entries[i] = queue.Entry{Subject: subject, ID: id, Body: body}
	}
	return f.broker.PublishFacts(ctx, entries)
}

// report is a report as the API gives it: whole, and with the time of the fact that names it.
func (s *service) report(ctx context.Context, of pratique.Scanned) ([]byte, error) {
	r, err := scanner.LoadReport(ctx, s.blobs, of)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	return raw, pratique.Wrap(pratique.Internal, "encode report", of.Report.String(), err)
}

// mostAside bounds the images that the status names; a metric counts all.
const mostAside = 20

// aboutRescan is the rescanning for the service's status.
func (s *service) aboutRescan() *api.Rescan {
	r, err := s.inventory.Rescan()
	if err != nil || r.To.Digest.IsZero() {
		return nil
	}
	out := &api.Rescan{Rescan: r}
	out.Aside, _ = s.inventory.Aside(mostAside) // the counts are there
	return out
}

func (s *service) rescanFigures(context.Context) (telemetry.Rescan, error) {
	r, err := s.inventory.Rescan()
	if err != nil {
		return telemetry.Rescan{}, err
	}
	f := telemetry.Rescan{Rescan: r}
	if !r.StartedAt.IsZero() && r.FinishedAt.IsZero() {
		f.Running = s.age(r.StartedAt)
	}
	// One that cannot begin is as much behind as one that does not end.
	if db, err := s.currentDatabase(); err == nil && db.Digest != r.To.Digest {
		since := db.DownloadedAt
		if since.IsZero() {
			since = db.UpdatedAt
		}
		f.Running = max(f.Running, s.age(since))
	}
	return f, nil
}
