package pratique

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Resolved says that an event's ref was resolved to the fact's subject.
type Resolved struct {
	Event    Event    `json:"event"`
	Manifest Manifest `json:"manifest"`
}

// Inspected lists the documents made from one platform image. For an index it lists only the
// children.
type Inspected struct {
	Image     ImageConfig `json:"image,omitzero"`
	Inventory Digest      `json:"inventory,omitzero"`
	SPDX      Digest      `json:"spdx,omitzero"`
	CycloneDX Digest      `json:"cyclonedx,omitzero"`
	Packages  int         `json:"packages"`
	// ExtraKinds are what was looked for besides packages, Extras the document with what was found.
	// Both are empty if nothing was asked for.
	ExtraKinds  []ExtraKind `json:"extraKinds,omitempty"`
	Extras      Digest      `json:"extras,omitzero"`
	ExtraCounts ExtraCounts `json:"extraCounts,omitzero"`
	// Scanner and Generator are the tools that made the inventory and the SBOMs.
	Scanner   Tool `json:"scanner,omitzero"`
	Generator Tool `json:"generator,omitzero"`
	// Compared says how the inventory and the SBOMs differ; nil if an early version inspected the
	// image.
	Compared *Comparison `json:"compared,omitempty"`
	// JavaDatabase is the database in which jars were looked up, if there was one, and
	// JavaUpdatedAt when its publisher built it.
	JavaDatabase  Digest    `json:"javaDatabase,omitzero"`
	JavaUpdatedAt time.Time `json:"javaUpdatedAt,omitzero"`
	StartedAt     time.Time `json:"startedAt,omitzero"`
	Children      []Child   `json:"children,omitempty"`
}

// Scanned names the report of an inventory against a database.
type Scanned struct {
	Report    Digest   `json:"report"`
	Inventory Digest   `json:"inventory"`
	Database  Database `json:"database"`
	Counts    Counts   `json:"counts"`
	Fixable   int      `json:"fixable"`
	// StartedAt is when matching began, ScannedAt when it ended. The report's document has no time.
	StartedAt time.Time `json:"startedAt,omitzero"`
	ScannedAt time.Time `json:"scannedAt"`
}

