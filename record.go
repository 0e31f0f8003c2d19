package pratique

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// FactKind says what happened to a subject.
type FactKind string

// The kinds of facts, in the order of a push that goes well, then the ways it can end otherwise.
const (
	FactReceived  FactKind = "received"
	FactSeen      FactKind = "seen"
	FactInspected FactKind = "inspected"
	FactMatched   FactKind = "matched"
	FactAffected  FactKind = "affected"
	FactJudged    FactKind = "judged"
	FactAttested  FactKind = "attested"
	FactDeployed  FactKind = "deployed"
	FactDrifted   FactKind = "drifted"
	FactSettled   FactKind = "settled"
	FactFailed    FactKind = "failed"
)

// FactKinds returns every kind, in the order above.
func FactKinds() []FactKind {
	return []FactKind{
		FactReceived, FactSeen, FactInspected, FactMatched, FactAffected, FactJudged, FactAttested, FactDeployed, FactDrifted,
		FactSettled, FactFailed,
	}
}

// Fact is one immutable thing that happened to a subject. Exactly one of the pointers is set, the one its
// kind names. The subject is zero while an event's ref is not resolved: then only Event says what it is about.
// A received fact is recorded for submissions, which people wait for, and for events that end before they are seen; a
// webhook's first fact is seen otherwise.
type Fact struct {
	Kind    FactKind  `json:"kind"`
	Subject Subject   `json:"subject,omitzero"`
	At      time.Time `json:"at"`
	// By is the role and instance that recorded it, for example "attest@host-1".
	By string `json:"by"`
	// Event is the report that led to it; empty for work that no push asked for.
	Event string `json:"event,omitempty"`

	Received  *Event     `json:"received,omitempty"`
	Seen      *Seen      `json:"seen,omitempty"`
	Inspected *Inspected `json:"inspected,omitempty"`
	Matched   *Matched   `json:"matched,omitempty"`
	Affected  *Affected  `json:"affected,omitempty"`
	Judged    *Judged    `json:"judged,omitempty"`
	Attested  *Attested  `json:"attested,omitempty"`
	Deployed  *Commit    `json:"deployed,omitempty"`
	Drifted   *Drifted   `json:"drifted,omitempty"`
	Settled   *Settled   `json:"settled,omitempty"`
	Failed    *Failed    `json:"failed,omitempty"`
}

// Seen says that an event's ref was resolved to the fact's subject.
type Seen struct {
	Event    Event    `json:"event"`
	Manifest Manifest `json:"manifest"`
}

// Inspected lists the documents made from one platform image. For an index it lists only the children.
type Inspected struct {
	Image     ImageConfig `json:"image,omitzero"`
	Inventory Digest      `json:"inventory,omitzero"`
	SPDX      Digest      `json:"spdx,omitzero"`
	CycloneDX Digest      `json:"cyclonedx,omitzero"`
	Packages  int         `json:"packages"`
	// Scanned are the sections that were looked for, Sections the document with what was found; both are empty
	// where none was asked for.
	Scanned       []Section     `json:"scanned,omitempty"`
	Sections      Digest        `json:"sections,omitzero"`
	SectionCounts SectionCounts `json:"sectionCounts,omitzero"`
	// Scanner and Generator are the tools that made the inventory and the SBOMs.
	Scanner   Tool `json:"scanner,omitzero"`
	Generator Tool `json:"generator,omitzero"`
	// Compared says how the inventory and the SBOMs differ; nil if an early version inspected the image.
	Compared *Comparison `json:"compared,omitempty"`
	// JavaDatabase is the database in which jars were looked up, if there was one, and JavaUpdatedAt when its publisher
	// built it.
	JavaDatabase  Digest    `json:"javaDatabase,omitzero"`
	JavaUpdatedAt time.Time `json:"javaUpdatedAt,omitzero"`
	StartedAt     time.Time `json:"startedAt,omitzero"`
	Children      []Child   `json:"children,omitempty"`
}

// Matched names the report of an inventory against a database.
type Matched struct {
	Report    Digest    `json:"report"`
	Inventory Digest    `json:"inventory"`
	Database  Database  `json:"database"`
	Counts    Counts    `json:"counts"`
	Fixable   int       `json:"fixable"`
	StartedAt time.Time `json:"startedAt,omitzero"`
}

