// Package settings turns the sections of the configuration into what the adapters take, with their
// defaults.
package settings

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

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
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// Policy is the policy with its parameters.
func Policy(c config.Policy) policy.Config {
	e := c.DatabaseAgeExtension
	return policy.Config{Dir: c.Dir, Params: policy.Params{
		Extension: policy.Extension{Age: e.Age.Std(0), Until: e.Until.Time, Reason: e.Reason},
		BlockAt:   c.BlockAt, OnlyFixable: c.OnlyFixable, UnknownSeverity: c.Unknown,
		BlockSecrets:   c.BlockSecrets,
		MaxDatabaseAge: c.MaxDatabaseAge.Std(defaultDBAge), AllowedRepositories: c.AllowedRepositories,
		Exceptions: policy.Exceptions{
			UnknownOS: c.AllowUnknownOS, EndOfLife: c.AllowEndOfLife, NoPackages: c.AllowNoPackages,
			MixedPackages: c.AllowMixedPackages,
			OddPackages:   c.AllowOddPackages,
		},
	}}
}

// Registry is what the client of image registries takes.
func Registry(conf config.Config) registry.Config {
	// Harbor's "only signed images" gate lets clients pass whose agent contains "cosign".
	c := registry.Config{
		UserAgent: "pratique/" + Version() + " cosign",
		Limits:    registry.Limits{Layers: conf.Inspect.Layers, IndexChildren: conf.Inspect.IndexEntries},
	}
	for _, r := range conf.Registries {
		c.Hosts = append(c.Hosts, registry.Host{
			Name: r.Host, Aliases: r.Aliases, PlainHTTP: r.PlainHTTP != nil && *r.PlainHTTP,
			TLS:      r.PlainHTTP != nil && !*r.PlainHTTP,
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
			Name: r.Host, PlainHTTP: r.PlainHTTP != nil && *r.PlainHTTP,
			TLS:      r.PlainHTTP != nil && !*r.PlainHTTP,
			Username: r.Username, Password: r.Password.Text(), CA: r.CA.Value(),
		})
	}
	return hosts
}

// Isolation says which images share a child.
func Isolation(mode string) func(pratique.Subject) string {
	switch mode {
	case "image":
		return inspector.Image
	case "repository":
		return inspector.Repository
	default:
		return inspector.Project
	}
}

// Confinement says how children have to be confined.
func Confinement(mode string) confine.Mode {
	if mode == "auto" {
		return confine.Best
	}
	return confine.Mode(mode)
}

// Auth says who may use the API, and for what.
func Auth(c config.Config) api.Auth {
	auth := api.Auth{AnonymousRead: c.API.AnonymousRead, Hosts: slices.Clone(c.API.Hosts)}
	// the configuration has checked it
	if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" {
		auth.Hosts = append(auth.Hosts, u.Hostname())
	}
	for _, t := range c.API.Tokens {
		auth.Tokens = append(auth.Tokens, api.Token{
			Name: t.Name, Secret: t.Token.Text(), Submit: t.Submit, Operate: t.Operate,
			Repositories: t.Repositories, Rollback: t.Rollback,
		})
	}
	return auth
}

// Targets opens the config repositories without talking to them. Targets in one branch share a
// writer, so that they never race.
func Targets(all []config.Target, now func() time.Time) ([]deploy.Target, []*gitrepo.Repo, error) {
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
					Username: t.Username, Password: t.Password.Text(), SSHKey: t.SSHKey.Value(),
					SSHKnownHosts: t.KnownHosts.Value(),
				},
				Author: gitrepo.Signature{Name: t.AuthorName, Email: t.AuthorEmail},
			}, now)
			if err != nil {
				return nil, opened, fmt.Errorf("deploy.targets[%d]: %w", i, err)
			}
			shared[at] = repo
			opened = append(opened, repo)
		}
		target := deploy.Target{Name: t.Name, Images: t.Images, Tags: t.Tags, Path: t.Path,
			Repository: shared[at]}
		if err := target.Validate(); err != nil {
			return nil, opened, fmt.Errorf("deploy.targets[%d]: %w", i, err)
		}
		out = append(out, target)
	}
	return out, opened, nil
}

// WithoutProxy says what is asked directly although a variable of the environment names a proxy;
// empty means none does.
func WithoutProxy(c config.Config, variable string) []string {
	if variable == "" {
		return nil
	}
	var all []string
	for i, t := range c.Deploy.Targets {
		if strings.HasPrefix(t.Repository, "ssh:") {
			all = append(all,
				fmt.Sprintf("deploy.targets[%d].repository: %s is set, and Git over ssh does not use it: the host is asked directly; use an https URL to have it asked by the proxy", i, variable))
		}
	}
	for i, r := range c.Receivers {
		if r.NATS.URL != "" {
			all = append(all,
				fmt.Sprintf("receivers[%d].nats.url: %s is set, and NATS does not use it: the server is asked directly", i, variable))
		}
	}
	return all
}

// Reconcile says what is swept.
func Reconcile(c config.Config) (reconcile.Config, error) {
	out := reconcile.Config{Interval: c.Reconcile.Interval.Std(DefaultSweepInterval),
		RequestsPerMinute: map[string]int{}}
	for _, sweep := range c.Reconcile.Repositories {
		repo, err := pratique.ParseRepository(sweep.Repository)
		if err != nil {
			return out, err
		}
		out.Repositories = append(out.Repositories,
			reconcile.Repository{Repository: repo, Tags: sweep.Tags})
		if n := c.Reconcile.RequestsPerMinute; n > 0 {
			out.RequestsPerMinute[repo.Registry] = n
		}
	}
	return out, nil
}
