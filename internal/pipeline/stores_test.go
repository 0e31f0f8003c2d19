package pipeline_test

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// ledger keeps facts as they come back from JSON, so that nothing is compared that is not stored.
type ledger struct{ *world }

func (l ledger) Append(_ context.Context, f pratique.Fact) (uint64, error) {
	if err := l.do("fact %s %s", f.Kind(), l.name(f.Subject)); err != nil {
		return 0, err
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	var kept pratique.Fact
	if err := json.Unmarshal(raw, &kept); err != nil {
		return 0, err
	}
	l.checkDocuments(kept)
	if a := pratique.As[pratique.Attested](kept); a != nil {
		l.checkAttested(kept.Subject, a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts = append(l.facts, kept)
	return uint64(len(l.facts)), nil
}

// checkDocuments wants every document that a fact names to be stored before.
func (l ledger) checkDocuments(f pratique.Fact) {
	var named []pratique.Digest
	switch b := f.Body.(type) {
	case *pratique.Inspected:
		named = []pratique.Digest{b.Inventory, b.SPDX, b.CycloneDX, b.Extras, b.Image.AllLabels}
	case *pratique.Scanned:
		named = []pratique.Digest{b.Report}
	case *pratique.Evaluated:
		named = []pratique.Digest{b.Digest}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range named {
		if _, stored := l.documents[d]; !stored && !d.IsZero() {
			l.t.Errorf("the fact %s of %s names document %s, which is not stored", f.Kind(),
				l.name(f.Subject), d)
		}
	}
}

// checkAttested wants what a fact calls attested to be in the registry, with a signature if the
// verdict allows and with none if it denies.
func (l ledger) checkAttested(s pratique.Subject, a *pratique.Attested) {
	if !slices.Equal(a.Attestations, l.registry.list(s)) {
		l.t.Errorf("%s is attested as %v, the registry has %v", l.name(s), a.Attestations,
			l.registry.list(s))
	}
	evaluated := pratique.As[pratique.Evaluated](l.newest(s, pratique.FactEvaluated))
	if a.Verdict != evaluated.Digest {
		l.t.Errorf("%s is attested with verdict %s, the newest is %s", l.name(s), a.Verdict,
			evaluated.Digest)
	}
	if allowed := evaluated.Verdict.Outcome == pratique.Allow; l.registry.signed(s) != allowed {
		l.t.Errorf("%s: signed %t, allowed %t", l.name(s), l.registry.signed(s), allowed)
	}
}

func (l ledger) Last(_ context.Context, s pratique.Subject,
	kind pratique.FactKind) (pratique.Fact, bool, error) {
	if err := l.ask("last %s %s", kind, l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	f, ok := l.lookUp(s, kind)
	return f, ok, nil
}

func (l ledger) Completed(_ context.Context, s pratique.Subject,
	event string) (pratique.Fact, bool, error) {
	if err := l.ask("last completed %s", l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range slices.Backward(l.facts) {
		if f.Kind() == pratique.FactCompleted && f.Subject == s && f.Event == event {
			return f, true, nil
		}
	}
	return pratique.Fact{}, false, nil
}

func (l ledger) Answered(_ context.Context, s pratique.Subject, event,
	target string) (pratique.Fact, bool, error) {
	if err := l.ask("last answered %s", l.name(s)); err != nil {
		return pratique.Fact{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range slices.Backward(l.facts) {
		if a := pratique.As[pratique.Answered](f); a != nil && f.Subject == s && f.Event == event &&
			a.Target == target {
			return f, true, nil
		}
	}
	return pratique.Fact{}, false, nil
}

type documents struct{ *world }

func (d documents) Put(_ context.Context, content []byte) (pratique.Digest, error) {
	if err := d.ask("put"); err != nil {
		return pratique.Digest{}, err
	}
	digest := pratique.DigestOf(content)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.documents[digest] = content
	return digest, nil
}

func (d documents) Get(_ context.Context, digest pratique.Digest) ([]byte, error) {
	if err := d.ask("get"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	content, ok := d.documents[digest]
	if !ok {
		return nil, pratique.Errorf(pratique.NotFound, "get document", "%s", digest)
	}
	return content, nil
}

// queue keeps one message of each id, as JetStream does.
type queue struct{ *world }

func (q queue) Publish(_ context.Context, stage pratique.Stage, priority pratique.Priority,
	id string, body []byte) error {
	if err := q.do("enqueue %s %s", stage, id); err != nil {
		return err
	}
	q.checkRecorded(stage, body)
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.known[id] {
		q.known[id] = true
		q.world.queue = append(q.world.queue, message{string(stage), priority, id, body})
	}
	return nil
}

// checkRecorded wants a stage to have recorded its result before it asks for the next one.
func (q queue) checkRecorded(stage pratique.Stage, body []byte) {
	w, err := pipeline.DecodeWork(body)
	needs := map[pratique.Stage]pratique.FactKind{pratique.StageAttest: pratique.FactInspected,
		pratique.StageDeploy: pratique.FactAttested}[stage]
	if err != nil || needs == "" {
		return
	}
	if _, ok := q.lookUp(w.Subject, needs); !ok && w.Event.Source == "test" {
		q.t.Errorf("%s is enqueued for %s, and no fact %s is on record", q.name(w.Subject), stage, needs)
	}
}

func (q queue) PublishBatch(ctx context.Context, stage pratique.Stage, all []pratique.Message) error {
	for _, m := range all {
		if err := q.Publish(ctx, stage, m.Priority, m.ID, m.Body); err != nil {
			return err
		}
	}
	return nil
}
