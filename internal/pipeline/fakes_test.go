package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/signertest"
)

type resolver struct{ *world }

func (r resolver) Resolve(_ context.Context, ref pratique.ImageRef) (pratique.Manifest, error) {
	if err := r.do("resolve %s", ref.Tag); err != nil {
		return pratique.Manifest{}, err
	}
	m, ok := r.manifests[ref.String()]
	if !ok {
		return m, pratique.Errorf(pratique.NotFound, "resolve", "%s", ref)
	}
	return m, nil
}

// tags asks the registry by tag alone.
type tags struct{ *world }

func (g tags) Digest(_ context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	if err := g.ask("tag %s", ref.Tag); err != nil {
		return pratique.Digest{}, err
	}
	d, ok := g.tagged[ref.Tag]
	if !ref.Other.IsZero() {
		d, ok = g.others[ref.Other]
	}
	if !ok || !ref.Digest.IsZero() {
		return d, pratique.Errorf(pratique.NotFound, "look up tag", "%s is gone", ref)
	}
	return d, nil
}

func (g tags) TagsOf(_ context.Context, s pratique.Subject) (named []string, err error) {
	for tag, d := range g.tagged {
		if d == s.Digest {
			named = append(named, tag)
		}
	}
	slices.Sort(named)
	return named, g.ask("naming %s", g.name(s))
}

func (w *world) takeIn(_ context.Context, events []pratique.Event) error {
	if err := w.do("publish %d", len(events)); err != nil {
		return err
	}
	w.published = append(w.published, events...)
	return nil
}

type imagesFake struct{ *world }

func (i imagesFake) Fetch(_ context.Context, s pratique.Subject) (layers.Image, func(), error) {
	if err := i.do("fetch %s", i.name(s)); err != nil {
		return layers.Image{}, nil, err
	}
	hold := func(n int) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.held += n
	}
	hold(1)
	return layers.Image{Subject: s}, func() { hold(-1) }, nil
}

// parser finds in each image one package that has the image's name.
type parser struct{ *world }

func (p parser) Inspect(_ context.Context, img layers.Image) (pratique.Inspection, error) {
	name := p.name(img.Subject)
	if err := p.do("parse %s", name); err != nil {
		return pratique.Inspection{}, err
	}
	if p.held == 0 {
		p.t.Error("the image was released before it was parsed")
	}
	return pratique.Inspection{
		Extras: p.lookFor(),
		Image: pratique.ImageConfig{Digest: img.Subject.Digest, Platform: "linux/amd64", Layers: 1,
			Labels: p.labels},
		Inventory: pratique.Inventory{Scanner: p.scanner, Lists: []pratique.PackageList{
			{Class: pratique.ClassOS, Type: "debian",
				Packages: []pratique.Package{{Name: name, Version: "1"}}},
		}},
		SPDX:      []byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"` + name + `"}`),
		CycloneDX: []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"serialNumber":"` + name + `"}`),
		Generator: pratique.Tool{Name: "syft", Version: "1"},
	}, nil
}

func (p parser) lookFor() *pratique.Extras {
	if p.found != nil || len(p.extras) == 0 {
		return p.found
	}
	return &pratique.Extras{Scanner: p.scanner, Kinds: p.extras}
}

func (p parser) Match(_ context.Context, parts []pratique.Inventory,
	_ scanner.DatabaseDir) ([]pratique.Report, error) {
	var all []pratique.Report
	for _, inv := range parts {
		name := inv.Lists[0].Packages[0].Name
		if err := p.do("match %s", name); err != nil {
			return nil, err
		}
		r := pratique.Report{Scanner: inv.Scanner, Coverage: &pratique.Coverage{}}
		if p.bad[name] {
			r.Findings = []pratique.Finding{{
				ID: "CVE-2026-1", Package: name, Installed: "1", Fixed: "2",
				Severity: pratique.SeverityCritical,
				Class:    pratique.ClassOS, Type: "debian",
			}}
		}
		all = append(all, r)
	}
	return all, nil
}

// policy denies what has a finding.
type policy struct{ *world }

func (p policy) ID() pratique.Profile { return p.world.policy }

