package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"
	"golang.org/x/crypto/ssh"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/signer/key"
)

// program is one run of the program, in a process of its own, with no environment but what the test
// gives.
type program struct {
	dir    string
	env    []string
	status int
	out    string
	err    string
}

func (v program) run(t testing.TB, args ...string) program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if v.dir == "" {
		v.dir = t.TempDir()
	}
	command := exec.CommandContext(t.Context(), self, args...)
	command.Dir = v.dir
	command.Env = append([]string{envMain + "=1", "HOME=" + v.dir}, v.env...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		v.status = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	default:
		v.status = 0
	}
	v.out, v.err = out.String(), errs.String()
	return v
}

// runUntil runs the verb until its output has a text, or for as long as a test is patient.
func (v program) runUntil(t testing.TB, text string, args ...string) program {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if ran := v.run(t, args...); strings.Contains(ran.out, text) || time.Now().After(deadline) {
			return ran
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// want checks the exit status and that each text is in the output; a text that starts with "2>" is
// looked for among the errors.
func (v program) want(t testing.TB, status int, texts ...string) program {
	t.Helper()
	ok := v.status == status
	for _, text := range texts {
		where := v.out
		if inErrors, found := strings.CutPrefix(text, "2>"); found {
			text, where = inErrors, v.err
		}
		ok = ok && strings.Contains(where, text)
	}
	if !ok {
		t.Errorf("exit status %d, want %d and %q\nstdout: %s\nstderr: %s", v.status, status, texts,
			v.out, v.err)
	}
	return v
}

// writerIn writes files for a test, and returns their paths.
func writerIn(t *testing.T, dir string) func(name, content string) string {
	return func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestConfigVerbs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := writerIn(t, dir)
	good := file("good.yaml", "dataDir: "+dir+"/data\nlisten: 127.0.0.1:8080\n")
	program{}.run(t, "config", "check", good).want(t, 0, good+" is fine")
	bad := file("bad.yaml",
		"listen: 127.0.0.1:8080\npolicy:\n  blockAt: high\n  maxDatabaseAge: 72h\napi:\n  tokens:\n    - {name: ci, token: env:NOT_SET}\n")
	got := program{}.run(t, "config", "check", bad).want(t, 2, "2>"+bad+":3: policy.blockAt: ",
		"2>"+bad+":7: api.tokens[0].token: ", "2>NOT_SET")
	if got.out != "" {
		t.Errorf("problems belong on stderr, stdout has %q", got.out)
	}
	direct := file("direct.yaml",
		"registries:\n  - host: r.example.com\nreceivers:\n  - {name: zot, format: zot, registry: r.example.com, insecure: true, nats: {url: 'nats://n.example.com:4222', subject: zot}}\n"+
			"database: {dir: "+dir+
			"/nosuch}\ndeploy:\n  targets:\n    - {name: a, repository: 'file://"+dir+
			"/none.git', path: a, images: ['r.example.com/**']}\n")
	program{env: []string{"HTTPS_PROXY=http://proxy.example.com:3128"}}.run(t, "config", "check",
		direct).want(t, 0, direct+" is fine",
		"2>receivers[0].nats.url: HTTPS_PROXY is set, and NATS does not use it", "2>"+direct+
			":5: database.dir: there is no directory "+dir+"/nosuch",
		"2>"+direct+":8: deploy.targets[0].repository: there is no directory "+dir+"/none.git")
	program{}.run(t, "config", "check", file("syntax.yaml", "a: [\n")).want(t, 2, "2>syntax.yaml:")
	program{}.run(t, "config", "check", filepath.Join(dir, "missing.yaml")).want(t, 2, "2>missing.yaml")
	program{}.run(t, "config", "check").want(t, 2, "2>arg")
	program{}.run(t, "serve", "--config", bad).want(t, 2, "2>"+bad+":3: policy.blockAt: ")
	program{}.run(t, "serve").want(t, 2, "2>pratique config sample")
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("checking made the data directory: %v", err)
	}
}

// TestConfigSample: what is printed is a configuration that lacks nothing but the secrets it refers
// to.
func TestConfigSample(t *testing.T) {
	t.Parallel()
	sample := program{}.run(t, "config", "sample").want(t, 0, "dataDir:")
	_, err := config.Parse("sample.yaml", []byte(sample.out))
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) {
		t.Fatalf("want the missing secrets, got %v", err)
	}
	for _, problem := range all.Unwrap() {
		if !strings.Contains(problem.Error(), ": env:") && !strings.Contains(problem.Error(), ": file:") {
			t.Errorf("not about a missing secret: %v", problem)
		}
	}

	// With the secrets in place it is fine.
	dir := t.TempDir()
	env := program{}
	for _, name := range []string{"REGISTRY_PASSWORD", "WEBHOOK_AUTHORIZATION", "COSIGN_PASSWORD",
		"GIT_PASSWORD", "PRATIQUE_CI_TOKEN", "PRATIQUE_AUDITOR_TOKEN", "PRATIQUE_OPERATOR_TOKEN",
		"NATS_PASSWORD", "CI_WEBHOOK_TOKEN"} {
		env.env = append(env.env, name+"=0123456789abcdef-"+name)
	}
	private, public, err := key.Generate([]byte("0123456789abcdef-COSIGN_PASSWORD"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cosign.key": private, "cosign.pub": public, "commit-signing": sshKey(t),
		"github-webhook": []byte("0123456789abcdef-github"),
		"hub-webhook":    []byte("0123456789abcdef-hub"),
		"jfrog-webhook":  []byte("0123456789abcdef-jfrog"),
		"pratique.yaml":  []byte(strings.ReplaceAll(sample.out, "/etc/pratique", dir)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "pratique.yaml")
	env.run(t, "config", "check", file).want(t, 0, "is fine")

	// What is verified with another key than the one that signs would never be deployed.
	_, other, err := key.Generate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		public []byte
		want   string
	}{
		"another key": {other, "2>signing: publicKeys: the public half of key is not among them"},
		"two in one": {append(bytes.Clone(other), public...),
			"2>signing: publicKeys[0]: load public key: want one public key in PEM, and nothing after it"},
		"no key": {[]byte("x"), "2>signing: publicKeys[0]: load public key"},
	} {
		t.Log(name)
		if err := os.WriteFile(filepath.Join(dir, "cosign.pub"), c.public, 0o600); err != nil {
			t.Fatal(err)
		}
		env.run(t, "config", "check", file).want(t, 2, c.want)
	}
	if err := os.WriteFile(filepath.Join(dir, "cosign.pub"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	rotating := strings.ReplaceAll(clitest.ReadText(t, file), "[file:"+dir+"/cosign.pub]", "[file:"+
		dir+"/old.pub, file:"+dir+"/cosign.pub]")
	for name, content := range map[string][]byte{"old.pub": other, "pratique.yaml": []byte(rotating)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env.run(t, "config", "check", file).want(t, 0, "is fine")
}

// sshKey is a private key as ssh-keygen writes it.
func sshKey(t *testing.T) []byte {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func TestKeyGenerate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	prefix := filepath.Join(dir, "pair")
	program{}.run(t, "key", "generate", "--output", prefix).want(t, 2, "2>COSIGN_PASSWORD")
	program{env: []string{"COSIGN_PASSWORD="}}.run(t, "key", "generate", "--output", prefix).want(t,
		2, "2>COSIGN_PASSWORD")
	if found, _ := filepath.Glob(prefix + "*"); len(found) != 0 {
		t.Fatalf("without a passphrase it wrote %v", found)
	}
	with := program{env: []string{"COSIGN_PASSWORD=correct horse"}}
	with.run(t, "key", "generate", "--output", prefix).want(t, 0, prefix+".key", prefix+".pub")
	for path, mode := range map[string]fs.FileMode{prefix + ".key": 0o600, prefix + ".pub": 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	private, public := clitest.ReadText(t, prefix+".key"), clitest.ReadText(t, prefix+".pub")
	signer, err := key.Load([]byte(private), []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := key.LoadVerifier([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(t.Context(), []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if by, err := verifier.Verify([]byte("message"), signature); err != nil || by != signer.Identity() {
		t.Errorf("the halves do not belong together: %v, %v", by, err)
	}
	if _, err := key.Load([]byte(private), []byte("wrong")); pratique.KindOf(err) != pratique.Denied {
		t.Errorf("a wrong passphrase: %v", err)
	}

	with.run(t, "key", "generate", "--output", prefix).want(t, 2, "2>"+prefix+
		".key is there already, and nothing was written: name another pair with --output")
	if clitest.ReadText(t, prefix+".key") != private || clitest.ReadText(t, prefix+".pub") != public {
		t.Error("the pair was overwritten")
	}
	lone := filepath.Join(dir, "lone")
	if err := os.WriteFile(lone+".pub", []byte(public), 0o644); err != nil {
		t.Fatal(err)
	}
	with.run(t, "key", "generate", "--output", lone).want(t, 2, "2>"+lone+".pub")
	if clitest.ReadText(t, lone+".pub") != public {
		t.Error("a public key was overwritten")
	}
	if _, err := os.Stat(lone + ".key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a private key without its public half was left: %v", err)
	}
	single := filepath.Join(dir, "single")
	if err := os.WriteFile(single+".key", []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	with.run(t, "key", "generate", "--output", single).want(t, 2, "2>"+single+".key")
	if clitest.ReadText(t, single+".key") != private {
		t.Error("a private key was overwritten")
	}
	with.run(t, "key", "generate", "--output", filepath.Join(dir, "no", "such", "folder")).want(t,
		2, "2>no/such/folder")

	// Without --output the pair is in the working directory.
	with.dir = t.TempDir()
	with.run(t, "key", "generate").want(t, 0)
	if _, err := os.Stat(filepath.Join(with.dir, "cosign.key")); err != nil {
		t.Error(err)
	}
}

func TestPolicyTest(t *testing.T) {
	t.Parallel()
	shipped, err := filepath.Abs("../../../deploy/policy/default")
	if err != nil {
		t.Fatal(err)
	}
	program{}.run(t, "policy", "test", shipped).want(t, 0, "PASS", " 0 failed")
	with := func(name, content string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	failing := with("extra_test.rego", "package pratique_test\n\ntest_that_fails if 1 == 2\n")
	program{}.run(t, "policy", "test", failing).want(t, 1, "extra_test.rego:3", "test_that_fails",
		" 1 failed")
	program{}.run(t, "policy", "test",
		with("extra.rego", "package pratique\n\ndeny contains {\n")).want(t, 2, "2>extra.rego")
	program{}.run(t, "policy", "test",
		with("extra.rego", "package pratique\n\ndeny contains unknown_thing\n")).want(t, 2,
		"2>unknown_thing")
	program{}.run(t, "policy", "test", t.TempDir()).want(t, 2, "2>no tests in ",
		"2>name files *_test.rego and rules test_")
	program{}.run(t, "policy", "test", filepath.Join(t.TempDir(), "missing")).want(t, 2,
		"2>missing: there is no such directory")
}

// leaves are all verbs that do something.
func leaves(c *cobra.Command) []*cobra.Command {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	var all []*cobra.Command
	for _, child := range c.Commands() {
		all = append(all, leaves(child)...)
	}
	return all
}

func TestHelp(t *testing.T) {
	all := leaves(cli.New())
	if len(all) < 9 {
		t.Fatalf("only %d verbs", len(all))
	}
	for _, c := range all {
		if c.Hidden {
			continue
		}
		path := strings.Fields(c.CommandPath())[1:]
		t.Run(strings.Join(path, " "), func(t *testing.T) {
			root := cli.New()
			var out, errs bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&errs)
			root.SetArgs(append(slices.Clone(path), "--help"))
			if err := root.Execute(); err != nil || errs.Len() != 0 {
				t.Errorf("%v, stderr %q", err, errs.String())
			}
			if !strings.Contains(out.String(), "Usage:\n  pratique "+strings.Join(path, " ")) {
				t.Errorf("no usage:\n%s", out.String())
			}
			if _, examples, _ := strings.Cut(out.String(),
				"Examples:\n"); !strings.Contains(examples, "pratique "+strings.Join(path, " ")) {
				t.Errorf("no example:\n%s", out.String())
			}
		})
	}
	program{}.run(t, "--help").want(t, 0, "Start here:", "pratique demo")
	program{}.run(t).want(t, 0, "Start here:")
	program{}.run(t, "policy").want(t, 0, "Available Commands:")
	program{}.run(t, "submit", "--help").want(t, 0, "Exit status, with --wait", "PRATIQUE_TOKEN")
	program{}.run(t, "--version").want(t, 0, "pratique version ")
}

func TestUnknownWords(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"bogus"}, {"--bogus"}, {"serve", "--bogus"}, {"serve", "bogus"}, {"submit"},
		{"submit", "a", "b"}, {"submit", "--timeout", "soon", "x"},
		{"why"}, {"why", "--bogus", "x"}, {"key", "generate", "bogus"},
		{"config", "sample", "bogus"}, {"policy", "test"}, {"projections", "check", "bogus"},
		{"config", "chekc", "x"}, {"policy", "tset", "x"}, {"key", "bogus"},
		{"projections", "bogus"}, {"projections", "--bogus"}, {"projections", "rebuild", "bogus"},
	} {
		if got := (program{}).run(t, args...).want(t, 2, "2>pratique: "); got.out != "" {
			t.Errorf("%v prints %q", args, got.out)
		}
	}
}

// TestProjectionVerbs damages the index, rebuilds it, and wants the same answers as before.
func TestProjectionVerbs(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	digests := []pratique.Digest{l.push("team/app:1.0", l.build(images.Clean())),
		l.push("team/app:bad", l.build(images.Vulnerable()))}
	l.awaitState(digests[0], pratique.StateDeployed)
	l.awaitState(digests[1], pratique.StateDenied)
	l.asked(l.token).run(t, "submit", l.registry.Host()+"/team/app:1.0", "--wait").want(t, 0)
	before := l.answers(digests)
	index := func(verbName string) program {
		return program{}.run(t, "projections", verbName, "--config", l.configFile)
	}
	index("check").want(t, 2, "2>another process has it open")
	index("rebuild").want(t, 2, "2>another process has it open")
	stop()
	index("check").want(t, 0, "2 images, 3 events")

	file := filepath.Join(l.dir, "data", "index.db")
	damage(t, file)
	index("check").want(t, 1, " is missing")
	index("rebuild").want(t, 0, file+" is removed")
	index("rebuild").want(t, 0) // nothing is there any more
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the index is still there: %v", err)
	}
	index("check").want(t, 2, "2>"+file)
	stop = l.serve()
	l.awaitState(digests[1], pratique.StateDenied)
	l.await(digests[0], "all facts", func(i api.Image) bool {
		return count(i, pratique.FactCompleted) == 2
	})
	for i, after := range l.answers(digests) {
		if after != before[i] {
			t.Errorf("before:\n%s\nafter:\n%s", before[i], after)
		}
	}
	if l.commits() != 2 {
		t.Errorf("%d commits: replaying did work again", l.commits())
	}
	stop()
	index("check").want(t, 0, "2 images, 3 events")
}

// damage takes a bucket out of the file.
func damage(t *testing.T, file string) {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		var victim []byte
		if err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if string(name) != "meta" {
				victim = bytes.Clone(name)
			}
			return nil
		}); err != nil {
			return err
		}
		return tx.DeleteBucket(victim)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// answers is what the API says about each image, without the one field that tells the time of
// asking.
func (l *line) answers(digests []pratique.Digest) []string {
	l.t.Helper()
	var all []string
	for _, d := range digests {
		image, err := l.client.Image(l.t.Context(), d.String())
		if err != nil {
			l.t.Fatal(err)
		}
		image.Database.AgeSeconds = 0
		text, err := json.MarshalIndent(image, "", " ")
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}
