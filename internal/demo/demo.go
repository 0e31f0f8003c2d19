package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// Options configure the demo.
type Options struct {
	// Binary is the program to start as the service.
	Binary string
	// Progress gets a line for each event.
	Progress io.Writer
	// Ready, if set, is called after the outcome, with everything still running. The demo ends when
	// it returns.
	Ready func(Summary)
	// Timeout bounds the demo up to the outcome; default two minutes.
	Timeout time.Duration
}

// Summary is the outcome, for programs.
type Summary struct {
	// OK is true if the clean image was committed and the vulnerable one was denied.
	OK bool `json:"ok"`
	// Problems are the differences from that.
	Problems []string `json:"problems,omitempty"`
	BaseURL  string   `json:"baseURL"`
	Registry string   `json:"registry"`
	// ConfigRepository is its URL; KeyFile is the public key that the signatures verify with;
	// TokenFile holds a token that may submit; Dir holds everything, and is removed at the end.
	ConfigRepository string  `json:"configRepository"`
	KeyFile          string  `json:"keyFile"`
	TokenFile        string  `json:"tokenFile"`
	Dir              string  `json:"dir"`
	Seconds          float64 `json:"seconds"`
	Images           []Image `json:"images"`
}

// Image is the outcome for one pushed image.
type Image struct {
	Ref     string            `json:"ref"`
	Digest  pratique.Digest   `json:"digest"`
	Outcome pratique.Outcome  `json:"outcome"`
	State   string            `json:"state"`
	Reasons []pratique.Reason `json:"reasons,omitempty"`
	// Commit is the id of the commit that names the digest, and Message its whole message.
	Commit  string `json:"commit,omitempty"`
	Message string `json:"message,omitempty"`
	// Seconds from the push to the end of the work.
	Seconds float64 `json:"seconds"`
}

// Run runs the demo. The error means that it could not be completed; a wrong outcome is in the
// summary.
func Run(ctx context.Context, o Options) (_ Summary, err error) {
	started := time.Now()
	dir, err := os.MkdirTemp("", "pratique-demo-")
	if err != nil {
		return Summary{}, err
	}
	e := &environment{dir: dir}
	defer func() { err = errors.Join(err, e.close(), os.RemoveAll(dir)) }()
	timeout := o.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	say := func(format string, args ...any) { fmt.Fprintf(o.Progress, format+"\n", args...) }
	say("Starting, below %s:", dir)
	if err := e.start(bounded, o.Binary, func(what string) { say("  %s", what) }); err != nil {
		return Summary{}, err
	}
	s := Summary{
		BaseURL: e.baseURL, Registry: e.registry.Host(), ConfigRepository: e.gitURL, KeyFile: e.keyFile,
		TokenFile: filepath.Join(dir, "token"), Dir: dir,
	}
	say("Ready after %.1f s.", time.Since(started).Seconds())
	if s.Images, err = e.pushAll(bounded, say); err != nil {
		return s, fmt.Errorf("%w\nthe service said:\n%s", err, e.log.String())
	}
	if err := e.check(bounded, &s); err != nil {
		return s, err
	}
	s.Seconds = time.Since(started).Seconds()
	say("%s", describe(s))
	if o.Ready != nil {
		o.Ready(s)
	}
	return s, nil
}

func (e *environment) pushAll(ctx context.Context, say func(string, ...any)) ([]Image, error) {
	ask, err := client.New(client.Config{URL: e.baseURL})
	if err != nil {
		return nil, err
	}
	var all []Image
	for _, push := range []struct {
		path string
		spec images.Spec
	}{{"team/clean:1.0.0", images.Clean()}, {"team/vulnerable:1.0.0", images.Vulnerable()}} {
		ref := e.registry.Host() + "/" + push.path
		say("\nPushing %s", ref)
		started := time.Now()
		digest, err := pushImage(ctx, ref, push.spec)
		if err != nil {
			return nil, err
		}
		seen, err := watch(ctx, ask, ref, digest, func(state string) {
			say("  %5.2f s  %s", time.Since(started).Seconds(), state)
		})
		if err != nil {
			return nil, err
		}
		seen.Seconds = time.Since(started).Seconds()
		all = append(all, seen)
	}
	return all, nil
}

func pushImage(ctx context.Context, ref string, spec images.Spec) (pratique.Digest, error) {
	image, err := images.Build(spec)
	if err != nil {
		return pratique.Digest{}, err
	}
	target, err := name.ParseReference(ref)
	if err != nil {
		return pratique.Digest{}, err
	}
	if err := remote.Write(target, image, remote.WithContext(ctx)); err != nil {
		return pratique.Digest{}, err
	}
	hash, err := image.Digest()
	if err != nil {
		return pratique.Digest{}, err
	}
	return pratique.ParseDigest(hash.String())
}