func (p policy) Evaluate(_ context.Context, e attesting.Evidence) (pratique.Decision, error) {
	if err := p.do("evaluate %s", p.name(e.Subject)); err != nil {
		return pratique.Decision{}, err
	}
	if e.Inspected.Inventory != e.Report.Inventory || !e.Now.Equal(p.now) {
		p.t.Errorf("the policy is shown what does not belong together: %+v", e)
	}
	if (e.Extras == nil) != (len(e.Inspected.ExtraKinds) == 0) {
		p.t.Errorf("the policy is shown %v, looked for was %v", e.Extras, e.Inspected.ExtraKinds)
	}
	if p.evaluated != nil {
		p.evaluated(e)
	}
	d := pratique.Decision{Outcome: pratique.Allow,
		Notes: []pratique.Reason{{Rule: "note", Message: "looked at"}}}
	for _, f := range e.Report.Findings {
		d.Outcome = pratique.Deny
		d.Reasons = append(d.Reasons, pratique.Reason{Rule: "severity", Message: f.ID + " in " +
			f.Package, Finding: f.ID})
	}
	if e.Extras != nil && len(e.Extras.Secrets) > 0 {
		d.Outcome, d.Reasons = pratique.Deny,
			append(d.Reasons, pratique.Reason{Rule: "secret", Message: e.Extras.Secrets[0].Title})
	}
	if p.mood != nil {
		p.mood(&d)
	}
	return d, nil
}

func (p policy) Worst(all []pratique.PlatformDecision,
	uninspected []pratique.Uninspected) (pratique.Decision, []pratique.ChildVerdict, error) {
	if err := p.do("worst of %d", len(all)); err != nil {
		return pratique.Decision{}, nil, err
	}
	d := pratique.Decision{Outcome: pratique.Allow}
	var verdicts []pratique.ChildVerdict
	for _, u := range uninspected {
		d.Outcome = pratique.Deny
		d.Reasons = append(d.Reasons, pratique.Reason{Rule: "platform_not_inspected",
			Message: u.Reason, Platform: u.Platform})
	}
	for _, c := range all {
		if c.Decision.Outcome != pratique.Allow {
			d.Outcome = pratique.Deny
		}
		verdicts = append(verdicts, pratique.ChildVerdict{Child: c.Child, Outcome: c.Decision.Outcome})
		for _, r := range c.Decision.Reasons {
			r.Platform = c.Platform
			d.Reasons = append(d.Reasons, r)
		}
	}
	return d, verdicts, nil
}

// registry holds attestations as the real store does: an envelope that says the same is kept, one
// of the same predicate type is replaced, and no signature withdraws the one that is there.
type registry struct {
	*world
	key  signertest.Key
	held map[pratique.Subject]map[string]held
}

type held struct {
	pratique.Attestation
	payload []byte
}

func newRegistry(w *world) *registry {
	return &registry{world: w, key: signertest.NewKey(1), held: map[pratique.Subject]map[string]held{}}
}

func (r *registry) Open(_ context.Context, s pratique.Subject, v signer.Verifier,
	own pratique.Identity) (oci.Session, error) {
	if v != r.key || own != r.key.Identity() {
		r.t.Errorf("opened as %v", own)
	}
	return session{r, s}, nil
}

// session checks what it is given; what was uploaded ahead makes no difference to it.
type session struct {
	*registry
	subject pratique.Subject
}

func (a session) Upload(_ context.Context, e signer.Signed) error {
	err := e.Check(a.key, a.subject.Digest)
	if err != nil {
		a.t.Errorf("%s for %s: %v", e.PredicateType(), a.subject, err)
	}
	return errors.Join(err, a.ask("upload %s", short[e.PredicateType()]))
}

