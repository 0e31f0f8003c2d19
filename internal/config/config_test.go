package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEmptyFileIsUsable(t *testing.T) {
	if _, err := Parse("pratique.yaml", nil); err != nil {
		t.Fatalf("an empty file is refused: %v", err)
	}
}

func TestSampleIsValid(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"REGISTRY_PASSWORD", "WEBHOOK_AUTHORIZATION", "COSIGN_PASSWORD",
		"GIT_PASSWORD", "PRATIQUE_CI_TOKEN", "PRATIQUE_AUDITOR_TOKEN", "PRATIQUE_OPERATOR_TOKEN",
		"NATS_PASSWORD", "CI_WEBHOOK_TOKEN"} {
		t.Setenv(name, "0123456789abcdef"+name)
	}
	sample := string(Sample)
	for _, name := range []string{"cosign.key", "cosign.pub", "commit-signing", "github-webhook",
		"hub-webhook", "jfrog-webhook"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("long-enough-"+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		sample = strings.ReplaceAll(sample, "/etc/pratique/"+name, path)
	}
	c, err := Parse("sample.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Policy.MaxDatabaseAge.Std(0); got != 72*time.Hour {
		t.Errorf("maxDatabaseAge = %v", got)
	}
	if got := c.Inspect.LayerStore.Bytes(0); got != 20<<30 {
		t.Errorf("layerStore = %d", got)
	}
	if got := c.Registries[3].Password.Text(); got != "0123456789abcdefREGISTRY_PASSWORD" {
		t.Errorf("password = %q", got)
	}
	if c.Signing.Key.Text() != "long-enough-cosign.key" {
		t.Errorf("key = %q", c.Signing.Key.Text())
	}
}

