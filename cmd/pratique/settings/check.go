package settings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue/reconcile"
	"github.com/pratique-dev/pratique/queue/webhook"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
)

// Check makes every part that can be made without opening a store or talking to anybody, so
// that config check finds what serve would stumble over.
func Check(ctx context.Context, c config.Config) error {
	var problems []error
	note := func(section string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", section, err))
		}
	}
	_, err := policy.Load(ctx, Policy(c.Policy))
	note("policy", err)
	_, err = registry.New(Registry(c))
	note("registries", err)
	all, err := Receivers(c)
	if err == nil {
		_, err = webhook.New(webhook.Config{Receivers: all, Publisher: nobody{}})
	}
	note("receivers", err)
	sweeping, err := Reconcile(c)
	if err == nil {
		_, err = reconcile.New(sweeping, nil, nil, nil)
	}
	note("reconcile", err)
	note("api.tokens", Auth(c).Validate())
	checkSigning(c.Signing, note)
	for i, source := range c.Database.Sources {
		_, err := name.ParseReference(source)
		note(fmt.Sprintf("database.sources[%d]", i), err)
	}
	for i, source := range c.Database.Java.Sources {
		_, err := name.ParseReference(source)
		note(fmt.Sprintf("database.java.sources[%d]", i), err)
	}
	_, opened, err := Targets(c.Deploy.Targets, time.Now)
	for _, repo := range opened {
		repo.Close()
	}
	if err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// checkSigning loads the keys that are configured.
func checkSigning(c config.Signing, note func(section string, err error)) {
	var own pratique.Identity
	if !c.Key.IsZero() {
		s, err := key.Load(c.Key.Value(), c.Passphrase.Value())
		note("signing", err)
		if err == nil {
			own = s.Identity()
		}
	}
	if public := PublicKeys(c); len(public) > 0 {
		_, err := Verifier(public, own)
		note("signing", err)
	}
}

// PublicKeys are the keys that signatures are verified with.
func PublicKeys(c config.Signing) [][]byte {
	var all [][]byte
	for _, k := range c.PublicKeys {
		all = append(all, k.Value())
	}
	return all
}

// Verifier accepts what one of the public keys signed. The signer's must be among them, if it is
// known: what it signs would be attested, and never deployed.
func Verifier(public [][]byte, own pratique.Identity) (signer.Verifier, error) {
	var verifiers []signer.Verifier
	known := map[pratique.Identity]bool{}
	for i, pem := range public {
		v, err := key.LoadVerifier(pem)
		if err != nil {
			return nil, fmt.Errorf("publicKeys[%d]: %w", i, err)
		}
		if known[v.Identity()] {
			return nil, fmt.Errorf("publicKeys[%d]: %s is there twice", i, v.Identity())
		}
		known[v.Identity()] = true
		verifiers = append(verifiers, v)
	}
	if own != nil && !known[own] {
		return nil, fmt.Errorf("publicKeys: the public half of key is not among them, so nothing that is signed would be deployed: add the .pub file of %s", own)
	}
	return signer.AnyOf(verifiers...), nil
}

// nobody publishes nothing; a check sends no events.
type nobody struct{}

func (nobody) Publish(context.Context, []pratique.Event) (int, error) {
	return 0, errors.ErrUnsupported
}
