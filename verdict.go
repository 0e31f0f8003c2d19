package pratique

import (
	"strconv"
	"time"
)

// Outcome is allow or deny.
type Outcome string

// The outcomes. There is no third: if something could not be found out, that is an [Error].
const (
	Allow Outcome = "allow"
	Deny  Outcome = "deny"
)

// Verdict is the policy's answer about one subject.
type Verdict struct {
	Subject Subject `json:"subject"`
	Outcome Outcome `json:"outcome"`
	// Reasons are the rules that denied; empty if the outcome is Allow.
	Reasons []Reason `json:"reasons,omitempty"`
	// Notes are rules that matched without denying.
	Notes []Reason `json:"notes,omitempty"`
	// Profile is the policy that gave the verdict.
	Profile Profile `json:"profile"`
	// Inputs are the documents that the policy saw, by digest.
	Inputs []Input `json:"inputs,omitempty"`
	// Children are the verdicts of an index's platforms; the index has the worst of them.
	Children    []ChildVerdict `json:"children,omitempty"`
	EvaluatedAt time.Time      `json:"evaluatedAt"`
}

// Decision is the policy's answer about one image. Reasons and Notes are bounded, so that facts and
// summaries have room for them.
type Decision struct {
	Outcome        Outcome
	Reasons, Notes []Reason
	// AllReasons and AllNotes are set if Reasons and Notes are not complete.
	AllReasons, AllNotes []Reason
}

// PlatformDecision is the decision about one platform of an index.
type PlatformDecision struct {
	Child
	Decision Decision
}

// Reason is a rule that matched, and why.
type Reason struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
	// Platform is set if the reason is about one platform of an index.
	Platform Platform `json:"platform,omitempty"`
	// Finding is the vulnerability and Package the package, if the rule names one.
	Finding string `json:"finding,omitempty"`
	Package string `json:"package,omitempty"`
}

// DefaultProfile is the name of the profile in the configuration.
const DefaultProfile = "default"

// Profile is a named policy. The digest covers its rules and parameters, and not its name.
type Profile struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
}

// String returns the name and the digest, "default sha256:…".
func (p Profile) String() string { return p.Name + " " + p.Digest.String() }

// Input is a document that a verdict rests on.
type Input struct {
	// Kind is what it is: "report", "inventory", "spdx", "cyclonedx".
	Kind   string `json:"kind"`
	Digest Digest `json:"digest"`
}

// ChildVerdict is the outcome for one platform of an index.
type ChildVerdict struct {
	Child
	Outcome Outcome `json:"outcome"`
}

// Change is an edit wanted in a config repository: this image at this digest, because of this
// verdict.
type Change struct {
	Subject Subject `json:"subject"`
	// Tag is the tag that was pushed. It is written next to the digest for people.
	Tag string `json:"tag,omitempty"`
	// Verdict and VSA are the digests, and Profile the profile, that the commit's trailers name.
	Verdict Digest  `json:"verdict"`
	VSA     Digest  `json:"vsa"`
	Profile Profile `json:"profile"`
	// Event is the report that asked for it.
	Event string `json:"event"`
	// PushedAt is when the push was reported: the sender's time, but never later than ours. It is
	// zero if unknown.
	PushedAt time.Time `json:"pushedAt,omitzero"`
	// Asked says that the image was submitted, not pushed.
	Asked bool `json:"asked,omitempty"`
	// RefreshOnly and AllowOlder are those of the event.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
	AllowOlder  bool `json:"allowOlder,omitempty"`
}

// Commit is the commit that made a change, or was found to have made it.
type Commit struct {
	// Target is the configured name of the repository and path; Remote and Branch are where it was
	// pushed.
	Target string `json:"target"`
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// Tag is the one for which the places ask that were written.
	Tag string `json:"tag,omitempty"`
	// ID is the hexadecimal id of the Git commit.
	ID string `json:"id"`
	// Created is true if the commit was made for the fact's event, and false if it existed before.
	Created bool         `json:"created,omitempty"`
	Files   []FileChange `json:"files,omitempty"`
	// MoreFiles counts the values that a fact has no room for; the commit has them all.
	MoreFiles int `json:"moreFiles,omitempty"`
	// At is the committer's time.
	At time.Time `json:"at"`
}

// FileChange is one value that was replaced in one file.
type FileChange struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	// Object and Field are for people. The index of a list entry changes with the entries above it.
	Object Object `json:"object,omitzero"`
	Field  string `json:"field,omitempty"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// Problem is a place in a config repository that cannot be edited until somebody changes it.
type Problem struct {
	Path string `json:"path"`
	// Line counts from 1; zero means the whole file or folder.
	Line   int    `json:"line,omitempty"`
	Reason string `json:"reason"`
}

// String returns "path:line: reason".
func (p Problem) String() string {
	switch {
	case p.Path == "":
		return p.Reason
	case p.Line == 0:
		return p.Path + ": " + p.Reason
	}
	return p.Path + ":" + strconv.Itoa(p.Line) + ": " + p.Reason
}