// TestProblems checks that each mistake is named with file, line and key, and that no secret is
// repeated.
func TestProblems(t *testing.T) {
	const reg = "registries:\n  - host: r.example.com\n"
	tests := []struct{ name, yaml, want string }{
		{"unknown key", "listen: 127.0.0.1:1\nlisten2: x\n",
			"f.yaml:2: listen2: unknown key; known here: dataDir, listen,"},
		{"unknown nested key", "policy:\n  blockat: HIGH\n",
			"f.yaml:2: policy.blockat: unknown key; known here: dir, blockAt"},
		{"duplicate key", "listen: a:1\nlisten: b:1\n", "f.yaml:2: "},
		{"syntax", "a: [\n", "f.yaml:"},
		{"tab", "policy:\n\tblockAt: HIGH\n", "YAML is indented with spaces, and here stands a tab"},
		{"indentation", "registries:\n  - host: r.example.com\n bad: x\n",
			"look at the indentation of this line"},
		{"second document", "listen: a:1\n---\nlisten: b:1\n", "more than one YAML document"},
		{"literal secret", reg + "    username: u\n    password: hunter2hunter2\n",
			"f.yaml:4: registries[0].password: secrets are given by reference only"},
		{"missing variable", reg + "    username: u\n    password: env:PRATIQUE_NOT_SET\n",
			"f.yaml:4: registries[0].password: env:PRATIQUE_NOT_SET: the environment variable"},
		{"missing file", reg + "    username: u\n    password: file:/nowhere/x\n",
			"f.yaml:4: registries[0].password: file:/nowhere/x: read secret"},
		{"half credentials", reg + "    username: u\n",
			"f.yaml:2: registries[0]: username and password go together"},
		{"host with scheme", "registries:\n  - host: https://r.example.com\n",
			"f.yaml:2: registries[0].host: want a host"},
		{"bad url", "publicURL: ftp://x\n", "f.yaml:1: publicURL: want a URL that starts with http://"},
		{"url with password",
			"deploy:\n  targets:\n    - name: a\n      images: [r/x]\n      repository: https://u:hunter2@h/x\n", "f.yaml:5: deploy.targets[0].repository: the URL holds credentials"},
		{"url with a token as user",
			"deploy:\n  targets:\n    - {name: a, images: [r/x], repository: 'https://hunter2@h/x'}\n", "deploy.targets[0].repository: the URL holds credentials"},
		{"port", "listen: 127.0.0.1:99999\n", "f.yaml:1: listen: want host:port"},
		{"workers", "workers: {attest: 1000}\n", "f.yaml:1: workers.attest: want a number from 1 to 64"},
		{"workers, where they were", "inspect:\n  workers: 2\n",
			"f.yaml:2: inspect.workers: moved to workers.inspect"},
		{"priorities, where they were", "inspect:\n  priorities: {manual: 1}\n",
			"f.yaml:2: inspect.priorities: moved to priorities"},
		{"priorities", "priorities: {manual: -1}\n",
			"f.yaml:1: priorities.manual: want a number from 1 to 64"},
		{"too many requests", reg + "    concurrency: 1000\n",
			"f.yaml:3: registries[0].concurrency: want a number from 1 to 256"},
		{"evidence in memory", "evidence: {url: 'mem://'}\n",
			"f.yaml:1: evidence.url: want a URL that starts with file://"},
		{"target without images",
			"deploy:\n  targets:\n    - name: a\n      repository: https://h/x\n",
			"f.yaml:3: deploy.targets[0].images: say which images"},
		{"path escape",
			"deploy:\n  targets:\n    - {name: a, images: [r/x], repository: 'https://h/x', path: a/../..}\n", "deploy.targets[0].path: want a path inside"},
		{"receiver without secret", reg + "receivers:\n  - name: a\n    registry: r.example.com\n",
			"f.yaml:4: receivers[0].secrets: without a secret"},
		{"receiver of unknown registry", reg +
			"receivers:\n  - name: a\n    insecure: true\n    registry: other.example.com\n",
			`f.yaml:6: receivers[0].registry: "other.example.com" is not`},
		{"name of submissions", reg +
			"receivers:\n  - {name: submission, insecure: true, registry: r.example.com}\n",
			"receivers[0].name: \"submission\" is the source"},
		{"nats without a name", reg +
			"receivers:\n  - {name: a, registry: r.example.com, format: zot, nats: {url: 'nats://n:4222', subject: s}}\n", "receivers[0].nats: on a server without authentication"},
		{"method of another", reg +
			"receivers:\n  - {name: a, registry: r.example.com, format: quay, auth: hmac-sha256, insecure: true}\n", "receivers[0].auth: quay supports url, not"},
		{"one audience", reg +
			"receivers:\n  - {name: a, registry: r.example.com, format: gar, oidc: {audience: x, email: e}}\n  - {name: b, registry: r.example.com, format: gar, oidc: {audience: x, email: e}}\n", "f.yaml:5: receivers[1].oidc.audience: receiver \"a\" has it, too"},
		{"sweep elsewhere", reg +
			"reconcile: {repositories: [{repository: other.example.com/a}]}\n",
			"reconcile.repositories[0].repository: \"other.example.com\" is not the host"},
		{"unknown format", reg +
			"receivers:\n  - {name: a, insecure: true, registry: r.example.com, format: smoke}\n",
			"f.yaml:4: receivers[0].format: want one of acr, artifactory, cdevents, cloudevents, distribution"},
		{"half an extension", "policy:\n  databaseAgeExtension: {age: 5d}\n",
			"f.yaml:2: policy.databaseAgeExtension: give all of age, until and reason"},
		{"extension without end",
			"policy:\n  databaseAgeExtension: {age: 5d, until: 2999-01-01T00:00:00Z, reason: r}\n",
			"f.yaml:2: policy.databaseAgeExtension.until: want a time within the next 31 days"},
		{"extension of nothing",
			"policy:\n  maxDatabaseAge: 6d\n  databaseAgeExtension: {age: 5d, until: 2020-01-01T00:00:00Z, reason: r}\n", "policy.databaseAgeExtension.age: want more than maxDatabaseAge, 144h0m0s"},
		{"extension until soon",
			"policy:\n  databaseAgeExtension: {age: 5d, until: soon, reason: r}\n",
			"f.yaml:2: policy.databaseAgeExtension.until: want a time such as"},
		{"token that only reads",
			"api:\n  tokens:\n    - {name: a, token: 'env:PATH', rollback: true}\n",
			"f.yaml:3: api.tokens[0]: the token only reads"},
		{"token's repositories",
			"api:\n  tokens:\n    - {name: a, token: 'env:PATH', submit: true, repositories: ['r.example/[a']}\n", "f.yaml:3: api.tokens[0].repositories[0]: "},
		{"bad duration", "database:\n  interval: soon\n",
			`f.yaml:2: database.interval: want a time span such as 90s, 6h or 3d, not "soon"`},
		{"bad size", "inspect:\n  memory: 2GB\n",
			`f.yaml:2: inspect.memory: want a size such as 512MiB or 20GiB, in KiB, MiB, GiB or TiB, not "2GB"`},
		{"wrong type", "workers:\n  inspect: many\n",
			`f.yaml:2: workers.inspect: want a whole number, not "many"`},
		{"a fraction", "workers: {deploy: 1.5}\ninspect: {shadowSBOM: 0.5}\n",
			`f.yaml:1: workers.deploy: want a whole number, not "1.5"`},
		{"bad listen", "listen: 8080\n", `f.yaml:1: listen: want host:port`},
		{"secrets as text", reg +
			"receivers:\n  - {name: a, registry: r.example.com, secrets: hunter2hunter2}\n",
			"f.yaml:4: receivers[0].secrets: want a list"},
		{"tokens as text", "api: {tokens: hunter2hunter2}\n", "f.yaml:1: api.tokens: want a list"},
		{"unknown key of a list", "api:\n  tokens:\n    - {name: a, tokn: x}\n",
			"f.yaml:3: api.tokens[0].tokn: unknown key; known here: name, token"},
		{"host with a scheme", "api: {hosts: ['https://p.example.com']}\n",
			"f.yaml:1: api.hosts[0]: want a host name without scheme and port"},
		{"host with a port", "api: {hosts: [p.example.com, 'p.example.com:80']}\n",
			"api.hosts[1]: want a host name"},
		{"host of nothing", "api: {hosts: ['']}\n", "api.hosts[0]: want a host name"},
		{"registry in a path", reg +
			"receivers:\n  - {name: a, registry: r.example.com, insecure: true, repositories: [r.example.com/a]}\n", "receivers[0].repositories[0]: leave out the registry"},
		{"memory", "inspect: {memory: 1KiB}\n", "inspect.memory: want at least 256MiB"},
		{"unknown scanner", "inspect: {scanners: [secret]}\n",
			"inspect.scanners[0]: want one of secrets, misconfigurations, licenses"},
		{"scanner twice", "inspect: {scanners: [secrets, secrets]}\n",
			"inspect.scanners[1]: \"secrets\" is listed twice"},
		{"secrets are not looked for", "policy: {blockSecrets: true}\n",
			"policy.blockSecrets: secrets are not looked for"},
		{"ledger", "queue: {ledgerSize: 1KiB}\n", "queue.ledgerSize: want at least 64MiB"},
		{"platform", "platforms: [foo/]\n", "f.yaml:1: platforms[0]: want os/architecture"},
		{"one branch, two authors",
			"deploy:\n  targets:\n    - {name: a, images: [r/x], repository: 'https://h/x'}\n    - {name: b, images: [r/x], repository: 'https://h/x', authorName: B}\n", "f.yaml:4: deploy.targets[1]: it shares a branch with target \"a\""},
		{"bad glob", "policy:\n  allowedRepositories:\n    - r/a**\n",
			"f.yaml:3: policy.allowedRepositories[0]: pattern"},
		{"bad severity", "policy:\n  blockAt: high\n", `f.yaml:2: policy.blockAt: want one of CRITICAL`},
		{"key without passphrase", "signing:\n  key: file:/dev/null\n", "f.yaml:"},
		{"key without public key", "signing:\n  key: env:PATH\n  passphrase: env:PATH\n",
			"f.yaml:1: signing.publicKeys: name the public key"},
		{"five public keys",
			"signing:\n  publicKeys: ['env:PATH', 'env:PATH', 'env:PATH', 'env:PATH', 'env:PATH']\n", "f.yaml:2: signing.publicKeys: want at most 4"},
		{"public key as text", "signing:\n  publicKeys: file:/etc/pratique/cosign.pub\n",
			"f.yaml:2: signing.publicKeys: want a list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.yaml))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q\nlacks %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error repeats a secret: %v", err)
			}
		})
	}
}

