package adapter

import (
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/queue/reconcile"
)

// Sweeps fits the reconciler to the API.
type Sweeps struct{ *reconcile.Reconciler }

// Status implements [api.Reconciler].
func (s Sweeps) Status() []api.Reconciliation {
	var all []api.Reconciliation
	for _, r := range s.Reconciler.Status() {
		all = append(all, api.Reconciliation{
			Repository: r.Repository.String(), State: r.State, Started: r.Started,
			Finished: r.Finished, Next: r.Next,
			Tags: r.Tags, Unchanged: r.Unchanged, News: r.News, Skipped: r.Skipped, Requests: r.Requests,
			Restored: r.Restored, Error: r.Error, RetryAt: r.RetryAt,
		})
	}
	return all
}
