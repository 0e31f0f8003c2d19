package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/keyfile"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// ownKeys is the folder of the pair that is used where none is configured.
const ownKeys = "signing"

// lookForDenials is how often denials are looked for that did not take effect everywhere.
const lookForDenials = 15 * time.Second

// Attest evaluates what was found, signs the answer and attaches it. Only it has the signing key.
type Attest struct {
	*Shared
	workers  int
	registry *registry.Client
	policy   *policy.Policy
	signer   signer.Signer
	stage    *attesting.Stage
	pending  pendingDenials
}

// pendingDenials are those that did not take effect everywhere.
type pendingDenials func(after pratique.Subject, limit int) ([]pratique.PendingDenial,
	pratique.Subject, error)

// openAttest loads policy and signing key, or makes a pair where none is configured.
func openAttest(ctx context.Context, s *Shared, conf config.Config, registries *registry.Client,
	pending pendingDenials) (*Attest, error) {
	a := &Attest{Shared: s, workers: conf.Workers.Attest, registry: registries, pending: pending}
	var err error
	if a.policy, err = policy.Load(ctx, settings.Policy(conf.Policy)); err != nil {
		return nil, err
	}
	private, passphrase := conf.Signing.Key.Value(), conf.Signing.Passphrase.Value()
	public := settings.PublicKeys(conf.Signing)
	if conf.Signing.Key.IsZero() {
		own, err := keyfile.Own(s.path(ownKeys))
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		private, passphrase = own.Private, own.Passphrase
		if len(public) == 0 {
			public = [][]byte{own.Public}
		}
		s.log.LogAttrs(ctx, slog.LevelWarn,
			"no signing.key is configured: using the pair in the data directory",
			slog.String("public", keyfile.PublicFile(s.path(ownKeys))))
	}
	if a.signer, err = key.Load(private, passphrase); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	verifier, err := settings.Verifier(public, a.signer.Identity())
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	store := tags.NewStore(registries, tags.Limits{})
	a.stage = &attesting.Stage{
		Base: s.base(pratique.RoleAttest), Documents: s.Documents,
		Policy: adapter.Rules{Policy: a.policy}, Signer: a.signer, Verifier: verifier, Store: store,
		Attestations: verify.NewReader(store, verifier), VerifierID: verifierID(s, conf),
		Version: settings.Version(),
		// A summary is signed again well before the gate would find it too old.
		Refresh: maxVerdictAge(conf) / 2,
	}
	return a, nil
}

// verifierID is the URI that verification summaries carry.
func verifierID(s *Shared, conf config.Config) string {
	if conf.Signing.VerifierID != "" {
		return conf.Signing.VerifierID
	}
	return s.publicURL
}

func maxVerdictAge(conf config.Config) time.Duration {
	return conf.Deploy.MaxVerdictAge.Std(settings.DefaultVerdictAge)
}

func (a *Attest) profiles() []pratique.Profile { return []pratique.Profile{a.policy.ID()} }

func (a *Attest) work() queue.Work {
	return a.Shared.work(pratique.StageAttest, a.workers, a.stage, func(w pipeline.Work) time.Duration {
		return max(a.registry.Paused(repositoryOf(w)), a.stage.Busy(w))
	})
}

// run tries again to attest what no registry took.
func (a *Attest) run(ctx context.Context) error {
	denials := &attesting.Denials{Now: a.now, Batches: a.Broker, Interval: lookForDenials,
		Log: a.log, Pending: a.pending}
	return denials.Run(ctx)
}
