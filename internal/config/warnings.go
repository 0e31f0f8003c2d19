package config

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// warnings finds settings that are allowed and probably not intended. It contacts nobody.
func warnings(file string, lines map[string]int, c Config) []Problem {
	w := checker{file: file, lines: lines}
	for i, t := range c.Deploy.Targets {
		if t.Path != "" {
			continue
		}
		key := fmt.Sprintf("deploy.targets[%d]", i)
		w.fail(key,
			"target %s has no path, so a push is written to every file of the repository that names the image: "+
				"where the repository has several environments, to all of them at once; set path, such as clusters/production", t.Name)
	}
	if until := c.Policy.DatabaseAgeExtension.Until; !until.IsZero() && until.Before(time.Now()) {
		w.fail("policy.databaseAgeExtension.until",
			"it has ended: maxDatabaseAge is the limit again; take databaseAgeExtension out, or set a new end")
	}
	w.patterns(c)
	w.directories(c)
	return w.problems
}

// directories warns of directories that do not exist here. They may be created later, or be on
// another machine.
func (c *checker) directories(conf Config) {
	check := func(key, dir string) {
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			c.fail(key, "there is no directory %s here", dir)
		}
	}
	check("database.dir", conf.Database.Dir)
	check("policy.dir", conf.Policy.Dir)
	for i, t := range conf.Deploy.Targets {
		if dir, ok := strings.CutPrefix(t.Repository, "file://"); ok {
			check(fmt.Sprintf("deploy.targets[%d].repository", i), dir)
		}
	}
}

// patterns warns of patterns that match no repository.
func (c *checker) patterns(conf Config) {
	var hosts []string
	for _, r := range conf.Registries {
		hosts = append(append(hosts, r.Host), r.Aliases...)
	}
	check := func(key string, all []pratique.Glob) {
		for i, g := range all {
			if why := futile(string(g), hosts); why != "" {
				c.fail(fmt.Sprintf("%s[%d]", key, i), "%q matches no repository%s", g, why)
			}
		}
	}
	p := conf.Policy
	check("policy.allowedRepositories", p.AllowedRepositories)
	check("policy.allowUnknownOS", p.AllowUnknownOS)
	check("policy.allowEndOfLife", p.AllowEndOfLife)
	check("policy.allowNoPackages", p.AllowNoPackages)
	check("policy.allowMixedPackages", p.AllowMixedPackages)
	check("policy.allowOddPackages", p.AllowOddPackages)
	for i, t := range conf.Deploy.Targets {
		check(fmt.Sprintf("deploy.targets[%d].images", i), t.Images)
	}
	for i, t := range conf.API.Tokens {
		check(fmt.Sprintf("api.tokens[%d].repositories", i), t.Repositories)
	}
}

// futile says why no repository can match a pattern, empty if one can. Without hosts any host may
// match.
func futile(pattern string, hosts []string) string {
	host, rest, deep := strings.Cut(pattern, "/")
	switch {
	case strings.ContainsAny(pattern, "{}"):
		return ": braces stand for themselves, so write two patterns"
	case strings.Contains(rest, "@"):
		return ": leave out the digest"
	case strings.Contains(rest, ":"):
		return ": leave out the tag"
	case len(hosts) == 0 || host == "**":
		return ""
	case deep && slices.ContainsFunc(hosts, func(name string) bool {
		ok, _ := path.Match(host, name)
		return ok
	}):
		return ""
	}
	return fmt.Sprintf(" of a configured registry; write %s/team/**", hosts[0])
}
