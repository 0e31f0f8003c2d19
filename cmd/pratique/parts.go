package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/deploy/policy"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/internal/registry"
	"github.com/pratique-dev/pratique/queue/reconcile"
	"github.com/pratique-dev/pratique/queue/webhook"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
)

// The functions below turn sections of the configuration into what the adapters take.

func policyConfig(c config.Policy) policy.Config {
	e := c.DatabaseAgeExtension
	return policy.Config{Dir: c.Dir, Params: policy.Params{
		Extension: policy.Extension{Age: e.Age.Std(0), Until: e.Until.Time, Reason: e.Reason},
		BlockAt:   c.BlockAt, OnlyFixable: c.OnlyFixable, UnknownSeverity: c.Unknown, BlockSecrets: c.BlockSecrets,
		MaxDatabaseAge: c.MaxDatabaseAge.Std(defaultDBAge), AllowedRepositories: c.AllowedRepositories,
		Exceptions: policy.Exceptions{
			UnknownOS: c.AllowUnknownOS, EndOfLife: c.AllowEndOfLife, NoPackages: c.AllowNoPackages, MixedPackages: c.AllowMixedPackages,
			OddPackages: c.AllowOddPackages,
		},
	}}
}

func registryConfig(conf config.Config) registry.Config {
	// Harbor's "only signed images" gate lets clients pass whose agent contains "cosign".
	c := registry.Config{
		UserAgent: "pratique/" + version() + " cosign",
		Limits:    registry.Limits{Layers: conf.Inspect.Layers, IndexChildren: conf.Inspect.IndexEntries},
	}
	for _, r := range conf.Registries {
		c.Hosts = append(c.Hosts, registry.Host{
			Name: r.Host, Aliases: r.Aliases, PlainHTTP: r.PlainHTTP != nil && *r.PlainHTTP, TLS: r.PlainHTTP != nil && !*r.PlainHTTP,
			Username: r.Username, Password: r.Password.Text(), CA: r.CA.Value(),
			TokenHosts: r.TokenHosts, RedirectHosts: r.RedirectHosts, Concurrency: r.Concurrency,
		})
	}
	return c
}

// mirrors are the registries, one of which may hold a copy of the vulnerability database.
func mirrors(all []config.Registry) []database.Host {
	var hosts []database.Host
	for _, r := range all {
		hosts = append(hosts, database.Host{
			Name: r.Host, PlainHTTP: r.PlainHTTP != nil && *r.PlainHTTP, TLS: r.PlainHTTP != nil && !*r.PlainHTTP,
			Username: r.Username, Password: r.Password.Text(), CA: r.CA.Value(),
		})
	}
	return hosts
}

// isolation says which images share a child.
func isolation(mode string) func(pratique.Subject) string {
	switch mode {
	case "image":
		return inspector.Image
	case "repository":
		return inspector.Repository
	default:
		return inspector.Project
	}
}

func confinement(mode string) confine.Mode {
	if mode == "auto" {
		return confine.Best
	}
	return confine.Mode(mode)
}

func apiAuth(c config.Config) api.Auth {
	auth := api.Auth{AnonymousRead: c.API.AnonymousRead, Hosts: slices.Clone(c.API.Hosts)}
	if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" { // the configuration has checked it
		auth.Hosts = append(auth.Hosts, u.Hostname())
	}
	for _, t := range c.API.Tokens {
		auth.Tokens = append(auth.Tokens, api.Token{
			Name: t.Name, Secret: t.Token.Text(), Submit: t.Submit, Operate: t.Operate, Repositories: t.Repositories, Rollback: t.Rollback,
		})
	}
	return auth
}

// targets opens the config repositories without talking to them. Targets in one branch share a
// writer, so that they never race.
func targets(all []config.Target, now func() time.Time) ([]deploy.Target, []*gitrepo.Repo, error) {
	type branch struct{ url, name, user string }
	shared := map[branch]*gitrepo.Repo{}
	var out []deploy.Target
	var opened []*gitrepo.Repo
	for i, t := range all {
		at := branch{t.Repository, t.Branch, t.Username}
		if shared[at] == nil {
			repo, err := gitrepo.Open(gitrepo.Config{
				URL: t.Repository, Branch: t.Branch, SigningKey: t.SigningKey.Value(), CA: t.CA.Value(),
				Auth: gitrepo.Auth{
					Username: t.Username, Password: t.Password.Text(), SSHKey: t.SSHKey.Value(), SSHKnownHosts: t.KnownHosts.Value(),
				},
				Author: gitrepo.Signature{Name: t.AuthorName, Email: t.AuthorEmail},
			}, now)
			if err != nil {
				return nil, opened, fmt.Errorf("deploy.targets[%d]: %w", i, err)
			}
			shared[at] = repo
			opened = append(opened, repo)
		}
		target := deploy.Target{Name: t.Name, Images: t.Images, Tags: t.Tags, Path: t.Path, Repository: shared[at]}
		if err := target.Validate(); err != nil {
			return nil, opened, fmt.Errorf("deploy.targets[%d]: %w", i, err)
		}
		out = append(out, target)
	}
	return out, opened, nil
}

