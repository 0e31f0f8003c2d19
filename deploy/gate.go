package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
)

// Config is what a [Gate] needs.
type Config struct {
	Targets   []Target
	Summaries Summaries
	Tags      Tags
	// Profiles are those whose verdicts are accepted; at least one.
	Profiles []pratique.Profile
	// Verifier is the id a summary has to name; empty accepts any whose signature holds.
	Verifier string
	// MaxAge is how old a summary may be, 24 hours if zero.
	MaxAge time.Duration
	// Ages returns when images were built. It is asked if nothing else shows which of two images is
	// older. It may be nil.
	Ages Ages
	Now  func() time.Time
}

// Gate turns changes into commits. It is safe for concurrent use if its parts are.
type Gate struct {
	c       Config
	looking chan struct{} // has room for one call of Places
}

// New checks the configuration.
func New(c Config) (*Gate, error) {
	const op = "set up gate"
	if c.Summaries == nil || c.Tags == nil || c.Now == nil {
		return nil, pratique.Errorf(pratique.Invalid, op, "summaries, tags and clock are needed")
	}
	if len(c.Profiles) == 0 || slices.ContainsFunc(c.Profiles, func(p pratique.Profile) bool {
		return p.Name == "" || p.Digest.IsZero()
	}) {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"name at least one profile, with its digest, whose verdicts are accepted")
	}
	if c.MaxAge <= 0 {
		c.MaxAge = 24 * time.Hour
	}
	names := map[string]bool{}
	for _, t := range c.Targets {
		if err := t.Validate(); err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, "", err)
		}
		if names[t.Name] {
			return nil, pratique.Errorf(pratique.Invalid, op, "two targets are named %s", t.Name)
		}
		names[t.Name] = true
	}
	return &Gate{c: c, looking: make(chan struct{}, 1)}, nil
}

// errSuperseded ends an edit without a commit because the tag has moved on.
var errSuperseded = errors.New("superseded")

// Targets returns the names of the targets that ask for an image under a tag, or why there are none.
func (g *Gate) Targets(repository pratique.Repository, tag string) (names []string, why string) {
	for _, t := range g.c.Targets {
		if t.Matches(repository, tag) {
			names = append(names, t.Name)
		}
	}
	switch {
	case len(names) > 0:
		return names, ""
	case tag == "":
		return nil, "the image was pushed by digest, without a tag"
	}
	return nil, fmt.Sprintf("no target asks for %s:%s", repository, tag)
}

// Check returns nil if the subject's verification summary allows it; the errors are those of
// [Gate.Deploy].
func (g *Gate) Check(ctx context.Context, s pratique.Subject) error {
	if err := check(pratique.Change{Subject: s}); err != nil {
		return pratique.Wrap(pratique.Invalid, "deploy", s.String(), err)
	}
	_, err := g.verify(ctx, s)
	return pratique.Wrap(pratique.Unknown, "deploy", s.String(), err)
}

// Deploy writes the change to one target in one commit. Of the change it uses what identifies it:
// Subject, Tag and Event. It reads and checks the verification summary itself, and resolves the tag
// again before the commit. Verdict, VSA and Profile are ignored and may be zero; the commit's
// trailers name those of the verified summary. A target that does not ask for the image, or is no
// longer configured, ends as allowed.
//
// Errors have kind Unverified if there is no summary or it does not allow the image, and Stale if
// it is too old: the gate refuses, and a new attestation may help. No other failure has these
// kinds; it has the kind of what failed, or Denied where that would be one of the two, and Denied
// if a place of the image cannot be edited until people change it, with its path and line; the
// other places of the image were written, and the outcome has their commit.
func (g *Gate) Deploy(ctx context.Context, target string, c pratique.Change) (Outcome, error) {
	const op = "deploy"
	if err := check(c); err != nil {
		return Outcome{}, pratique.Wrap(pratique.Invalid, op, c.Subject.String(), err)
	}
	vsa, err := g.verify(ctx, c.Subject)
	if err != nil {
		return Outcome{}, pratique.Wrap(pratique.Unknown, op, c.Subject.String(), err)
	}
	// What goes into the commit is what was verified here.
	c.VSA, c.Profile, c.Verdict = vsa.Envelope, vsa.Profile, vsa.Verdict
	t, ok := g.target(target)
	if !ok || !t.Matches(c.Subject.Repository, c.Tag) {
		return Outcome{State: pratique.StateAllowed,
			Detail: fmt.Sprintf("target %s no longer asks for %s:%s", target, c.Subject.Repository,
				c.Tag)}, nil
	}
	e, problems, err := g.write(ctx, t, c)
	out := Outcome{State: e.state, Drifted: e.drift, Problems: problems}
	if e.state == pratique.StateDeployed {
		out.Commit = &e.commit
	}
	if e.detail != "" {
		out.Detail = fmt.Sprintf("target %s: %s", t.Name, e.detail)
	}
	if err == nil {
		err = waiting(problems)
	}
	switch {
	case errors.Is(err, errSuperseded):
		out.State, out.Detail = pratique.StateSuperseded, err.Error()
	case err != nil:
		return out, pratique.Wrap(pratique.Unknown, op, c.Subject.String(),
			fmt.Errorf("target %s: %w", t.Name, noRefusal(err)))
	case out.State == pratique.StateAllowed && out.Detail == "":
		out.Detail = fmt.Sprintf("no place below %s of target %s asks for %s:%s; pratique why says what names the image there, docs/editing.md how it is marked", below(t), t.Name, c.Subject.Repository, c.Tag)
	}
	return out, nil
}