// Affected says that an image is newly affected: a change of the vulnerability database brought findings that its
// report did not have.
type Affected struct {
	// Report is the new report, Before the one that was compared; Database the one that the findings came with.
	Report   Digest   `json:"report"`
	Before   Digest   `json:"before"`
	Database Database `json:"database"`
	// Total counts the new findings; Findings are the gravest of them, at most [MaxAffected].
	Total    int               `json:"total"`
	Findings []AffectedFinding `json:"findings"`
}

// MaxAffected bounds [Affected.Findings]; the report has them all.
const MaxAffected = 100

// AffectedFinding is a new finding in short.
type AffectedFinding struct {
	ID        string   `json:"id"`
	Package   string   `json:"package"`
	Installed string   `json:"installed"`
	Fixed     string   `json:"fixed,omitempty"`
	Severity  Severity `json:"severity"`
}

// Judged is a verdict and the digest of its document.
type Judged struct {
	Verdict Verdict `json:"verdict"`
	Digest  Digest  `json:"digest"`
}

// Attested lists the signature and the attestations that were read back from the registry and verified.
type Attested struct {
	// Verdict is the digest of the verdict document that the VSA states.
	Verdict Digest `json:"verdict"`
	// VSA is the digest of the verification summary's envelope, Verifier the id that it carries.
	VSA          Digest        `json:"vsa"`
	Verifier     string        `json:"verifier,omitempty"`
	Attestations []Attestation `json:"attestations"`
	// Notes say what of others had to be left out or replaced in the registry, so that these could be attached.
	Notes []string `json:"notes,omitempty"`
}

// Attestation is one signed object in the registry.
type Attestation struct {
	// PredicateType is empty for the plain image signature.
	PredicateType string `json:"predicateType,omitempty"`
	// Digest is that of the envelope, or of the signed payload of a plain signature; Size in bytes.
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	// Location is the reference it was read back from, Signer the identity that it verified as.
	Location string   `json:"location"`
	Signer   Identity `json:"signer"`
	// Format says how it is attached.
	Format AttestationFormat `json:"format"`
}

// AttestationFormat says how signed objects are attached to an image.
type AttestationFormat string

// FormatCosignTags is the layout of cosign 2: signatures under the tag sha256-….sig, envelopes under sha256-….att.
const FormatCosignTags AttestationFormat = "cosign-tags"

