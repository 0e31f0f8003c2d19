package main

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/scanner/trivy"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// mostDeaths is how many processes may die of one image, children or this one, without anybody knowing why.
const mostDeaths = 2

// works are the three stages with a queue, each with what it may hold and no more.
func (s *service) works() ([]queue.Work, error) {
	store := tags.NewStore(s.registry, tags.Limits{})
	evidence := verify.NewReader(store, s.verifier)
	inspect := &pipeline.Inspect{
		Base: s.base(pratique.RoleInspect), Resolver: s.registry, Tags: s.registry, Publish: s.publish, Images: imageStore{s.registry, s.layers}, Parser: parser{s.inspector, s.matcher, s.checkedSBOM},
		Database: s.currentDatabase, Memo: s.inventory,
		Scanner: trivy.Tool(), JavaDatabase: s.javaDigest, Extras: extrasOf(s.conf.Inspect),
	}
	attest := &pipeline.Attest{
		Base: s.base(pratique.RoleAttest), Policy: rules{s.policy}, Signer: s.signer, Verifier: s.verifier, Store: store, Attestations: evidence,
		VerifierID: s.verifierID(),
		Version:    version(),
		// A summary is made anew well before the gate would find it too old.
		Refresh: s.maxVerdictAge() / 2,
	}
	gate, err := s.gate(evidence)
	if err != nil {
		return nil, err
	}
	s.gateway = gate
	deployer := &pipeline.Deploy{Base: s.base(pratique.RoleDeploy), Gate: gate, Problems: s.logProblems}
	inspecting := s.work(pratique.StageInspect, s.conf.Inspect.Workers, inspect.Handle, inspect.Failed)
	inspecting.MaxCrashes = cmp.Or(s.hooks.deaths, mostDeaths)
	inspecting.Handle = oneAgain(inspect.Handle)
	// Each config repository has a turn for one, and may have another wait for it: so those that are slow leave workers to the
	// others. A job that would find no turn stays in the queue, and none of its attempts is used up.
	deploying := s.work(pratique.StageDeploy, max(2*len(s.repositories), 1), deployer.Handle, deployer.Failed)
	deploying.Hold = func(job queue.Job) time.Duration {
		w, _ := pipeline.DecodeWork(job.Body) // the stage says what is wrong with it
		names := []string{w.Target}
		if w.Target == "" {
			names, _ = gate.Targets(w.Event.Ref.Repository, w.Event.Ref.Tag)
		}
		if len(names) != 1 { // it becomes a job for each target, which wait by themselves
			return s.registry.Paused(repositoryOf(w))
		}
		return max(s.registry.Paused(repositoryOf(w)), gate.Busy(names[0]))
	}
	attesting := s.work(pratique.StageAttest, s.conf.Inspect.Workers, attest.Handle, attest.Failed)
	attesting.Hold = func(job queue.Job) time.Duration {
		w, _ := pipeline.DecodeWork(job.Body) // the stage says what is wrong with it
		return max(s.registry.Paused(repositoryOf(w)), attest.Busy(w))
	}
	return []queue.Work{inspecting, attesting, deploying}, nil
}

// oneAgain handles jobs. Those that a process died of come one at a time, as it may have been what two of them need
// together. The others of these go back into the queue, so that no worker waits for them.
func oneAgain(handle func(context.Context, []byte) error) func(context.Context, queue.Job) error {
	again := make(chan struct{}, 1)
	return func(ctx context.Context, job queue.Job) error {
		if job.Crashes == 0 {
			return handle(ctx, job.Body)
		}
		select {
		case again <- struct{}{}:
			defer func() { <-again }()
			return handle(inspector.Again(ctx), job.Body)
		default:
			return pratique.Errorf(pratique.Unavailable, "inspect again", "a process died of this image, and another such image is being tried again: this one comes later")
		}
	}
}

type failed func(ctx context.Context, stage string, body []byte, attempt int, cause error, final bool) error