func (g *Gate) target(name string) (Target, bool) {
	i := slices.IndexFunc(g.c.Targets, func(t Target) bool { return t.Name == name })
	if i < 0 {
		return Target{}, false
	}
	return g.c.Targets[i], true
}

// Busy returns for how long starting a change of the target makes no sense, because other updates
// of its repository are waiting or its server is backing off. It is 0 if the target can be written,
// or is unknown.
func (g *Gate) Busy(target string) time.Duration {
	t, ok := g.target(target)
	if !ok {
		return 0
	}
	if b, ok := t.Repository.(Busy); ok {
		return max(b.Busy(), 0)
	}
	return 0
}

// noRefusal replaces the kinds that are reserved for a refusal by the gate.
func noRefusal(err error) error {
	switch pratique.KindOf(err) {
	case pratique.Unverified, pratique.Stale:
		return pratique.Wrap(pratique.Denied, "write change", "", err)
	}
	return err
}

// check validates the text of a change, which came in a message, before any of it gets into files
// and commits.
func check(c pratique.Change) error {
	if c.Subject.Digest.IsZero() {
		return errors.New("the change names no digest")
	}
	ref := pratique.ImageRef{Repository: c.Subject.Repository, Tag: c.Tag, Digest: c.Subject.Digest}
	return ref.Validate()
}

// verify reads the summary and refuses all but a fresh one that allows exactly this subject.
func (g *Gate) verify(ctx context.Context, s pratique.Subject) (verify.Summary, error) {
	const op = "check verification summary"
	v, err := g.c.Summaries.Summary(ctx, s)
	if pratique.KindOf(err) == pratique.NotFound {
		return verify.Summary{}, pratique.Wrap(pratique.Unverified, op, "", err)
	}
	if err != nil {
		return verify.Summary{}, err
	}
	now := g.c.Now()
	const skew = 5 * time.Minute // between the clocks of two machines
	switch {
	case v.Outcome != pratique.Allow:
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op, "its result is not PASSED")
	case v.Subject != s:
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op, "it is about %s", v.Subject)
	case !slices.Contains(g.c.Profiles, v.Profile):
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op,
			"it was made with profile %.200s, which is not accepted here", v.Profile)
	case g.c.Verifier != "" && v.Verifier != g.c.Verifier:
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op,
			"it was made by %q, want %q", oneLine(v.Verifier), g.c.Verifier)
	case v.Envelope.IsZero():
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op, "it has no digest")
	case v.VerifiedAt.After(now.Add(skew)):
		return verify.Summary{}, pratique.Errorf(pratique.Unverified, op,
			"its time is in the future: %s", v.VerifiedAt.UTC().Format(time.RFC3339))
	case now.Sub(v.VerifiedAt) > g.c.MaxAge:
		return verify.Summary{}, pratique.Errorf(pratique.Stale, op,
			"it was made at %s, more than %s ago", v.VerifiedAt.UTC().Format(time.RFC3339), g.c.MaxAge)
	}
	return v, nil
}

// current returns nil if the tag names the subject now, and errSuperseded if it does not.
func (g *Gate) current(ctx context.Context, c pratique.Change) error {
	ref := pratique.ImageRef{Repository: c.Subject.Repository, Tag: c.Tag}
	switch now, err := g.c.Tags.Digest(ctx, ref); {
	case pratique.KindOf(err) == pratique.NotFound:
		return fmt.Errorf("%w: %s is gone from the registry", errSuperseded, ref)
	case err != nil:
		return pratique.Wrap(pratique.Unknown, "resolve tag again", ref.String(), err)
	case now != c.Subject.Digest:
		return fmt.Errorf("%w: %s now names %s", errSuperseded, ref, now)
	}
	return nil
}
