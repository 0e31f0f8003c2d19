package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
)

// Config is what a [Gate] needs.
type Config struct {
	Targets      []Target
	Attestations Attestations
	Tags         Tags
	// Policies are the digests of the rules whose verdicts are accepted; at least one.
	Policies []pratique.Digest
	// Verifier is the id a summary has to name; empty accepts any whose signature holds.
	Verifier string
	// MaxAge is how old a summary may be, 24 hours if zero.
	MaxAge time.Duration
	Now    func() time.Time
}

// Gate turns changes into commits. It is safe for concurrent use if its parts are.
type Gate struct{ c Config }

// New checks the configuration.
func New(c Config) (*Gate, error) {
	const op = "set up gate"
	if c.Attestations == nil || c.Tags == nil || c.Now == nil {
		return nil, pratique.Errorf(pratique.Invalid, op, "attestations, tags and clock are needed")
	}
	if len(c.Policies) == 0 || slices.ContainsFunc(c.Policies, pratique.Digest.IsZero) {
		return nil, pratique.Errorf(pratique.Invalid, op, "name the digest of at least one policy whose verdicts are accepted")
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
	return &Gate{c: c}, nil
}

// What leaves an edit without writing: the tag has moved on, or, for one target, another tag was pushed later.
var (
	errSuperseded = errors.New("superseded")
	errOvertaken  = errors.New("superseded")
)

// Deploy writes the change to every target that asks for it, one commit each. It believes nothing of the change
// but what it is about, Subject, Tag and Event: the verification summary is read and checked here, and the tag is
// resolved again before each commit. Verdict, VSA and Policy are ignored and may be zero; the commit's trailers
// name those of the summary that was verified.
//
// Errors have kind Unverified if there is no summary or it does not allow the image, and Stale if it is too old:
// the gate refuses, and a new attestation may help. No other failure has these kinds; it has the kind of what
// failed, or Denied where that would be one of the two, and Denied if a file cannot be edited until people mend it,
// with its path and line. Targets that were served before an error are served once
// only.
func (g *Gate) Deploy(ctx context.Context, c pratique.Change) (Outcome, error) {
	if err := check(c); err != nil {
		return Outcome{}, pratique.Wrap(pratique.Invalid, "deploy", c.Subject.String(), err)
	}
	vsa, err := g.verify(ctx, c.Subject)
	if err != nil {
		return Outcome{}, pratique.Wrap(pratique.Unknown, "deploy", c.Subject.String(), err)
	}
	// What goes into the commit is what was verified here.
	c.VSA, c.Policy, c.Verdict = vsa.Envelope, vsa.Policy, vsa.Verdict
	var o Outcome
	var failed []error
	var left []string
	matched := 0
	for _, t := range g.c.Targets {
		if !t.Matches(c.Subject.Repository, c.Tag) {
			continue
		}
		matched++
		commit, found, err := g.write(ctx, t, c)
		switch {
		case errors.Is(err, errSuperseded):
			o.Superseded, o.Detail = true, err.Error()
			return o, joined(c.Subject, failed)
		case errors.Is(err, errOvertaken):
			left = append(left, fmt.Sprintf("target %s: %v", t.Name, err))
		case err != nil:
			failed = append(failed, fmt.Errorf("target %s: %w", t.Name, noRefusal(err)))
		case found:
			o.Commits = append(o.Commits, commit)
		}
	}
	if err := joined(c.Subject, failed); err != nil {
		return o, err
	}
	switch {
	case len(left) > 0:
		o.Superseded, o.Detail = len(o.Commits) == 0, strings.Join(left, "; ")
	case len(o.Commits) == 0:
		o.NoTarget, o.Detail = true, noTarget(c, matched)
	}
	return o, nil
}

// noRefusal keeps the kinds that say that the gate refuses for the gate.
func noRefusal(err error) error {
	switch pratique.KindOf(err) {
	case pratique.Unverified, pratique.Stale:
		return pratique.Wrap(pratique.Denied, "write change", "", err)
	}
	return err
}

func noTarget(c pratique.Change, matched int) string {
	switch {
	case c.Tag == "":
		return "the image was pushed by digest, without a tag"
	case matched == 0:
		return fmt.Sprintf("no target asks for %s:%s", c.Subject.Repository, c.Tag)
	}
	return fmt.Sprintf("no file in the %d matching targets names %s", matched, c.Subject.Repository)
}

// joined makes one error of those of the targets. It is worth another try if one of them is.
func joined(subject pratique.Subject, failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	kind := pratique.KindOf(failed[0])
	var texts []string
	for _, err := range failed {
		if k := pratique.KindOf(err); kind.Permanent() && !k.Permanent() {
			kind = k
		}
		texts = append(texts, err.Error())
	}
	if len(failed) == 1 {
		return pratique.Wrap(kind, "deploy", subject.String(), failed[0])
	}
	return pratique.Wrap(kind, "deploy", subject.String(), errors.New(strings.Join(texts, "; ")))
}

// check keeps text that came in a message out of files and commits unless it has the form it should have.
func check(c pratique.Change) error {
	if c.Subject.Digest.IsZero() {
		return errors.New("the change names no digest")
	}
	ref := pratique.ImageRef{Repository: c.Subject.Repository, Tag: c.Tag, Digest: c.Subject.Digest}
	return ref.Validate()
}

// verify reads the summary and refuses all but a fresh one that allows exactly this subject.
func (g *Gate) verify(ctx context.Context, s pratique.Subject) (VSA, error) {
	const op = "check verification summary"
	v, err := g.c.Attestations.VerifiedVSA(ctx, s)
	if pratique.KindOf(err) == pratique.NotFound {
		return VSA{}, pratique.Wrap(pratique.Unverified, op, "", err)
	}
	if err != nil {
		return VSA{}, err
	}
	now := g.c.Now()
	const skew = 5 * time.Minute // between the clocks of two machines
	switch {
	case !v.Passed:
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it does not say that the image passed")
	case v.Subject != s:
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it is about %s", v.Subject)
	case !slices.Contains(g.c.Policies, v.Policy):
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it was made with policy %s, which is not in force here", v.Policy)
	case g.c.Verifier != "" && v.Verifier != g.c.Verifier:
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it was made by %q, want %q", oneLine(v.Verifier), g.c.Verifier)
	case v.Envelope.IsZero():
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it has no digest")
	case v.VerifiedAt.After(now.Add(skew)):
		return VSA{}, pratique.Errorf(pratique.Unverified, op, "it claims to be from the future, %s", v.VerifiedAt.UTC().Format(time.RFC3339))
	case now.Sub(v.VerifiedAt) > g.c.MaxAge:
		return VSA{}, pratique.Errorf(pratique.Stale, op, "it is from %s, older than the %s allowed", v.VerifiedAt.UTC().Format(time.RFC3339), g.c.MaxAge)
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
		return fmt.Errorf("%w: %s is %s by now", errSuperseded, ref, now)
	}
	return nil
}

// write makes the commit for one target; found is false if none of its files names the image.
func (g *Gate) write(ctx context.Context, t Target, c pratique.Change) (commit pratique.Commit, found bool, err error) {
	if err := g.current(ctx, c); err != nil { // before the lock too, to leave others alone
		return commit, false, err
	}
	var changes []pratique.FileChange
	var later []rival
	note := func(tag, commit string) { later = append(later, rival{tag, commit}) }
	u := Update{Done: done(t, c, note), Earlier: earlier(t, c)}
	edited := false
	u.Edit = func(ctx context.Context, tree Tree) (Edit, error) {
		edited = true
		rivals := later
		later = nil // another tip is searched anew
		if err := g.current(ctx, c); err != nil {
			return Edit{}, err
		}
		var files map[string][]byte
		if files, changes, err = apply(ctx, tree, t, c); err != nil {
			return Edit{}, err
		}
		if len(files) > 0 {
			if err := overtaken(ctx, tree, t, c, changes, rivals); err != nil {
				return Edit{}, err
			}
		}
		return Edit{Files: files, Message: message(t, c, changes), Trailers: trailers(t, c, changes)}, nil
	}
	p, err := t.Repository.Update(ctx, u)
	if err != nil {
		return commit, false, err
	}
	commit = pratique.Commit{Target: t.Name, Remote: p.Remote, Branch: p.Branch, ID: p.Commit, Files: changes, At: p.At}
	return commit, !edited || len(changes) > 0, nil
}

// rival is a commit for a later push of the same image under another tag.
type rival struct{ tag, commit string }

// overtaken returns errOvertaken if one of the rivals is for a place that the change is for, too. Others are not in
// its way: markers may ask for different tags in different places of one target.
func overtaken(ctx context.Context, tree Tree, t Target, c pratique.Change, changes []pratique.FileChange, rivals []rival) error {
	type place struct {
		path string
		line int
	}
	ours := map[place]bool{}
	for _, change := range changes {
		ours[place{change.Path, change.Line}] = true
	}
	asked := map[string]bool{}
	for _, r := range rivals {
		other := c
		other.Tag = r.tag
		if asked[r.tag] || check(other) != nil {
			continue
		}
		asked[r.tag] = true
		_, theirs, err := apply(ctx, tree, t, other)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(theirs, func(f pratique.FileChange) bool { return ours[place{f.Path, f.Line}] }) {
			return fmt.Errorf("%w: %s:%s was pushed later, and commit %s wrote it", errOvertaken, c.Subject.Repository, r.tag, r.commit)
		}
	}
	return nil
}

// apply edits the files below the target's path. Only those that change are in files.
func apply(ctx context.Context, tree Tree, t Target, c pratique.Change) (files map[string][]byte, changes []pratique.FileChange, err error) {
	files = map[string][]byte{}
	err = tree.Walk(ctx, t.Path, func(name string) error {
		if !edit.Relevant(name) {
			return nil
		}
		content, err := tree.Read(name)
		if err != nil {
			return err
		}
		out, made, err := edit.Apply(name, content, c)
		var refusal *edit.Refusal
		if errors.As(err, &refusal) { // people mend it, and then every push that waits is served
			return pratique.Wrap(pratique.Denied, "edit", "", refusal)
		}
		if err != nil {
			return err
		}
		changes = append(changes, made...)
		if slices.ContainsFunc(made, func(m pratique.FileChange) bool { return m.Old != m.New }) {
			files[name] = out
		}
		return nil
	})
	return files, changes, err
}