// Affected says that an image is newly affected: a change of the vulnerability database brought
// findings that its report did not have.
type Affected struct {
	// Report is the new report, Before the one that was compared; Database the one that the
	// findings came with.
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

// Evaluated is a verdict and the digest of its document.
type Evaluated struct {
	Verdict Verdict `json:"verdict"`
	Digest  Digest  `json:"digest"`
}

// Attested lists the signature and the attestations that were read back from the registry and
// verified.
type Attested struct {
	// Verdict is the digest of the verdict document that the VSA states.
	Verdict Digest `json:"verdict"`
	// VSA is the digest of the verification summary's envelope, Verifier the id that it carries.
	VSA          Digest        `json:"vsa"`
	Verifier     string        `json:"verifier,omitempty"`
	Attestations []Attestation `json:"attestations"`
	// Notes say what of others had to be left out or replaced in the registry, so that these could
	// be attached.
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

// FormatCosignTags is the layout of cosign 2: signatures under the tag sha256-….sig, envelopes
// under sha256-….att.
const FormatCosignTags AttestationFormat = "cosign-tags"

// UnmarshalJSON implements [json.Unmarshaler]: the form of the signer shows which [Identity] it is.
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

// Answered is the end of the work for one event in one target. The event's own end follows from
// those of its targets; see [EndOf].
type Answered struct {
	Target string `json:"target"`
	// State is deployed, allowed, superseded, reverted or failed.
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	// Problems are places of the target that could not be edited, at most [MaxProblems].
	Problems []PlaceProblem `json:"problems,omitempty"`
}

// EndOf returns how an event ends whose targets gave these answers: as failed if a target failed,
// as reverted or superseded if one is that, as deployed if one holds the image, and as allowed
// otherwise.
func EndOf(answers []Answered) Completed {
	var end Completed
	for _, state := range []State{StateFailed, StateReverted, StateSuperseded, StateDeployed,
		StateAllowed} {
		for _, a := range answers {
			if a.State != state {
				continue
			}
			end.State = cmp.Or(end.State, state)
			if a.Detail != "" {
				end.Detail = strings.TrimPrefix(end.Detail+"; "+a.Detail, "; ")
			}
		}
	}
	end.State = cmp.Or(end.State, StateAllowed)
	for _, a := range answers {
		end.Problems = append(end.Problems,
			a.Problems[:min(len(a.Problems), MaxProblems-len(end.Problems))]...)
	}
	return end
}

// Completed is the end of the work for one event.
type Completed struct {
	State  State    `json:"state"`
	Detail string   `json:"detail,omitempty"`
	Ref    ImageRef `json:"ref"`
	// By is who canceled the work: the name of a token.
	By string `json:"by,omitempty"`
	// Outcome is what the verdict said that the work ended with, and Verdict the digest of its
	// document. Later verdicts about the subject do not change how this event ended. Both are zero
	// where there was none.
	Outcome Outcome `json:"outcome,omitempty"`
	Verdict Digest  `json:"verdict,omitzero"`
	// Problems are places in config repositories that could not be edited, at most [MaxProblems].
	// They are other images', or nobody knows whose.
	Problems []PlaceProblem `json:"problems,omitempty"`
}

// Failed says that a stage could not find out, and why.
type Failed struct {
	Stage   string   `json:"stage"`
	Kind    Kind     `json:"kind"`
	Message string   `json:"message"`
	Ref     ImageRef `json:"ref,omitzero"`
	// Target is the one that was being written; empty if it was none.
	Target string `json:"target,omitempty"`
	// Attempts counts the deliveries so far; Final is set when there will be no other.
	Attempts int  `json:"attempts"`
	Final    bool `json:"final"`
}

// The kinds of the bodies, and what each does to the record of its subject.

// FactKind implements [Body].
func (*Event) FactKind() FactKind { return FactReceived }

// FactKind implements [Body].
func (*Resolved) FactKind() FactKind { return FactResolved }

// FactKind implements [Body].
func (*Inspected) FactKind() FactKind { return FactInspected }

// FactKind implements [Body].
func (*Scanned) FactKind() FactKind { return FactScanned }

// FactKind implements [Body].
func (*Affected) FactKind() FactKind { return FactAffected }

// FactKind implements [Body].
func (*Evaluated) FactKind() FactKind { return FactEvaluated }

// FactKind implements [Body].
func (*Attested) FactKind() FactKind { return FactAttested }

// FactKind implements [Body].
func (*Commit) FactKind() FactKind { return FactDeployed }

// FactKind implements [Body].
func (*Drifted) FactKind() FactKind { return FactDrifted }

// FactKind implements [Body].
func (*Answered) FactKind() FactKind { return FactAnswered }

// FactKind implements [Body].
func (*Completed) FactKind() FactKind { return FactCompleted }

// FactKind implements [Body].
func (*Failed) FactKind() FactKind { return FactFailed }

func (*Event) fold(*Record)         {}
func (b *Resolved) fold(r *Record)  { r.Resolved = b }
func (b *Inspected) fold(r *Record) { r.Inspected = b }
func (b *Scanned) fold(r *Record)   { r.Scanned = b }
func (b *Affected) fold(r *Record)  { r.Affected = b }
func (b *Evaluated) fold(r *Record) { r.Evaluated = b }
func (b *Attested) fold(r *Record)  { r.Attested = b }
func (*Answered) fold(*Record)      {}
func (b *Completed) fold(r *Record) { r.Completed = b }
func (b *Failed) fold(r *Record)    { r.Failed = b }

func (b *Commit) fold(r *Record) {
	r.forgetDrift(b.Target)
	// A redelivered job may report the commit that it found again.
	same := func(c Commit) bool { return c.Target == b.Target && c.ID == b.ID }
	if !slices.ContainsFunc(r.Deployed, same) {
		r.Deployed = append(r.Deployed, *b)
	}
}

func (b *Drifted) fold(r *Record) {
	r.forgetDrift(b.Target) // the newest for each target is kept
	r.Drifted = append(r.Drifted, *b)
}
