// Package adapter fits adapters to the contracts of the pipeline and the API, a few lines each, so
// that neither side knows the other.
package adapter

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

// Images brings images from the registry into the layer store.
type Images struct {
	Registry *registry.Client
	Layers   *layers.Store
}

// Fetch implements [inspecting.Images].
func (i Images) Fetch(ctx context.Context, s pratique.Subject) (layers.Image, func(), error) {
	return i.Layers.Image(ctx, i.Registry, s)
}

// Parser is the pool of child processes that parse images, and the one of those that match and
// never see one.
type Parser struct {
	*inspector.Pool
	Matcher *inspector.Pool
	// Shadow is told what became of an image that was checked.
	Shadow func(ctx context.Context, image pratique.Subject, s inspector.Shadow)
}

// Match implements [inspecting.Parser].
func (p Parser) Match(ctx context.Context, parts []pratique.Inventory,
	db scanner.DatabaseDir) ([]pratique.Report, error) {
	return p.Matcher.Match(ctx, parts, db)
}

// Inspect implements [inspecting.Parser].
func (p Parser) Inspect(ctx context.Context, img layers.Image) (pratique.Inspection, error) {
	r, err := p.Pool.Inspect(ctx, img)
	if r.Shadow != nil {
		p.Shadow(ctx, img.Subject, *r.Shadow)
	}
	return r.Inspection, err
}

// Analyses are what was found in single layers.
type Analyses struct{ Store *analysiscache.Store }

// Get returns what was found in a layer before.
func (a Analyses) Get(layer pratique.Digest, fingerprint string) (string, func(), bool) {
	return a.Store.Get(analysiscache.Key{Layer: layer, Fingerprint: fingerprint})
}

// Put keeps what was found in a layer.
func (a Analyses) Put(layer pratique.Digest, fingerprint string, analysis []byte) error {
	return a.Store.Put(analysiscache.Key{Layer: layer, Fingerprint: fingerprint}, analysis)
}

// Rules is the policy.
type Rules struct{ *policy.Policy }

// Evaluate implements [attesting.Policy].
func (r Rules) Evaluate(ctx context.Context, e attesting.Evidence) (pratique.Decision, error) {
	input, err := policy.NewInput(e.Subject, e.Inspected, e.Report, e.Extras, e.Now)
	if err != nil {
		return pratique.Decision{}, err
	}
	return r.Policy.Evaluate(ctx, input)
}

// Worst implements [attesting.Policy].
func (Rules) Worst(all []pratique.PlatformDecision,
	uninspected []pratique.Uninspected) (pratique.Decision, []pratique.ChildVerdict, error) {
	return policy.Worst(all, uninspected)
}