// UnmarshalJSON implements [json.Unmarshaler]: which [Identity] the signer is shows in the form.
func (a *Attestation) UnmarshalJSON(data []byte) error {
	type plain Attestation // without this method
	in := struct {
		*plain
		Signer json.RawMessage `json:"signer"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	a.Signer = nil
	if in.Signer == nil {
		return nil
	}
	var err error
	if a.Signer, err = ParseIdentity(in.Signer); err != nil {
		return fmt.Errorf("signer: %w", err)
	}
	return nil
}

// State is how the work for an event ended.
type State string

// The end states. Every accepted event reaches exactly one of them.
const (
	StateDeployed   State = "deployed"   // allowed, and every matching target held the digest at the tip of its branch
	StateAllowed    State = "allowed"    // allowed, and no target asks for this image
	StateDenied     State = "denied"     // the verdict is deny; nothing was written to Git
	StateSuperseded State = "superseded" // allowed, but its tag, or its places in Git, belong to a newer push
	StateReverted   State = "reverted"   // allowed, and deployed before, but somebody took it out of Git since
	StateIgnored    State = "ignored"    // not a container image
	StateFailed     State = "failed"     // could not find out; see the failed fact
	StateCancelled  State = "cancelled"  // somebody stopped the work
)

// Settled is the end of the work for one event.
type Settled struct {
	State  State    `json:"state"`
	Detail string   `json:"detail,omitempty"`
	Ref    ImageRef `json:"ref"`
	// By is who cancelled the work: the name of a token.
	By string `json:"by,omitempty"`
	// Outcome is what the verdict said that the work ended with, and Verdict the digest of its document. Later
	// verdicts about the subject do not change how this event ended. Both are zero where there was none.
	Outcome Outcome `json:"outcome,omitempty"`
	Verdict Digest  `json:"verdict,omitzero"`
	// Problems are places in config repositories that could not be edited, at most [MaxProblems]. They are other images', or
	// nobody knows whose.
	Problems []PlaceProblem `json:"problems,omitempty"`
}

// Failed says that a stage could not find out, and why.
type Failed struct {
	Stage   string   `json:"stage"`
	Kind    Kind     `json:"kind"`
	Message string   `json:"message"`
	Ref     ImageRef `json:"ref,omitzero"`
	// Attempts counts the deliveries so far; Final is set when there will be no other.
	Attempts int  `json:"attempts"`
	Final    bool `json:"final"`
}

// Record is all facts of one subject, folded: for each kind the newest, and the list of when and by whom.
type Record struct {
	Subject   Subject    `json:"subject"`
	Seen      *Seen      `json:"seen,omitempty"`
	Inspected *Inspected `json:"inspected,omitempty"`
	Matched   *Matched   `json:"matched,omitempty"`
	Affected  *Affected  `json:"affected,omitempty"`
	Judged    *Judged    `json:"judged,omitempty"`
	Attested  *Attested  `json:"attested,omitempty"`
	Settled   *Settled   `json:"settled,omitempty"`
	Failed    *Failed    `json:"failed,omitempty"`
	// Deployed holds every commit, oldest first.
	Deployed []Commit `json:"deployed,omitempty"`
	// Drifted are the targets among them that do not hold the subject any longer, the newest fact for each.
	Drifted []Drifted `json:"drifted,omitempty"`
	// History lists at most [MaxHistory] facts in ledger order: the first, the newest, and always the last one that
	// is seen or settled, which says whether work goes on. The ledger has them all; Facts counts them.
	History []FactRef `json:"history"`
	Facts   int       `json:"facts"`
}

// MaxHistory bounds [Record.History], since an image may be pushed and matched anew for years.
const MaxHistory = 200

// FactRef is a fact without its content. Seq is its position in the ledger.
type FactRef struct {
	Seq   uint64    `json:"seq"`
	Kind  FactKind  `json:"kind"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
	Event string    `json:"event,omitempty"`
}

// Fold adds the fact at ledger position seq. Facts must be folded in ledger order.
func (r *Record) Fold(seq uint64, f Fact) {
	r.Subject = f.Subject
	r.remember(FactRef{Seq: seq, Kind: f.Kind, At: f.At, By: f.By, Event: f.Event})
	switch f.Kind {
	case FactSeen:
		r.Seen = f.Seen
	case FactInspected:
		r.Inspected = f.Inspected
	case FactMatched:
		r.Matched = f.Matched
	case FactAffected:
		r.Affected = f.Affected
	case FactJudged:
		r.Judged = f.Judged
	case FactAttested:
		r.Attested = f.Attested
	case FactDeployed:
		r.forgetDrift(f.Deployed.Target)
		// A redelivered job may report the commit it found again.
		same := func(c Commit) bool { return c.Target == f.Deployed.Target && c.ID == f.Deployed.ID }
		if !slices.ContainsFunc(r.Deployed, same) {
			r.Deployed = append(r.Deployed, *f.Deployed)
		}
	case FactDrifted:
		r.forgetDrift(f.Drifted.Target) // the newest for each target is kept
		r.Drifted = append(r.Drifted, *f.Drifted)
	case FactSettled:
		r.Settled = f.Settled
	case FactFailed:
		r.Failed = f.Failed
	}
}

func (r *Record) remember(f FactRef) {
	r.Facts++
	r.History = append(r.History, f)
	if len(r.History) <= MaxHistory {
		return
	}
	turn := func(f FactRef) bool { return f.Kind == FactSeen || f.Kind == FactSettled }
	drop := 1
	if turn(r.History[1]) && !slices.ContainsFunc(r.History[2:], turn) {
		drop = 2
	}
	r.History = slices.Delete(r.History, drop, drop+1)
}

// Validate checks that the fact carries the content that its kind names, and no other.
func (f Fact) Validate() error {
	content := map[FactKind]bool{
		FactReceived: f.Received != nil, FactSeen: f.Seen != nil, FactInspected: f.Inspected != nil, FactMatched: f.Matched != nil,
		FactAffected: f.Affected != nil, FactJudged: f.Judged != nil, FactAttested: f.Attested != nil, FactDeployed: f.Deployed != nil,
		FactDrifted: f.Drifted != nil, FactSettled: f.Settled != nil, FactFailed: f.Failed != nil,
	}
	if !content[f.Kind] {
		return Errorf(Internal, "validate fact", "fact of kind %q without its content", f.Kind)
	}
	for kind, set := range content {
		if set && kind != f.Kind {
			return Errorf(Internal, "validate fact", "fact of kind %q carries content of %q", f.Kind, kind)
		}
	}
	return nil
}
