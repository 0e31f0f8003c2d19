package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

func (c *checker) receivers(conf *Config) {
	seen, holders := map[string]bool{}, map[string]string{}
	for i, r := range conf.Receivers {
		key := fmt.Sprintf("receivers[%d]", i)
		c.shared(key, r, holders)
		c.name(key, r.Name, seen)
		if r.Name == "submission" || r.Name == "reconcile" {
			c.fail(key+".name", "%q is the source of other events: choose another name", r.Name)
		}
		c.globs(key+".repositories", r.Repositories)
		for n, g := range r.Repositories {
			if first, _, _ := strings.Cut(string(g), "/"); first == r.Registry {
				c.fail(fmt.Sprintf("%s.repositories[%d]", key, n),
					"leave out the registry: these are paths in it")
			}
		}
		c.registry(conf, key+".registry", r.Registry)
		c.format(key, r)
		c.url(key+".nats.url", r.NATS.URL, "nats", "tls")
		if (r.NATS.URL == "") != (r.NATS.Subject == "") {
			c.fail(key+".nats", "url and subject go together")
		}
	}
}

// registry checks that a host is one of the configured registries.
func (c *checker) registry(conf *Config, key, host string) {
	known := func(r Registry) bool { return r.Host == host }
	if !slices.ContainsFunc(conf.Registries, known) {
		c.fail(key, "%q is not the host of one of the registries", host)
	}
}

// format checks what depends on the format: authentication and expressions.
func (c *checker) format(key string, r Receiver) {
	name := r.Format
	if name == "" {
		name = "distribution"
	}
	c.oneOf(key+".format", name, webhook.FormatNames()...)
	row := slices.IndexFunc(webhook.Formats(), func(f webhook.Format) bool { return f.Name == name })
	if row < 0 {
		return
	}
	methods := webhook.Formats()[row].Methods
	method := r.Auth
	if method == "" {
		method = methods[0]
	}
	if !slices.Contains(methods, method) {
		c.fail(key+".auth", "%s supports %s, not %q", name, words(methods), r.Auth)
	}
	if generic := r.Generic != (Generic{}); generic != (name == "generic") {
		c.fail(key+".generic", "the format generic needs expressions here, and no other has them")
	}
	if r.NATS.URL != "" {
		if r.NATS.Username == "" && r.NATS.Credentials.IsZero() && !r.Insecure {
			c.fail(key+".nats",
				"on a server without authentication anybody can report pushes: give username and password, or credentials, or say insecure: true")
		}
		return
	}
	c.credentials(key, r, method)
}

func (c *checker) credentials(key string, r Receiver, method webhook.Method) {
	switch oidc := method == webhook.MethodOIDC; {
	case oidc && !r.Insecure:
		if r.OIDC.Audience == "" {
			c.fail(key+".oidc.audience",
				"name the audience of the sender's tokens, which must be this service's own")
		}
		if len(r.Secrets) > 0 {
			c.fail(key+".secrets", "oidc has no secrets")
		}
	case len(r.Secrets) == 0 && !r.Insecure:
		c.fail(key+".secrets",
			"without a secret anybody can report pushes: give one, or say insecure: true")
	case len(r.Secrets) > 0 && r.Insecure:
		c.fail(key+".insecure", "insecure: true and secrets exclude each other")
	}
	for n, s := range r.Secrets {
		const minSecret = 16
		for _, line := range s.Lines() {
			if method == webhook.MethodBasic {
				_, line, _ = strings.Cut(line, ":") // the user name is no secret
			}
			if len(line) < minSecret {
				c.fail(fmt.Sprintf("%s.secrets[%d]", key, n), "%s is shorter than %d characters", s,
					minSecret)
			}
		}
	}
}

// shared refuses a secret, or an audience, that is valid for two receivers: it has to be bound to
// the registry and the repositories of one.
func (c *checker) shared(key string, r Receiver, holders map[string]string) {
	claim := func(at, what string) {
		if holder, taken := holders[what]; taken && holder != r.Name {
			c.fail(at, "receiver %q has it, too: give each its own", holder)
		}
		holders[what] = r.Name
	}
	for n, s := range r.Secrets {
		for _, line := range s.Lines() {
			claim(fmt.Sprintf("%s.secrets[%d]", key, n), "secret "+line)
		}
	}
	if r.OIDC.Audience != "" {
		claim(key+".oidc.audience", "audience "+r.OIDC.Audience)
	}
}

func words(methods []webhook.Method) string {
	var all []string
	for _, m := range methods {
		all = append(all, string(m))
	}
	return strings.Join(all, ", ")
}

func (c *checker) sweeps(conf *Config) {
	c.atLeast("reconcile.interval", int64(conf.Reconcile.Interval), int64(time.Minute), "1m")
	if n := conf.Reconcile.RequestsPerMinute; n < 0 || n > 6000 {
		c.fail("reconcile.requestsPerMinute", "want a number from 1 to 6000")
	}
	seen := map[string]bool{}
	for i, s := range conf.Reconcile.Repositories {
		key := fmt.Sprintf("reconcile.repositories[%d]", i)
		repo, err := pratique.ParseRepository(s.Repository)
		switch {
		case err != nil:
			c.fail(key+".repository", "%v", err)
			continue
		case seen[s.Repository]:
			c.fail(key+".repository", "%q is listed twice", s.Repository)
		}
		seen[s.Repository] = true
		c.registry(conf, key+".repository", repo.Registry)
		c.globs(key+".tags", s.Tags)
	}
}