func (a session) Attach(_ context.Context, sig signer.SimpleSignature,
	envelopes []signer.Signed) ([]pratique.Attestation, error) {
	r, s := a.registry, a.subject
	if !sig.IsZero() {
		_ = r.do("sign %s", r.name(s))
		if _, err := signer.VerifyImage(r.key, s, sig); err != nil {
			r.t.Errorf("signature on %s: %v", r.name(s), err)
		}
	}
	next := map[string]held{}
	if !sig.IsZero() {
		next[""] = r.keep(s, "", sig.Payload)
	}
	for _, signed := range envelopes {
		e, err := signer.DecodeEnvelope(signed.Content())
		if err != nil {
			r.t.Errorf("envelope on %s: %v", r.name(s), err)
		}
		st, _, err := signer.OpenEnvelope(r.key, e)
		if err != nil {
			r.t.Errorf("envelope on %s: %v", r.name(s), err)
		}
		if !signer.IsAbout(st, s.Digest) {
			r.t.Errorf("%s is attached to %s and is about %v", st.PredicateType, r.name(s), st.Subject)
		}
		next[st.PredicateType] = r.keep(s, st.PredicateType, e.Payload)
	}
	if err := r.do("attach %s", r.name(s)); err != nil {
		return nil, err
	}
	r.held[s] = next
	return r.list(s), nil
}

func (a session) Withdraw(context.Context) error {
	if err := a.do("withdraw %s", a.name(a.subject)); err != nil {
		return err
	}
	delete(a.held[a.subject], "")
	return nil
}

func (a session) Notes() []string { return nil }

var short = map[string]string{
	"":                     "signature",
	pratique.PredicateSPDX: "spdx", pratique.PredicateCycloneDX: "cyclonedx",
	pratique.PredicateVulnerability: "vuln", pratique.PredicateVSA: "vsa",
}

func (r *registry) keep(s pratique.Subject, predicate string, payload []byte) held {
	if old, ok := r.held[s][predicate]; ok && bytes.Equal(old.payload, payload) {
		return old
	}
	return held{payload: payload, Attestation: pratique.Attestation{
		PredicateType: predicate, Digest: pratique.DigestOf(payload), Size: int64(len(payload)),
		Signer: r.key.Identity(), Format: pratique.FormatCosignTags,
	}}
}

func (r *registry) list(s pratique.Subject) []pratique.Attestation {
	var out []pratique.Attestation
	for _, h := range r.held[s] {
		out = append(out, h.Attestation)
	}
	slices.SortFunc(out, func(a, b pratique.Attestation) int {
		return strings.Compare(a.PredicateType, b.PredicateType)
	})
	return out
}

// signed reports whether the registry has a signature of the subject.
func (r *registry) signed(s pratique.Subject) bool {
	_, signed := r.held[s][""]
	return signed
}

// attached names what the registry has of a subject.
func (w *world) attached(name string) []string {
	var all []string
	for predicate := range w.registry.held[w.subject(name)] {
		all = append(all, short[predicate])
	}
	slices.Sort(all)
	return all
}

// What an image or an index has attached, by its verdict.
var (
	allowedImage, deniedImage = []string{"cyclonedx", "signature", "spdx", "vsa", "vuln"},
		[]string{"cyclonedx", "spdx", "vsa", "vuln"}
	allowedIndex, deniedIndex = []string{"signature", "vsa"}, []string{"vsa"}
)

func (r *registry) Holds(_ context.Context, s pratique.Subject,
	all []pratique.Attestation) (bool, error) {
	err := r.ask("holds %s", r.name(s))
	return err == nil && slices.Equal(all, r.list(s)), err
}

// gate answers as told; with an error it returns the outcome, too, as the real gate does.
type gate struct{ *world }

func (g gate) Targets(pratique.Repository, string) (names []string, why string) {
	if len(g.targets) == 0 {
		return nil, "nobody asks"
	}
	return slices.Sorted(maps.Keys(g.targets)), ""
}

func (g gate) Check(_ context.Context, s pratique.Subject) error { return g.ask("check %s", g.name(s)) }

func (g gate) Deploy(_ context.Context, target string, c pratique.Change) (deploy.Outcome, error) {
	g.changes = append(g.changes, c)
	if attested, ok := g.lookUp(c.Subject, pratique.FactAttested); !ok ||
		pratique.As[pratique.Attested](attested).VSA.IsZero() {
		g.t.Errorf("the gate is to write %s, whose summary was never read back", g.name(c.Subject))
	}
	what := "commit"
	if target != production {
		what += " " + target
	}
	err := g.do(what+" %s", g.name(c.Subject))
	return g.targets[target], err
}
