package pratique

import (
	"strconv"
	"time"
)

// Outcome is what a verdict says.
type Outcome string

// The two outcomes. There is no third: what could not be found out is an [Error].
const (
	Allow Outcome = "allow"
	Deny  Outcome = "deny"
)

// Verdict is the answer of the policy about one subject.
type Verdict struct {
	Subject Subject `json:"subject"`
	Outcome Outcome `json:"outcome"`
	// Reasons are the rules that denied, each with why; empty if the outcome is Allow.
	Reasons []Reason `json:"reasons,omitempty"`
	// Notes are the rules that spoke without denying.
	Notes []Reason `json:"notes,omitempty"`
	// Profile names and pins the rules that gave it.
	Profile Profile `json:"profile"`
	// Inputs are the documents that the policy saw, by digest.
	Inputs []Input `json:"inputs,omitempty"`
	// Children are the verdicts of an index's platforms; the index has the worst of them.
	Children    []ChildVerdict `json:"children,omitempty"`
	EvaluatedAt time.Time      `json:"evaluatedAt"`
}

// Decision is what the policy says about one image. Reasons and Notes are bounded in number and
// bytes, so that a fact and a summary can carry them.
type Decision struct {
	Outcome        Outcome
	Reasons, Notes []Reason
	// AllReasons and AllNotes are set where Reasons and Notes leave something out.
	AllReasons, AllNotes []Reason
}

// PlatformDecision is the decision about one platform of an index.
type PlatformDecision struct {
	Child
	Decision Decision
}

// Reason is a rule that spoke, and why.
type Reason struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
	// Platform is set where the reason concerns one platform of an index.
	Platform Platform `json:"platform,omitempty"`
	// Finding is the vulnerability concerned, Package the package, where the rule named one.
	Finding string `json:"finding,omitempty"`
	Package string `json:"package,omitempty"`
}

// DefaultProfile is the name of the profile that the configuration's policy makes.
const DefaultProfile = "default"

// Profile is a named policy. The digest covers every file of its rules and the parameters, and not the name.
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

// Change is an edit wanted in a config repository: this image, now at this digest, because of that verdict.
type Change struct {
	Subject Subject `json:"subject"`
	// Tag is the tag that was pushed; it is written beside the digest for people to read.
	Tag string `json:"tag,omitempty"`
	// Verdict and VSA are the digests, and Profile the profile, that the commit's trailers name.
	Verdict Digest  `json:"verdict"`
	VSA     Digest  `json:"vsa"`
	Profile Profile `json:"profile"`
	// Event is the report that asked for it.
	Event string `json:"event"`
	// PushedAt is when the push was reported: the sender's time, but never later than ours. It is zero if unknown.
	PushedAt time.Time `json:"pushedAt,omitzero"`
	// Asked says that somebody asked for this image, by a submission; it was not pushed just now.
	Asked bool `json:"asked,omitempty"`
	// RefreshOnly and AllowOlder are those of the event.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
	AllowOlder  bool `json:"allowOlder,omitempty"`
}

// Commit is the commit that made a change, or that was found to have made it already.
type Commit struct {
	// Target is the configured name of the repository and path; Remote and Branch are where it was pushed.
	Target string `json:"target"`
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// Tag is the one for which the places ask that were written.
	Tag string `json:"tag,omitempty"`
	// ID is the hexadecimal id of the Git commit.
	ID string `json:"id"`
	// Created is true if the commit was made for the fact's event, and false if it was there before.
	Created bool         `json:"created,omitempty"`
	Files   []FileChange `json:"files,omitempty"`
	// MoreFiles counts the values that a fact leaves out of Files; the commit has them all.
	MoreFiles int `json:"moreFiles,omitempty"`
	// At is the committer's time.
	At time.Time `json:"at"`
}

// FileChange is one value that was replaced in one file.
type FileChange struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	// Object and Field say where it is for people. The number of an entry in a list changes with those above it.
	Object Object `json:"object,omitzero"`
	Field  string `json:"field,omitempty"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// Problem is a place in a config repository that cannot be edited until people change it.
type Problem struct {
	Path string `json:"path"`
	// Line counts from 1; zero stands for the file or folder as a whole.
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
