// Package storetest accepts stores of signed evidence: what passes [Test] may be an [oci.Store]. To
// have a new store accepted, write one test that calls it:
//
//	func TestConformance(t *testing.T) {
//		storetest.Test(t, func(r *storetest.Registry) oci.Store { return referrers.NewStore(r, referrers.Limits{}) })
//	}
//
// The function makes a store over a real registry in this process. The suite asks for what the rest
// of Pratique relies on, and says nothing of how evidence lies in the registry:
//
//   - what is attached is read back, with its signer, its format, and a digest and size of what
//     the registry holds; attaching the same again changes nothing in the registry, also after a
//     restart;
//   - evidence of the same predicate type by the same identity is replaced; whatever others
//     attached stays;
//   - nothing is written of what is by another identity or about another image;
//   - reading returns what the given verifier accepts, as the identity that it names, and tells
//     "nothing there" from "nothing that holds" and both from "could not find out";
//   - a zero signature, and Withdraw, take away the own signature and no other, although something
//     else fails;
//   - writers of one process do not lose each other's work;
//   - a registry in trouble, tags that are immutable, blobs that are lost and contexts that end
//     give errors of the kinds that the pipeline acts on, and the next call repairs what was left
//     half done.
//
// A store has tests of its own for what can lie under its layout that it has not written: evidence
// about other images, bytes without end, layers by the thousand, forged indexes.
package storetest

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// New makes a store over the registry. Each call makes another one, as after a restart.
type New func(r *Registry) oci.Store

// Test runs the suite.
func Test(t *testing.T, create New) {
	for name, test := range map[string]func(*world){
		"ReadsBack": readsBack, "Again": again, "Replaces": replaces,
		"RefusesOthers": refusesOthers, "UploadsAhead": uploadsAhead,
		"Verifier": verifier, "NothingThere": nothingThere, "Denial": denial, "Withdraw": withdraw,
		"HalfADenial": halfADenial,
		"Together":    together, "Trouble": trouble, "CannotFindOut": cannotFindOut,
		"Immutable": immutable, "LostBlob": lostBlob,
		"ContextEnds": contextEnds,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := NewRegistry(t)
			w := &world{
				T: t, create: create, registry: r, store: create(r),
				own: signertest.NewKey(1), other: signertest.NewKey(2),
			}
			w.everybody = signer.AnyOf(w.own, w.other)
			w.subject = r.Push(t, "team/app")
			test(w)
		})
	}
}

// world is one registry with one image, and two identities who sign it.
type world struct {
	*testing.T
	create     New
	registry   *Registry
	store      oci.Store
	subject    pratique.Subject
	own, other signertest.Key
	// everybody accepts both.
	everybody signer.Verifier
}

// predicates are two types that a store knows nothing of, and the one that it may treat as small.
var predicates = []string{"https://storetest.example/a", "https://storetest.example/b",
	pratique.PredicateVSA}

// statement says something about the subject. What is said is part of it.
func statement(s pratique.Subject, predicateType, said string) pratique.Statement {
	about := pratique.StatementSubject{
		Name: s.Repository.String(), Digest: map[string]string{"sha256": s.Digest.Hex()},
	}
	return pratique.Statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []pratique.StatementSubject{about},
		PredicateType: predicateType,
		Predicate:     []byte(`{"said":"` + said + `"}`),
	}
}

// envelopes are signed statements of all types, or of those that are given.
func (w *world) envelopes(by signer.Signer, about pratique.Subject, said string,
	types ...string) []signer.Signed {
	w.Helper()
	if types == nil {
		types = predicates
	}
	var out []signer.Signed
	for _, p := range types {
		e, err := signer.SignStatement(w.Context(), by, statement(about, p, said))
		if err != nil {
			w.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func (w *world) signature(by signer.Signer, about pratique.Subject) signer.SimpleSignature {
	w.Helper()
	s, err := signer.SignImage(w.Context(), by, about)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// open begins the work of an identity.
func (w *world) open(by signertest.Key) oci.Session {
	w.Helper()
	session, err := w.store.Open(w.Context(), w.subject, w.everybody, by.Identity())
	if err != nil {
		w.Fatal(err)
	}
	return session
}

// attach attaches a signature and envelopes of all types.
func (w *world) attach(by signertest.Key, said string) []pratique.Attestation {
	w.Helper()
	out, err := w.open(by).Attach(w.Context(), w.signature(by, w.subject),
		w.envelopes(by, w.subject, said))
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// deny attaches envelopes without a signature.
func (w *world) deny(by signertest.Key, said string) error {
	w.Helper()
	_, err := w.open(by).Attach(w.Context(), signer.SimpleSignature{}, w.envelopes(by, w.subject, said))
	return err
}

// said returns what an identity says under each of the types, and under "" whether it signed the
// image.
func (w *world) said(by signertest.Key) map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, p := range append([]string{""}, predicates...) {
		found, err := w.store.Verified(w.Context(), w.subject, by, p)
		switch kind := pratique.KindOf(err); {
		case kind == pratique.NotFound || kind == pratique.Unverified:
			continue
		case err != nil:
			w.Fatal(err)
		}
		if len(found) != 1 || found[0].Attestation.Signer != by.Identity() {
			w.Fatalf("%q of %s: %+v", p, by.Identity(), found)
		}
		out[p] = string(found[0].Statement.Predicate)
	}
	return out
}

// says is what said returns after all types were attached.
func says(text string, signed bool) map[string]string {
	out := map[string]string{}
	for _, p := range predicates {
		out[p] = `{"said":"` + text + `"}`
	}
	if signed {
		out[""] = ""
	}
	return out
}

func (w *world) wantKind(what string, err error, kinds ...pratique.Kind) {
	w.Helper()
	for _, kind := range kinds {
		if err != nil && pratique.KindOf(err) == kind {
			return
		}
	}
	w.Errorf("%s: %v is %s, want one of %v", what, err, pratique.KindOf(err), kinds)
}

// soon bounds what a test waits for.
const soon = 30 * time.Second
