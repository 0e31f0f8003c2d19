package main

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/analysiscache"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/scanner"
)

// The types below fit adapters to the contracts of the pipeline, a few lines each, so that neither side
// knows the other.

// imageStore brings images from the registry into the layer store.
type imageStore struct {
	registry *registry.Client
	layers   *layers.Store
}

func (i imageStore) Fetch(ctx context.Context, s pratique.Subject) (layers.Image, func(), error) {
	return i.layers.Image(ctx, i.registry, s)
}

// parser is the pool of child processes that parse images, and the one of those that match and never see one.
type parser struct {
	*inspector.Pool
	matcher *inspector.Pool
	// shadow is told what became of an image that was checked.
	shadow func(ctx context.Context, image pratique.Subject, s inspector.Shadow)
}

func (p parser) Match(ctx context.Context, parts []pratique.Inventory, db scanner.DatabaseDir) ([]pratique.Report, error) {
	return p.matcher.Match(ctx, parts, db)
}

func (p parser) Inspect(ctx context.Context, img layers.Image) (pratique.Inspection, error) {
	r, err := p.Pool.Inspect(ctx, img)
	if r.Shadow != nil {
		p.shadow(ctx, img.Subject, *r.Shadow)
	}
	return r.Inspection, err
}

// analyses are what was found in single layers.
type analyses struct{ store *analysiscache.Store }

func (a analyses) Get(layer pratique.Digest, fingerprint string) (string, func(), bool) {
	return a.store.Get(analysiscache.Key{Layer: layer, Fingerprint: fingerprint})
}

func (a analyses) Put(layer pratique.Digest, fingerprint string, analysis []byte) error {
	return a.store.Put(analysiscache.Key{Layer: layer, Fingerprint: fingerprint}, analysis)
}

// rules is the policy.
type rules struct{ *policy.Policy }

func (r rules) Evaluate(ctx context.Context, e attesting.Evidence) (pratique.Decision, error) {
	input, err := policy.NewInput(e.Subject, e.Inspected, e.Report, e.Extras, e.Now)
	if err != nil {
		return pratique.Decision{}, err
	}
	return r.Policy.Evaluate(ctx, input)
}

func (rules) Worst(all []pratique.PlatformDecision, uninspected []pratique.Uninspected) (pratique.Decision, []pratique.ChildVerdict, error) {
	return policy.Worst(all, uninspected)
}
