package service

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue"
)

// wakeInterval is how often config repositories are looked at that jobs wait for.
const wakeInterval = 15 * time.Second

// wake brings jobs that wait for a config repository back as soon as it can be read again, or
// somebody has committed to it: that may have been the repair. Only repositories that somebody
// waits for are looked at.
func (d *Deploy) wake(ctx context.Context) {
	interval := d.options.WakeInterval
	if interval == 0 {
		interval = wakeInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	tips := map[*gitrepo.Repo]string{} // as they were seen last, "" for what could not be read
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, repo := range d.repositories {
			match := d.deploysTo(repo)
			// zero is long ago
			if _, last := d.Broker.Due(pratique.StageDeploy, match); last.Sub(d.now()) < interval {
				continue
			}
			before, known := tips[repo]
			tips[repo] = tipOf(ctx, repo)
			if tips[repo] != "" && (!known || tips[repo] != before) {
				d.Broker.Wake(pratique.StageDeploy, match)
			}
		}
	}
}

// tipOf asks for the newest commit of the branch; it is empty if there is no answer.
func tipOf(ctx context.Context, repo *gitrepo.Repo) (tip string) {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	viewed, err := repo.View(ctx, 0, func(_ context.Context, t deploy.Tip) error {
		tip = t.ID()
		return nil
	})
	if err != nil || viewed.Failed != nil {
		return "" // those who wait for it know why
	}
	return tip
}

// deploysTo matches jobs that may write to a config repository.
func (d *Deploy) deploysTo(repo *gitrepo.Repo) func(queue.Job) bool {
	return func(job queue.Job) bool {
		w, err := pipeline.DecodeWork(job.Body)
		if err != nil {
			return false
		}
		for _, t := range d.targets {
			if t.Repository == repo && (w.Target == t.Name || w.Target == "" &&
				t.Matches(repositoryOf(w), w.Event.Ref.Tag)) {
				return true
			}
		}
		return false
	}
}
