package main

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/derived"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// The types below fit adapters to the contracts of the pipeline, a few lines each, so that neither side
// knows the other.

// stageQueue names queues as the pipeline does.
type stageQueue struct{ broker *queue.Broker }

func (q stageQueue) Enqueue(ctx context.Context, stage string, priority pratique.Priority, id string, body []byte) error {
	return q.broker.Publish(ctx, queue.Stage(stage), priority, id, body)
}

func (q stageQueue) EnqueueAll(ctx context.Context, stage string, all []pipeline.Message) error {
	messages := make([]queue.Message, len(all))
	for i, m := range all {
		messages[i] = queue.Message(m)
	}
	return q.broker.PublishBatch(ctx, queue.Stage(stage), messages)
}

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
}

func (p parser) Match(ctx context.Context, parts []pratique.Inventory, db scanner.DatabaseDir) ([]pratique.Report, error) {
	return p.matcher.Match(ctx, parts, db)
}

func (p parser) Inspect(ctx context.Context, img layers.Image) (pipeline.Inspection, error) {
	r, err := p.Pool.Inspect(ctx, img)
	return pipeline.Inspection{
		Image: r.Image, Inventory: r.Inventory, Extras: r.Extras, SPDX: r.SPDX, CycloneDX: r.CycloneDX, Generator: r.Generator,
		JavaDatabase: r.JavaDatabase, JavaUpdatedAt: r.JavaUpdatedAt, Compared: r.Compared,
	}, err
}

// analyses are what was found in single layers.
type analyses struct{ store *derived.Store }

func (a analyses) Get(layer pratique.Digest, maker string) (string, func(), bool) {
	return a.store.Get(derived.Key{Layer: layer, Maker: maker})
}

func (a analyses) Put(layer pratique.Digest, maker string, analysis []byte) error {
	return a.store.Put(derived.Key{Layer: layer, Maker: maker}, analysis)
}

// rules is the policy.
type rules struct{ *policy.Policy }

func (r rules) Evaluate(ctx context.Context, e pipeline.Evidence) (pipeline.Decision, error) {
	input, err := policy.NewInput(e.Subject, e.Inspected, e.Report, e.Extras, e.Now)
	if err != nil {
		return pipeline.Decision{}, err
	}
	d, err := r.Policy.Evaluate(ctx, input)
	return pipeline.Decision(d), err
}

func (r rules) Worst(all []pipeline.PlatformDecision, uninspected []pratique.Uninspected) (pipeline.Decision, []pratique.ChildVerdict, error) {
	platforms := make([]policy.Platform, len(all))
	for i, p := range all {
		platforms[i] = policy.Platform{Child: p.Child, Decision: policy.Decision(p.Decision)}
	}
	d, verdicts, err := policy.Worst(platforms, uninspected)
	return pipeline.Decision(d), verdicts, err
}

// attestations writes and reads signed objects with one key.
type attestations struct {
	store    *oci.Store
	verifier signer.Verifier
}

func (a attestations) Begin(ctx context.Context, s pratique.Subject) (pipeline.Attaching, error) {
	begun, err := a.store.Begin(ctx, s, a.verifier)
	if err != nil {
		return nil, err
	}
	return attaching{begun}, nil
}

// attaching is the work on one subject.
type attaching struct{ *oci.Attaching }

func (a attaching) Attach(ctx context.Context, sig *signer.SimpleSignature, envelopes []signer.Signed) ([]pratique.Attestation, error) {
	var signature signer.SimpleSignature
	if sig != nil {
		signature = *sig
	}
	return a.Attaching.Attach(ctx, signature, envelopes)
}

// Holds looks at the signature and at the summary, which names the others; both were written together with
// them.
func (a attestations) Holds(ctx context.Context, s pratique.Subject, all []pratique.Attestation) (bool, error) {
	for _, want := range all {
		var found []pratique.Attestation
		var err error
		switch want.PredicateType {
		case "":
			var signature pratique.Attestation
			signature, err = a.store.VerifiedSignature(ctx, s, a.verifier)
			found = append(found, signature)
		case pratique.PredicateVSA:
			var summaries []oci.Verified
			summaries, err = a.store.Verified(ctx, s, a.verifier, want.PredicateType)
			for _, v := range summaries {
				found = append(found, v.Attestation)
			}
		default:
			continue
		}
		switch pratique.KindOf(err) {
		case pratique.NotFound, pratique.Unverified:
			return false, nil
		}
		if err != nil {
			return false, err
		}
		same := func(have pratique.Attestation) bool { return have.Digest == want.Digest }
		if !slices.ContainsFunc(found, same) {
			return false, nil
		}
	}
	return true, nil
}

// VerifiedVSA reads the newest verification summary for the gate.
func (a attestations) VerifiedVSA(ctx context.Context, s pratique.Subject) (deploy.VSA, error) {
	found, err := a.store.Verified(ctx, s, a.verifier, pratique.PredicateVSA)
	if err != nil {
		return deploy.VSA{}, err
	}
	statements := make([]pratique.Statement, len(found))
	for i, v := range found {
		statements[i] = v.Statement
	}
	at, newest, err := attest.NewestVSA(statements)
	if err != nil {
		return deploy.VSA{}, err
	}
	return deploy.VSA{
		Envelope: found[at].Attestation.Digest, Subject: newest.Subject, Verifier: newest.VerifierID,
		Passed: newest.Outcome == pratique.Allow, Policy: newest.Policy.Digest, Verdict: newest.Verdict, VerifiedAt: newest.VerifiedAt,
	}, nil
}