// work fits a stage to the queue and logs its failures.
func (s *service) work(stage pratique.Stage, workers int, handle func(context.Context, []byte) error, fail failed) queue.Work {
	return queue.Work{
		Stage: stage, Workers: workers,
		Limits: map[pratique.Priority]int{pratique.PriorityManual: s.conf.Inspect.Priorities.Manual, pratique.PriorityRescan: s.conf.Inspect.Priorities.Rescan},
		// Every stage reads the registry, the gate too.
		Hold: func(job queue.Job) time.Duration {
			w, _ := pipeline.DecodeWork(job.Body) // the stage says what is wrong with it
			return s.registry.Paused(repositoryOf(w))
		},
		Handle: func(ctx context.Context, job queue.Job) error { return handle(ctx, job.Body) },
		Failed: func(ctx context.Context, job queue.Job, err error, final bool) error {
			message := "an attempt failed, and is made again"
			if final {
				message = "the last attempt failed"
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, message, slog.String("stage", string(stage)),
				slog.String("job", job.ID), slog.Int("attempt", job.Attempt),
				slog.String("kind", pratique.KindOf(err).String()), slog.String("error", err.Error()))
			return fail(ctx, string(stage), job.Body, job.Attempt, err, final)
		},
	}
}

// gate opens the config repositories.
func (s *service) gate(summaries deploy.Summaries) (*deploy.Gate, error) {
	all, opened, err := targets(s.conf.Deploy.Targets, s.now)
	s.targets, s.repositories = all, opened
	for _, t := range all {
		s.metrics.Targets(t.Name)
	}
	for _, repo := range opened {
		s.closers = append(s.closers, func() error { repo.Close(); return nil })
	}
	if err != nil {
		return nil, err
	}
	return deploy.New(deploy.Config{
		Targets: all, Summaries: summaries, Tags: s.registry, Profiles: s.profiles(), Verifier: s.verifierID(),
		MaxAge: s.maxVerdictAge(), Ages: ages{s.ledger}, Now: s.now,
	})
}

// warm reads the config repositories at the start, so that the first push need not wait for a clone.
func (s *service) warm(ctx context.Context) {
	var all sync.WaitGroup
	for _, repo := range s.repositories {
		all.Go(func() {
			if err := repo.Warm(ctx); err != nil && ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelWarn, "a config repository cannot be read; the others can, and deployments to this one wait", slog.String("error", err.Error()))
			}
		})
	}
	all.Wait()
}

// logFact tells operators what happens, a line for each fact.
func (s *service) logFact(ctx context.Context, f pratique.Fact) {
	attrs := []slog.Attr{slog.String("event", f.Event)}
	if !f.Subject.IsZero() {
		attrs = append(attrs, slog.String("subject", f.Subject.String()))
	}
	switch b := f.Body.(type) {
	case *pratique.Resolved:
		attrs = append(attrs, slog.String("ref", b.Event.Ref.String()), slog.String("source", b.Event.Source))
	case *pratique.Scanned:
		attrs = append(attrs, slog.Int("findings", b.Counts.Total()))
	case *pratique.Affected:
		attrs = append(attrs, slog.Int("newFindings", b.Total), slog.String("database", b.Database.Digest.String()))
	case *pratique.Evaluated:
		attrs = append(attrs, slog.String("outcome", string(b.Verdict.Outcome)), slog.Int("reasons", len(b.Verdict.Reasons)))
	case *pratique.Commit:
		attrs = append(attrs, slog.String("target", b.Target), slog.String("commit", b.ID))
	case *pratique.Drifted:
		attrs = append(attrs, slog.String("target", b.Target), slog.String("state", string(b.State)), slog.String("detail", b.Detail))
	case *pratique.Completed:
		attrs = append(attrs, slog.String("state", string(b.State)), slog.String("detail", b.Detail))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, string(f.Kind()), attrs...)
}