func TestSecretsOfReceivers(t *testing.T) {
	t.Setenv("PRATIQUE_TEST_ONE", "hunter2hunter2hunter2")
	t.Setenv("PRATIQUE_TEST_EMPTY", "a-long-user-name:hunter2")
	const head = "registries: [{host: r.example.com}]\nreceivers:\n  - {name: a, registry: r.example.com, secrets: ['env:PRATIQUE_TEST_ONE']}\n"
	for name, tt := range map[string]struct{ yaml, want string }{
		"one secret, two receivers": {"  - {name: b, registry: r.example.com, secrets: ['env:PRATIQUE_TEST_ONE']}\n", "f.yaml:4: receivers[1].secrets[0]: receiver \"a\" has it, too"},
		"short password":            {"  - {name: b, registry: r.example.com, auth: basic, secrets: ['env:PRATIQUE_TEST_EMPTY']}\n", "receivers[1].secrets[0]: env:PRATIQUE_TEST_EMPTY is shorter"},
	} {
		_, err := Parse("f.yaml", []byte(head+tt.yaml))
		if err == nil || !strings.Contains(err.Error(), tt.want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("f.yaml", []byte("listen: 1\npublicURL: x\n"))
	if err == nil || !strings.Contains(err.Error(), "f.yaml:1") ||
		!strings.Contains(err.Error(), "f.yaml:2") {
		t.Errorf("want both lines in %v", err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	t.Setenv("PRATIQUE_TEST_SECRET", "hunter2hunter2hunter2")
	c, err := Parse("f.yaml",
		[]byte("api:\n  tokens:\n    - {name: a, token: 'env:PRATIQUE_TEST_SECRET'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.API.Tokens[0].Token.String(); got != "env:PRATIQUE_TEST_SECRET" {
		t.Errorf("String() = %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Sample)
	f.Add([]byte("receivers: [{name: a}]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if _, err := Parse("f.yaml", content); err != nil && !strings.Contains(err.Error(), "f.yaml") {
			t.Errorf("error without the file's name: %v", err)
		}
	})
}

// TestWarnings: what is allowed and probably not meant is named with file, line and key.
func TestWarnings(t *testing.T) {
	const targets = "deploy:\n  targets:\n    - name: a\n      repository: https://git.example.com/c.git\n      images: [\"r.example.com/**\"]\n      path: clusters/a\n" +
		"    - name: b\n      repository: https://git.example.com/c.git\n      images: [\"r.example.com/**\"]\n"
	c, err := Parse("f.yaml", []byte(targets))
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 1 ||
		!strings.HasPrefix(w[0].Error(), "f.yaml:7: deploy.targets[1]: target b has no path") {
		t.Errorf("warnings: %v", w)
	}
	_, err = Parse("f.yaml", []byte(strings.Replace(targets, "https://git.example.com/c.git",
		"git@git.example.com:acme/c.git", 1)))
	if err == nil || !strings.Contains(err.Error(), "f.yaml:4: deploy.targets[0].repository") ||
		!strings.Contains(err.Error(), "write ssh://git@git.example.com/acme/c.git") {
		t.Errorf("error: %v", err)
	}
}

// TestPatternsThatMatchNothing: a pattern that no repository of a configured registry can match is
// a warning.
func TestPatternsThatMatchNothing(t *testing.T) {
	const head = "registries:\n  - {host: 'r.example.com:5000', aliases: [r.internal]}\npolicy:\n  allowNoPackages: ['"
	for pattern, want := range map[string]string{
		"r.example.com:5000/team/**":         "",
		"r.internal/team/app":                "",
		"**/app":                             "",
		"*/app":                              "",
		"**":                                 "",
		"team/**":                            `"team/**" matches no repository of a configured registry; write r.example.com:5000/team/**`,
		"r.example.com/team/**":              "matches no repository of a configured registry",
		"r.example.com:5000":                 "matches no repository of a configured registry",
		"r.example.com:5000/team/app:1.0":    "matches no repository: leave out the tag",
		"r.example.com:5000/team/app@sha256": "matches no repository: leave out the digest",
		"r.example.com:5000/{a,b}/app":       "matches no repository: braces stand for themselves, so write two patterns",
	} {
		c, err := Parse("f.yaml", []byte(head+pattern+"']\n"))
		if err != nil {
			t.Fatal(err)
		}
		w := c.Warnings()
		if want == "" && len(w) == 0 {
			continue
		}
		if want == "" || len(w) != 1 ||
			!strings.HasPrefix(w[0].Error(), "f.yaml:4: policy.allowNoPackages[0]: ") ||
			!strings.Contains(w[0].Error(), want) {
			t.Errorf("%s: %v", pattern, w)
		}
	}
}

func TestExtensionThatEnded(t *testing.T) {
	c, err := Parse("f.yaml",
		[]byte("policy:\n  databaseAgeExtension: {age: 5d, until: 2020-01-01, reason: r}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 1 ||
		!strings.Contains(w[0].Error(),
			"f.yaml:2: policy.databaseAgeExtension.until: it has ended: maxDatabaseAge is the limit again") {
		t.Errorf("warnings: %v", w)
	}
}
