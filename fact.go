package pratique

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// FactKind names what happened.
type FactKind string

// The kinds of facts, in the order of a push that goes well.
const (
	FactReceived  FactKind = "received"
	FactResolved  FactKind = "resolved"
	FactInspected FactKind = "inspected"
	FactScanned   FactKind = "scanned"
	FactAffected  FactKind = "affected"
	FactEvaluated FactKind = "evaluated"
	FactAttested  FactKind = "attested"
	FactDeployed  FactKind = "deployed"
	FactDrifted   FactKind = "drifted"
	FactAnswered  FactKind = "answered"
	FactCompleted FactKind = "completed"
	FactFailed    FactKind = "failed"
)

// About says what there is one newest fact of a kind for.
type About int

// What facts are about.
const (
	AboutSubject    About = iota // the newest fact of a subject replaces those before
	AboutEvent                   // one for each event, and a subject may have many events
	AboutDeployment              // one for each target in which the subject's repository is deployed
	AboutAnswer                  // one for each event and each target
)

// Role is a part of the service that holds rights of its own: docs/ARCHITECTURE.md says which.
type Role string

// The roles.
const (
	RoleReceive Role = "receive"
	RoleInspect Role = "inspect"
	RoleAttest  Role = "attest"
	RoleDeploy  Role = "deploy"
	RoleQuery   Role = "query"
	// RoleOperate is RoleQuery when it acts for an operator on the work of others.
	RoleOperate Role = "operate"
)

// factRow is a row of the table of facts: all that is known of a kind. A new kind is a row here,
// and the type of its body. Folding, validation, the ledger's subjects, the states of the API and
// docs/facts.md come from the table.
type factRow struct {
	kind  FactKind
	about About
	// progress orders the kinds of a push that goes on. 0 says nothing about that.
	progress int
	body     func() Body
	// by are the roles that write such facts.
	by    []Role
	means string
}

var factTable = [...]factRow{
	{FactReceived, AboutEvent, 1, newBody[Event],
		[]Role{RoleReceive, RoleInspect, RoleQuery, RoleOperate},
		"A push or a submission was accepted."},
	{FactResolved, AboutSubject, 2, newBody[Resolved], []Role{RoleInspect},
		"The registry said which digest the reference names."},
	{FactInspected, AboutSubject, 3, newBody[Inspected], []Role{RoleInspect},
		"Packages were found and SBOMs made."},
	{FactScanned, AboutSubject, 4, newBody[Scanned], []Role{RoleInspect},
		"The packages were matched against a vulnerability database."},
	{FactAffected, AboutSubject, 5, newBody[Affected], []Role{RoleInspect},
		"A newer vulnerability database brought new findings."},
	{FactEvaluated, AboutSubject, 6, newBody[Evaluated], []Role{RoleAttest},
		"The policy gave a verdict."},
	{FactAttested, AboutSubject, 7, newBody[Attested], []Role{RoleAttest},
		"Signature and attestations were written to the registry and read back."},
	{FactDeployed, AboutDeployment, 8, newBody[Commit], []Role{RoleDeploy},
		"A commit in a config repository names the digest."},
	{FactDrifted, AboutDeployment, 0, newBody[Drifted], []Role{RoleDeploy},
		"The config repository no longer holds the digest."},
	{FactAnswered, AboutAnswer, 0, newBody[Answered], []Role{RoleDeploy},
		"A target has answered the event: it holds the digest, or it says why not."},
	{FactCompleted, AboutEvent, 0, newBody[Completed],
		[]Role{RoleInspect, RoleAttest, RoleDeploy, RoleOperate}, "The work for the event has ended."},
	{FactFailed, AboutEvent, 0, newBody[Failed],
		[]Role{RoleReceive, RoleInspect, RoleAttest, RoleDeploy}, "An attempt failed."},
}

// newBody returns an empty body of type T.
func newBody[T any, B interface {
	*T
	Body
}]() Body {
	return B(new(T))
}

// FactKinds returns every kind, in the order of a push that goes well.
func FactKinds() []FactKind {
	kinds := make([]FactKind, len(factTable))
	for i, row := range factTable {
		kinds[i] = row.kind
	}
	return kinds
}

func (k FactKind) row() factRow {
	for _, row := range factTable {
		if row.kind == k {
			return row
		}
	}
	return factRow{}
}

// About returns what there is one newest fact of this kind for.
func (k FactKind) About() About { return k.row().about }

// WrittenBy says whether a role writes facts of this kind.
func (k FactKind) WrittenBy(r Role) bool { return slices.Contains(k.row().by, r) }

// Means returns a sentence that says what happened; it is empty for an unknown kind.
func (k FactKind) Means() string { return k.row().means }

// Body is the content of a fact. Each kind has a type of its own; the table of facts lists them.
type Body interface {
	// FactKind is the kind of the facts that have this content.
	FactKind() FactKind
	// fold adds the content to the record of its subject.
	fold(*Record)
}

// Fact is one immutable thing that happened to a subject. The subject is zero while an event's
// reference is not resolved: then Event alone says what the fact is about. A received fact is
// recorded for submissions, which people wait for, and for events that end before they are
// resolved. Otherwise an event's first fact is resolved.
type Fact struct {
	Subject Subject
	At      time.Time
	// By is the role and instance that recorded it, for example "attest@host-1".
	By string
	// Event is the report that led to it. It is empty for work that no push asked for.
	Event string
	Body  Body
}

// Kind returns the kind of the fact's body; it is empty for a zero fact.
func (f Fact) Kind() FactKind {
	if f.Body == nil {
		return ""
	}
	return f.Body.FactKind()
}

// Target returns the name of the target that a fact about a deployment, or about its answer, names;
// it is empty for others.
func (f Fact) Target() string {
	switch body := f.Body.(type) {
	case *Commit:
		return body.Target
	case *Drifted:
		return body.Target
	case *Answered:
		return body.Target
	}
	return ""
}

// As returns the body of a fact of which it is the type, and nil for any other: As[Scanned](f) is
// the report that a scanned fact names.
func As[T any](f Fact) *T {
	body, _ := any(f.Body).(*T)
	return body
}

// storedFact is the JSON form of a fact.
type storedFact struct {
	Kind    FactKind        `json:"kind"`
	Subject Subject         `json:"subject,omitzero"`
	At      time.Time       `json:"at"`
	By      string          `json:"by"`
	Event   string          `json:"event,omitempty"`
	Body    json.RawMessage `json:"body"`
}

// MarshalJSON writes the kind and, as "body", the content.
func (f Fact) MarshalJSON() ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(f.Body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(storedFact{Kind: f.Kind(), Subject: f.Subject, At: f.At, By: f.By,
		Event: f.Event, Body: body})
}

// UnmarshalJSON reads what MarshalJSON wrote. A kind that is not in the table is an error.
func (f *Fact) UnmarshalJSON(b []byte) error {
	var s storedFact
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	row := s.Kind.row()
	if row.body == nil {
		return fmt.Errorf("%q is no kind of fact", Excerpt(string(s.Kind), 64))
	}
	*f = Fact{Subject: s.Subject, At: s.At, By: s.By, Event: s.Event, Body: row.body()}
	return json.Unmarshal(s.Body, f.Body)
}

// Validate checks that the fact has content.
func (f Fact) Validate() error {
	if f.Body == nil || reflect.ValueOf(f.Body).IsNil() {
		return Errorf(Internal, "validate fact", "a fact without content")
	}
	return nil
}
