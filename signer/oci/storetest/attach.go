package storetest

import (
	"fmt"
	"maps"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/signertest"
)

func readsBack(w *world) {
	sig, es := w.signature(w.own, w.subject), w.envelopes(w.own, w.subject, "first")
	session := w.open(w.own)
	got, err := session.Attach(w.Context(), sig, es)
	if err != nil {
		w.Fatal(err)
	}
	if notes := session.Notes(); len(notes) != 0 {
		w.Errorf("notes %q, and nothing of others was there", notes)
	}
	if len(got) != 1+len(es) || got[0].PredicateType != "" {
		w.Fatalf("attached %+v", got)
	}
	for i, a := range got {
		want := append([]string{""}, predicates...)[i]
		if a.PredicateType != want || a.Signer != w.own.Identity() || a.Format == "" ||
			a.Location == "" || a.Digest.IsZero() || a.Size <= 0 {
			w.Errorf("attached %+v, want one of type %q", a, want)
		}
		found, err := w.store.Verified(w.Context(), w.subject, w.own, a.PredicateType)
		if err != nil || len(found) != 1 || found[0].Attestation != a ||
			found[0].Statement.PredicateType != a.PredicateType {
			w.Errorf("%q is read as %+v, %v; attached was %+v", a.PredicateType, found, err, a)
		}
	}
	if said := w.said(w.own); !maps.Equal(said, says("first", true)) {
		w.Errorf("it says %q", said)
	}
}

// again is a redelivery after a crash: signatures may differ, what they say does not.
func again(w *world) {
	first := w.attach(w.own, "first")
	w.registry.Requests()
	for range 2 {
		second := w.attach(w.own, "first")
		if fmt.Sprint(first) != fmt.Sprint(second) {
			w.Errorf("attached first %v, then %v", first, second)
		}
		if writes := w.registry.writes(); len(writes) != 0 {
			w.Errorf("attaching the same again changed the registry: %q", writes)
		}
		w.store = w.create(w.registry)
	}
}

func replaces(w *world) {
	w.attach(w.other, "theirs")
	w.attach(w.own, "first")
	w.attach(w.own, "second")
	if said := w.said(w.own); !maps.Equal(said, says("second", true)) {
		w.Errorf("we say %q", said)
	}
	if said := w.said(w.other); !maps.Equal(said, says("theirs", true)) {
		w.Errorf("the other says %q", said)
	}
	// One type of three is attached; the others stay as they are.
	third := w.envelopes(w.own, w.subject, "third", predicates[0])
	if _, err := w.open(w.own).Attach(w.Context(), w.signature(w.own, w.subject), third); err != nil {
		w.Fatal(err)
	}
	want := says("second", true)
	want[predicates[0]] = `{"said":"third"}`
	if said := w.said(w.own); !maps.Equal(said, want) {
		w.Errorf("after one type was replaced we say %q", said)
	}
}

// refusesOthers checks that nothing is written that could not be read back as our own.
func refusesOthers(w *world) {
	elsewhere := w.registry.Push(w, "team/app")
	moved := w.subject
	moved.Repository.Path = "team/other"
	good, goodSig := w.envelopes(w.own, w.subject, "x"), w.signature(w.own, w.subject)
	second := w.envelopes(w.own, w.subject, "y", predicates[0])
	theirs := w.envelopes(w.other, w.subject, "x")
	w.registry.Requests()
	for name, c := range map[string]struct {
		signature signer.SimpleSignature
		envelopes []signer.Signed
		kind      pratique.Kind
	}{
		"envelope of another identity": {goodSig, theirs, pratique.Unverified},
		"envelope about another image": {goodSig, w.envelopes(w.own, elsewhere, "x"),
			pratique.Unverified},
		"nobody's envelope":                 {goodSig, make([]signer.Signed, 1), pratique.Unverified},
		"signature of another identity":     {w.signature(w.other, w.subject), good, pratique.Unverified},
		"signature of another image":        {w.signature(w.own, elsewhere), good, pratique.Unverified},
		"signature for another repository":  {w.signature(w.own, moved), good, pratique.Unverified},
		"two envelopes of one type":         {goodSig, append(second, good...), pratique.Invalid},
		"denial with an envelope of others": {signer.SimpleSignature{}, theirs, pratique.Unverified},
	} {
		_, err := w.open(w.own).Attach(w.Context(), c.signature, c.envelopes)
		w.wantKind(name, err, c.kind)
	}
	err := w.open(w.own).Upload(w.Context(), theirs[0])
	w.wantKind("upload of another identity", err, pratique.Unverified)
	for name, subject := range map[string]pratique.Subject{
		"no subject": {}, "no digest": {Repository: w.subject.Repository},
	} {
		_, err := w.store.Open(w.Context(), subject, w.own, w.own.Identity())
		w.wantKind(name, err, pratique.Invalid)
	}
	// Whom the verifier does not accept owns nothing, and nobody is not somebody.
	for name, id := range map[string]pratique.Identity{
		"stranger": signertest.NewKey(9).Identity(), "nobody": nil,
	} {
		session, err := w.store.Open(w.Context(), w.subject, w.everybody, id)
		if err == nil {
			_, err = session.Attach(w.Context(), goodSig, good)
		}
		w.wantKind(name, err, pratique.Unverified, pratique.Invalid)
	}
	if writes := w.registry.writes(); len(writes) != 0 {
		w.Errorf("something was written: %q", writes)
	}
}

// uploadsAhead: nobody finds what is uploaded, until it is attached.
func uploadsAhead(w *world) {
	session, es := w.open(w.own), w.envelopes(w.own, w.subject, "first")
	for _, e := range es[:2] {
		if err := session.Upload(w.Context(), e); err != nil {
			w.Fatal(err)
		}
	}
	if said := w.said(w.own); len(said) != 0 {
		w.Errorf("what was only uploaded is found: %q", said)
	}
	if _, err := session.Attach(w.Context(), w.signature(w.own, w.subject), es); err != nil {
		w.Fatal(err)
	}
	if said := w.said(w.own); !maps.Equal(said, says("first", true)) {
		w.Errorf("it says %q", said)
	}
}

// together has writers of one process attach to one image at the same time, each with several
// identities' work.
func together(w *world) {
	var keys []signertest.Key
	var verifiers []signer.Verifier
	for n := range byte(4) {
		keys = append(keys, signertest.NewKey(10+n))
		verifiers = append(verifiers, keys[n])
	}
	w.everybody = signer.AnyOf(verifiers...)
	var wg sync.WaitGroup
	for _, k := range keys {
		sig := w.signature(k, w.subject)
		for _, e := range w.envelopes(k, w.subject, "mine") { // and each of its envelopes on its own
			wg.Go(func() {
				session, err := w.store.Open(w.Context(), w.subject, w.everybody, k.Identity())
				if err == nil {
					_, err = session.Attach(w.Context(), sig, []signer.Signed{e})
				}
				if err != nil {
					w.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, k := range keys {
		if said := w.said(k); !maps.Equal(said, says("mine", true)) {
			w.Errorf("%s says %q", k.Identity(), said)
		}
	}
}