// checkParts makes every part that can be made without opening a store or talking to anybody, so
// that config check finds what serve would stumble over.
func checkParts(ctx context.Context, c config.Config) error {
	var problems []error
	note := func(section string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", section, err))
		}
	}
	_, err := policy.Load(ctx, policyConfig(c.Policy))
	note("policy", err)
	_, err = registry.New(registryConfig(c))
	note("registries", err)
	all, err := receivers(c)
	if err == nil {
		_, err = webhook.New(webhook.Config{Receivers: all, Publisher: nobody{}})
	}
	note("receivers", err)
	sweeping, err := reconcileConfig(c)
	if err == nil {
		_, err = reconcile.New(sweeping, nil, nil, nil)
	}
	note("reconcile", err)
	note("api.tokens", apiAuth(c).Validate())
	checkSigning(c.Signing, note)
	for i, source := range c.Database.Sources {
		_, err := name.ParseReference(source)
		note(fmt.Sprintf("database.sources[%d]", i), err)
	}
	for i, source := range c.Database.Java.Sources {
		_, err := name.ParseReference(source)
		note(fmt.Sprintf("database.java.sources[%d]", i), err)
	}
	_, opened, err := targets(c.Deploy.Targets, time.Now)
	for _, repo := range opened {
		repo.Close()
	}
	if err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// checkSigning loads the keys that are configured.
func checkSigning(c config.Signing, note func(section string, err error)) {
	var own pratique.Identity
	if !c.Key.IsZero() {
		s, err := key.Load(c.Key.Value(), c.Passphrase.Value())
		note("signing", err)
		if err == nil {
			own = s.Identity()
		}
	}
	if public := publicKeys(c); len(public) > 0 {
		_, err := newVerifier(public, own)
		note("signing", err)
	}
}

func publicKeys(c config.Signing) [][]byte {
	var all [][]byte
	for _, k := range c.PublicKeys {
		all = append(all, k.Value())
	}
	return all
}

// newVerifier accepts what one of the public keys signed. The signer's must be among them, if it is
// known: what it signs would be attested, and never deployed.
func newVerifier(public [][]byte, own pratique.Identity) (signer.Verifier, error) {
	var verifiers []signer.Verifier
	known := map[pratique.Identity]bool{}
	for i, pem := range public {
		v, err := key.LoadVerifier(pem)
		if err != nil {
			return nil, fmt.Errorf("publicKeys[%d]: %w", i, err)
		}
		if known[v.Identity()] {
			return nil, fmt.Errorf("publicKeys[%d]: %s is there twice", i, v.Identity())
		}
		known[v.Identity()] = true
		verifiers = append(verifiers, v)
	}
	if own != nil && !known[own] {
		return nil, fmt.Errorf("publicKeys: the public half of key is not among them, so nothing that is signed would be deployed: add the .pub file of %s", own)
	}
	return signer.AnyOf(verifiers...), nil
}

// withoutProxy says what is asked directly although a variable of the environment names a proxy; empty means none does.
func withoutProxy(c config.Config, variable string) []string {
	if variable == "" {
		return nil
	}
	var all []string
	for i, t := range c.Deploy.Targets {
		if strings.HasPrefix(t.Repository, "ssh:") {
			all = append(all, fmt.Sprintf("deploy.targets[%d].repository: %s is set, and Git over ssh does not use it: the host is asked directly; use an https URL to have it asked by the proxy", i, variable))
		}
	}
	for i, r := range c.Receivers {
		if r.NATS.URL != "" {
			all = append(all, fmt.Sprintf("receivers[%d].nats.url: %s is set, and NATS does not use it: the server is asked directly", i, variable))
		}
	}
	return all
}

// nobody publishes nothing; a check sends no events.
type nobody struct{}

func (nobody) Publish(context.Context, []pratique.Event) (int, error) {
	return 0, errors.ErrUnsupported
}
