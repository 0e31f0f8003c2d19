package config

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// checker collects all problems, so that a file can be fixed in one go.
type checker struct {
	file     string
	lines    map[string]int
	problems []Problem
}

func (c *checker) fail(key, format string, args ...any) {
	c.problems = append(c.problems, Problem{
		File: c.file, Line: c.line(key), Key: key, Message: fmt.Sprintf(format, args...),
	})
}

// line finds the line of a key, or of the nearest parent that is in the file.
func (c *checker) line(key string) int {
	for key != "" {
		if line, ok := c.lines[key]; ok {
			return line
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 0
}

// secrets resolves every secret reference below v.
func (c *checker) secrets(v reflect.Value, path string) {
	switch {
	case v.Type() == reflect.TypeFor[Secret]():
		secret := v.Addr().Interface().(*Secret) //nolint:forcetypeassert // the case says so
		if err := secret.resolve(); err != nil {
			c.fail(path, "%s: %v", secret.ref, err)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			c.secrets(v.Field(i), join(path, yamlName(v.Type().Field(i))))
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			c.secrets(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

func (c *checker) config(conf *Config) {
	if conf.Listen != "" {
		_, port, err := net.SplitHostPort(conf.Listen)
		if number, convErr := strconv.ParseUint(port, 10, 16); err != nil || convErr != nil ||
			number == 0 {
			c.fail("listen", "want host:port, not %q", conf.Listen)
		}
	}
	c.url("publicURL", conf.PublicURL, "http", "https")
	c.url("evidence.url", conf.Evidence.URL, "file")
	c.oneOf("log.level", conf.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", conf.Log.Format, "text", "json")
	c.oneOf("policy.blockAt", conf.Policy.BlockAt, "CRITICAL", "HIGH", "MEDIUM", "LOW")
	c.oneOf("policy.unknownSeverity", conf.Policy.Unknown, "deny", "allow")
	const maxWorkers, maxShadow = 64, 1_000_000
	for key, n := range map[string]int{"inspect": conf.Workers.Inspect,
		"attest": conf.Workers.Attest, "deploy": conf.Workers.Deploy} {
		if n < 0 || n > maxWorkers {
			c.fail("workers."+key, "want a number from 1 to %d", maxWorkers)
		}
	}
	for key, limit := range map[string]int{"manual": conf.Priorities.Manual,
		"rescan": conf.Priorities.Rescan} {
		if limit < 0 || limit > maxWorkers {
			c.fail("priorities."+key,
				"want a number from 1 to %d; what is more than the workers counts as all", maxWorkers)
		}
	}
	c.atLeast("inspect.memory", int64(conf.Inspect.Memory), 256<<20, "256MiB")
	c.scanners(conf)
	c.atLeast("inspect.timeout", int64(conf.Inspect.Timeout), int64(time.Second), "1s")
	c.atLeast("inspect.written", int64(conf.Inspect.Written), 256<<20, "256MiB")
	c.atLeast("inspect.inFlight", int64(conf.Inspect.InFlight), 64<<20, "64MiB")
	c.atLeast("inspect.layerSize", int64(conf.Inspect.LayerSize), 16<<20, "16MiB")
	c.atLeast("inspect.entries", conf.Inspect.Entries, 1000, "1000")
	c.atLeast("inspect.layers", int64(conf.Inspect.Layers), 1, "1")
	c.atLeast("inspect.indexEntries", int64(conf.Inspect.IndexEntries), 1, "1")
	if n := conf.Inspect.ShadowSBOM; n != nil && (*n < 0 || *n > maxShadow) {
		c.fail("inspect.shadowSBOM",
			"want a number from 1 to %d, to check one in so many images, or 0 to check none", maxShadow)
	}
	c.oneOf("inspect.isolation", conf.Inspect.Isolation, "project", "repository", "image")
	c.oneOf("inspect.confinement", conf.Inspect.Confinement, "auto", "require", "off")
	c.atLeast("queue.outboxSize", int64(conf.Queue.OutboxSize), 1<<20, "1MiB")
	c.atLeast("queue.ledgerSize", int64(conf.Queue.LedgerSize), 64<<20, "64MiB")
	for i, p := range conf.Platforms {
		if system, rest, _ := strings.Cut(string(p), "/"); system == "" || rest == "" ||
			strings.HasSuffix(rest, "/") {
			c.fail(fmt.Sprintf("platforms[%d]", i),
				"want os/architecture, for example linux/amd64, not %q", p)
		}
	}
	c.globs("policy.allowedRepositories", conf.Policy.AllowedRepositories)
	c.globs("policy.allowUnknownOS", conf.Policy.AllowUnknownOS)
	c.globs("policy.allowEndOfLife", conf.Policy.AllowEndOfLife)
	c.globs("policy.allowNoPackages", conf.Policy.AllowNoPackages)
	c.globs("policy.allowMixedPackages", conf.Policy.AllowMixedPackages)
	c.globs("policy.allowOddPackages", conf.Policy.AllowOddPackages)
	c.extension(conf.Policy)
	c.registries(conf.Registries)
	c.receivers(conf)
	c.sweeps(conf)
	c.signing(conf.Signing)
	c.targets(conf.Deploy.Targets)
	c.tokens(conf.API.Tokens)
	for i, host := range conf.API.Hosts {
		if !hostPattern.MatchString(host) {
			c.fail(fmt.Sprintf("api.hosts[%d]", i),
				"want a host name without scheme and port, not %q", host)
		}
	}
}

// hostPattern is a name as it stands in a Host header, before the port.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// scanners checks the extra findings, and that they contain what the policy requires. Otherwise
// every image would be denied.
func (c *checker) scanners(conf *Config) {
	for i, s := range conf.Inspect.Scanners {
		key := fmt.Sprintf("inspect.scanners[%d]", i)
		if !slices.Contains(pratique.ExtraKinds(), s) {
			c.fail(key, "want one of secrets, misconfigurations, licenses, not %q", s)
		} else if slices.Contains(conf.Inspect.Scanners[:i], s) {
			c.fail(key, "%q is listed twice", s)
		}
	}
	if conf.Policy.BlockSecrets && !slices.Contains(conf.Inspect.Scanners, pratique.ExtraSecrets) {
		c.fail("policy.blockSecrets", "secrets are not looked for: add secrets to inspect.scanners")
	}
}

// extension requires an end that is near. Without an end it would be a higher limit.
func (c *checker) extension(p Policy) {
	const key, longest, maxReason = "policy.databaseAgeExtension", 31 * 24 * time.Hour, 200
	e := p.DatabaseAgeExtension
	limit := p.MaxDatabaseAge.Std(72 * time.Hour)
	switch {
	case e == DatabaseAgeExtension{}:
	case e.Age == 0 || e.Until.IsZero() || strings.TrimSpace(e.Reason) == "":
		c.fail(key, "give all of age, until and reason")
	case time.Duration(e.Age) <= limit || time.Duration(e.Age) > longest:
		c.fail(key+".age", "want more than maxDatabaseAge, %s, and at most 31d", limit)
	case time.Until(e.Until.Time) > longest:
		c.fail(key+".until",
			"want a time within the next 31 days; then look again whether it is still needed")
	case len(e.Reason) > maxReason:
		c.fail(key+".reason", "want at most %d characters", maxReason)
	}
}

func (c *checker) registries(all []Registry) {
	seen := map[string]bool{}
	for i, r := range all {
		key := fmt.Sprintf("registries[%d]", i)
		for n, host := range append([]string{r.Host}, r.Aliases...) {
			at := key + ".host"
			if n > 0 {
				at = fmt.Sprintf("%s.aliases[%d]", key, n-1)
			}
			if err := (pratique.Repository{Registry: host, Path: "x"}).Validate(); err != nil {
				c.fail(at, "want a host with an optional port and no scheme, not %q", host)
			}
			if seen[host] {
				c.fail(at, "%q is listed twice", host)
			}
			seen[host] = true
		}
		const maxRequests = 256
		if r.Concurrency < 0 || r.Concurrency > maxRequests {
			c.fail(key+".concurrency", "want a number from 1 to %d", maxRequests)
		}
		if (r.Username == "") != r.Password.IsZero() {
			c.fail(key, "username and password go together")
		}
	}
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *checker) name(key, name string, seen map[string]bool) {
	if !namePattern.MatchString(name) {
		c.fail(key+".name", "want lower-case letters, digits and dashes, not %q", name)
	} else if seen[name] {
		c.fail(key+".name", "%q is listed twice", name)
	}
	seen[name] = true
}

func (c *checker) signing(s Signing) {
	if s.Key.IsZero() != s.Passphrase.IsZero() {
		c.fail("signing", "key and passphrase go together; pratique key generate makes both")
	}
	if !s.Key.IsZero() && len(s.PublicKeys) == 0 {
		c.fail("signing.publicKeys",
			"name the public key that signatures are verified with before anything is written to Git, such as "+
				"publicKeys: [file:/etc/pratique/cosign.pub]; pratique key generate has written it beside the private key")
	}
	const maxKeys = 4 // each is tried on everything that is attached
	if len(s.PublicKeys) > maxKeys {
		c.fail("signing.publicKeys",
			"want at most %d keys: the one in use, and those of what was signed before", maxKeys)
	}
	c.url("signing.verifierID", s.VerifierID, "http", "https", "urn")
}

// scpForm is how ssh remotes are often written: user@host:path.
var scpForm = regexp.MustCompile(`^([A-Za-z0-9._-]+@[A-Za-z0-9._-]+):([^/].*)$`)

func (c *checker) targets(all []Target) {
	seen := map[string]bool{}
	for i, t := range all {
		key := fmt.Sprintf("deploy.targets[%d]", i)
		c.name(key, t.Name, seen)
		if t.Repository == "" {
			c.fail(key+".repository", "name the config repository: an https, ssh or file URL")
		}
		if short := scpForm.FindStringSubmatch(t.Repository); short != nil {
			c.fail(key+".repository", "%q is a short form that is not read here: write ssh://%s/%s",
				t.Repository, short[1], short[2])
		} else {
			c.url(key+".repository", t.Repository, "https", "http", "ssh", "file")
		}
		c.globs(key+".images", t.Images)
		c.globs(key+".tags", t.Tags)
		if len(t.Images) == 0 {
			c.fail(key+".images",
				"say which images this target takes, for example registry.example.com/team/**")
		}
		if slices.Contains(strings.Split(t.Path, "/"), "..") || strings.HasPrefix(t.Path, "/") {
			c.fail(key+".path", "want a path inside the repository, not %q", t.Path)
		}
		c.sharesBranch(key, t, all[:i])
		if u, err := url.Parse(t.Repository); err == nil && u.Scheme == "ssh" &&
			(t.SSHKey.IsZero() || t.KnownHosts.IsZero()) {
			c.fail(key, "ssh needs sshKey and sshKnownHosts")
		}
	}
}

// sharesBranch refuses targets that commit to one branch as different authors. They share one
// writer, which would be that of the first.
func (c *checker) sharesBranch(key string, t Target, earlier []Target) {
	type writer struct{ user, password, ca, sshKey, hosts, signingKey, name, email string }
	of := func(t Target) writer {
		return writer{t.Username, t.Password.ref, t.CA.ref, t.SSHKey.ref, t.KnownHosts.ref,
			t.SigningKey.ref, t.AuthorName, t.AuthorEmail}
	}
	for _, e := range earlier {
		if e.Repository == t.Repository && e.Branch == t.Branch && of(e) != of(t) {
			c.fail(key,
				"it shares a branch with target %q: give both the same credentials, signing key and author", e.Name)
		}
	}
}

func (c *checker) tokens(all []Token) {
	seen := map[string]bool{}
	for i, t := range all {
		key := fmt.Sprintf("api.tokens[%d]", i)
		c.name(key, t.Name, seen)
		const minToken = 16
		if t.Token.IsZero() {
			c.fail(key+".token", "give the token as env:NAME or file:PATH")
		} else if len(t.Token.Value()) > 0 && len(t.Token.Value()) < minToken {
			c.fail(key+".token", "%s is shorter than %d characters", t.Token, minToken)
		}
		c.globs(key+".repositories", t.Repositories)
		if changes := t.Submit || t.Operate; !changes && (t.Rollback || len(t.Repositories) > 0) {
			c.fail(key,
				"the token only reads: rollback and repositories are for tokens with submit or operate")
		}
	}
}

func (c *checker) globs(key string, all []pratique.Glob) {
	for i, g := range all {
		if err := g.Validate(); err != nil {
			c.fail(fmt.Sprintf("%s[%d]", key, i), "%v", err)
		}
	}
}

// atLeast checks a number if one was configured.
func (c *checker) atLeast(key string, value, minimum int64, text string) {
	if value != 0 && value < minimum {
		c.fail(key, "want at least %s", text)
	}
}

func (c *checker) oneOf(key, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.fail(key, "want one of %s, not %q", strings.Join(allowed, ", "), value)
	}
}

// url checks scheme and host, and refuses credentials.
func (c *checker) url(key, value string, schemes ...string) {
	if value == "" {
		return
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || !slices.Contains(schemes, u.Scheme):
		c.fail(key, "want a URL that starts with %s://", strings.Join(schemes, ":// or "))
	case u.Host == "" && u.Path == "" && u.Opaque == "":
		c.fail(key, "the URL %q names no host", value)
	case u.User != nil && u.Scheme != "ssh":
		// URLs appear in logs, facts and responses, and a user name may be a token.
		c.fail(key,
			"the URL holds credentials: use the keys username and password (env:NAME or file:PATH)")
	case u.User != nil && u.User.String() != u.User.Username():
		c.fail(key, "the URL holds a password, which ssh does not use")
	}
}
