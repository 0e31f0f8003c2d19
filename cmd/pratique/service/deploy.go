package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/keyfile"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/deploying"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// compareEvery is how often what is said to be deployed is compared with what the config
// repositories hold.
const compareEvery = time.Hour

// Deploy is the gate. Only it has the credentials of the config repositories, and of keys the
// public ones alone.
type Deploy struct {
	*Shared
	registry *registry.Client
	// repositories are those of the targets, each once.
	repositories []*gitrepo.Repo
	workers      int
	targets      []deploy.Target
	gate         *deploy.Gate
	stage        *deploying.Stage
	records      deploying.Records
}

// openDeploy opens the config repositories, without talking to them.
func openDeploy(s *Shared, conf config.Config, registries *registry.Client,
	profiles []pratique.Profile, records deploying.Records) (*Deploy, error) {
	d := &Deploy{Shared: s, registry: registries, records: records, workers: conf.Workers.Deploy}
	public := settings.PublicKeys(conf.Signing)
	if len(public) == 0 {
		own, err := os.ReadFile(keyfile.PublicFile(s.path(ownKeys)))
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		public = [][]byte{own}
	}
	// It is never made from the signer: what the signer's key is, the configuration says.
	verifier, err := settings.Verifier(public, nil)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	d.targets, d.repositories, err = settings.Targets(conf.Deploy.Targets, s.now)
	for _, t := range d.targets {
		s.metrics.Targets(t.Name)
	}
	for _, repo := range d.repositories {
		s.onClose(func() error { repo.Close(); return nil })
	}
	if err != nil {
		return nil, err
	}
	d.workers = cmp.Or(d.workers, 2*len(d.repositories), 1)
	d.gate, err = deploy.New(deploy.Config{
		Targets: d.targets, Summaries: verify.NewReader(tags.NewStore(registries, tags.Limits{}),
			verifier), Tags: registries, Profiles: profiles,
		Verifier: verifierID(s, conf), MaxAge: maxVerdictAge(conf),
		Ages: adapter.Ages{Ledger: s.Ledger}, Now: s.now,
	})
	d.stage = &deploying.Stage{Base: s.base(pratique.RoleDeploy), Answers: s.Ledger, Gate: d.gate,
		Problems: d.logProblems}
	return d, err
}

// work has two workers for each config repository if nothing else is configured: one has a turn,
// and another may wait for it. So those that are slow leave workers to the others. A job that would
// find no turn stays in the queue, and none of its attempts is used up.
func (d *Deploy) work() queue.Work {
	return d.Shared.work(pratique.StageDeploy, d.workers, d.stage, func(w pipeline.Work) time.Duration {
		names := []string{w.Target}
		if w.Target == "" {
			names, _ = d.gate.Targets(w.Event.Ref.Repository, w.Event.Ref.Tag)
		}
		if len(names) != 1 { // it becomes a job for each target, which wait by themselves
			return d.registry.Paused(repositoryOf(w))
		}
		return max(d.registry.Paused(repositoryOf(w)), d.gate.Busy(names[0]))
	})
}

// run looks at the config repositories beside the work: before the first push, for those who wait,
// and for drift.
func (d *Deploy) run(ctx context.Context) error {
	var both sync.WaitGroup
	both.Go(func() { d.wake(ctx) })
	both.Go(func() { d.warm(ctx); d.compare(ctx) })
	both.Wait()
	return nil
}

// warm reads the config repositories at the start, so that the first push need not wait for a clone.
func (d *Deploy) warm(ctx context.Context) {
	var all sync.WaitGroup
	for _, repo := range d.repositories {
		all.Go(func() {
			if err := repo.Warm(ctx); err != nil && ctx.Err() == nil {
				d.log.LogAttrs(ctx, slog.LevelWarn,
					"a config repository cannot be read; the others can, and deployments to this one wait", slog.String("error", err.Error()))
			}
		})
	}
	all.Wait()
}

// compare compares what the facts say with what Git holds, at the start and from time to time.
func (d *Deploy) compare(ctx context.Context) {
	drift := &deploying.Drift{Recorder: d.recorder(pratique.RoleDeploy), Records: d.records,
		Places: d.gate}
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	for {
		added, err := drift.Check(ctx)
		if added > 0 {
			d.log.LogAttrs(ctx, slog.LevelWarn,
				"Git does not hold what was deployed; the facts are corrected", slog.Int("facts", added))
		}
		if err != nil && ctx.Err() == nil {
			d.log.LogAttrs(ctx, slog.LevelWarn,
				"could not compare all that is deployed with what Git holds",
				slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// logProblems tells operators what could not be edited.
func (d *Deploy) logProblems(problems []deploy.TargetProblem) {
	for _, p := range problems {
		d.metrics.DeployProblem(p.Target)
		d.log.LogAttrs(context.Background(), slog.LevelWarn,
			"a place in a config repository cannot be edited",
			slog.String("target", p.Target), slog.String("place", p.String()),
			slog.Bool("imageWaits", p.Waits))
	}
}