// watch follows an image until its work has ended, and calls step with each fact.
func watch(ctx context.Context, ask *client.Client, ref string, digest pratique.Digest,
	step func(string)) (Image, error) {
	facts := 0
	for {
		image, err := ask.Image(ctx, digest.String())
		if err != nil && pratique.KindOf(err) != pratique.NotFound {
			return Image{}, err
		}
		for ; facts < len(image.Facts); facts++ {
			step(factLine(image, image.Facts[facts].Kind))
			if image.Facts[facts].Kind == pratique.FactCompleted {
				return outcome(ref, image), nil
			}
		}
		select {
		case <-ctx.Done():
			return Image{}, fmt.Errorf("%s did not end in time: %w", ref, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func factLine(i api.Image, kind pratique.FactKind) string {
	switch {
	case kind == pratique.FactInspected:
		return fmt.Sprintf("%s: %d packages", kind, i.Packages)
	case kind == pratique.FactScanned:
		return fmt.Sprintf("%s: %d findings", kind, i.Counts.Total())
	case kind == pratique.FactEvaluated && i.Verdict != nil:
		return fmt.Sprintf("%s: %s", kind, i.Verdict.Outcome)
	case kind == pratique.FactAttested:
		return fmt.Sprintf("%s: %d signed objects in the registry", kind, len(i.Attestations))
	case kind == pratique.FactCompleted:
		return fmt.Sprintf("%s: %s", kind, i.State)
	default:
		return string(kind)
	}
}

func outcome(ref string, i api.Image) Image {
	out := Image{Ref: ref, Digest: i.Digest, Outcome: i.Outcome, State: string(i.State)}
	if i.Verdict != nil {
		out.Reasons = i.Verdict.Reasons
	}
	if len(i.Deployments) > 0 {
		out.Commit = i.Deployments[len(i.Deployments)-1].ID
	}
	return out
}

// check reads the config repository with git, instead of trusting the service.
func (e *environment) check(ctx context.Context, s *Summary) error {
	problem := func(format string, args ...any) {
		s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
	}
	commits, err := e.gitOutput(ctx, "rev-list", "--count", "main")
	if err != nil {
		return err
	}
	if commits != "2" {
		problem("the config repository has %s commits, want 2: the first one and the clean image's",
			commits)
	}
	clean, vulnerable := &s.Images[0], &s.Images[1]
	head, err := e.gitOutput(ctx, "rev-parse", "main")
	if err != nil {
		return err
	}
	if clean.Outcome != pratique.Allow || clean.Commit != head {
		problem("the clean image: outcome %q, commit %q, the branch is at %q", clean.Outcome,
			clean.Commit, head)
	} else if clean.Message, err = e.gitOutput(ctx, "log", "-1", "--format=%B", head); err != nil {
		return err
	}
	kustomization, err := e.gitOutput(ctx, "show", "main:clusters/production/clean/kustomization.yaml")
	if err != nil {
		return err
	}
	if !strings.Contains(kustomization, clean.Digest.String()) {
		problem("kustomization.yaml does not name the clean image's digest")
	}
	if vulnerable.Outcome != pratique.Deny || vulnerable.Commit != "" || len(vulnerable.Reasons) == 0 {
		problem("the vulnerable image: outcome %q, commit %q, %d reasons", vulnerable.Outcome,
			vulnerable.Commit, len(vulnerable.Reasons))
	}
	s.OK = len(s.Problems) == 0
	return nil
}

func (e *environment) gitOutput(ctx context.Context, args ...string) (string, error) {
	out, err := e.git.Git(ctx, "config", nil, args...)
	return strings.TrimSpace(out), err
}

// describe is the outcome for people, with commands to check it.
func describe(s Summary) string {
	var b strings.Builder
	for _, i := range s.Images {
		fmt.Fprintf(&b, "\n%s  %s\n  %s@%s\n", strings.ToUpper(i.State), i.Ref,
			strings.TrimSuffix(i.Ref, ":1.0.0"), i.Digest)
		for _, r := range i.Reasons {
			fmt.Fprintf(&b, "  because of %s: %s\n", r.Rule, r.Message)
		}
		if i.Commit != "" {
			fmt.Fprintf(&b, "  commit %s\n\n    %s\n", i.Commit,
				strings.ReplaceAll(i.Message, "\n", "\n    "))
		}
	}
	image := strings.TrimSuffix(s.Images[0].Ref, ":1.0.0") + "@" + s.Images[0].Digest.String()
	fmt.Fprintf(&b, `
Check it by hand, while the demo is kept running with --keep:
  git clone %s %s && git -C %s log -1
  cosign verify --key %s --insecure-ignore-tlog %s
  cosign verify-attestation --key %s --insecure-ignore-tlog --type %s %s
  pratique why --server %s %s
  PRATIQUE_URL=%s PRATIQUE_TOKEN=$(cat %s) pratique submit --wait %s
`, s.ConfigRepository, filepath.Join(s.Dir, "clone"), filepath.Join(s.Dir, "clone"),
		s.KeyFile, image, s.KeyFile, pratique.PredicateVSA, image, s.BaseURL, s.Images[1].Digest,
		s.BaseURL, s.TokenFile, s.Images[0].Ref)
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "\nPROBLEM: %s\n", p)
	}
	return b.String()
}
