package tags_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/cosign/v2/pkg/cosign/env"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// cosignBinary returns the command-line cosign of the module graph: the one that PRATIQUE_COSIGN
// names, or one built now. The tests that need it fail without it; only -short without
// PRATIQUE_COSIGN skips them.
func cosignBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PRATIQUE_COSIGN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("PRATIQUE_COSIGN names a file that is not there: %v", err)
		}
		return path
	}
	if testing.Short() {
		t.Skip("-short, and PRATIQUE_COSIGN does not name a cosign")
	}
	path, err := buildCosign()
	if err != nil {
		t.Fatalf("the command-line cosign cannot be built (build it once with \"go build -o bin/cosign "+
			"github.com/sigstore/cosign/v2/cmd/cosign\" and set PRATIQUE_COSIGN): %v", err)
	}
	return path
}

// buildCosign builds it once for all tests of this run; TestMain deletes it.
var buildCosign = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "cosign")
	out, err := exec.Command("go", "build", "-o", path,
		"github.com/sigstore/cosign/v2/cmd/cosign").CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return path, nil
})

var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "pratique-cosign-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		return m.Run()
	}())
}

// cosign runs the command line in an empty home, without a way to the internet.
type cosign struct {
	binary, home string
}

func newCosign(t *testing.T) cosign {
	t.Helper()
	home := t.TempDir()
	// Any CT log key keeps cosign from asking the public trust root for one; verifying with a key
	// reads none.
	if err := os.WriteFile(filepath.Join(home, "ctlog.pub"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return cosign{binary: cosignBinary(t), home: home}
}

func (c cosign) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir = c.home
	cmd.Env = []string{
		"HOME=" + c.home, "TUF_ROOT=" + c.home, "COSIGN_PASSWORD=secret", "PATH=" + os.Getenv("PATH"),
		"HTTPS_PROXY=http://127.0.0.1:1", env.VariableSigstoreCTLogPublicKeyFile.String() + "=" +
			filepath.Join(c.home, "ctlog.pub"),
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs a command that has to succeed.
func (c cosign) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.run(t, args...)
	if err != nil {
		t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refuses runs a command that has to fail, and say why.
func (c cosign) refuses(t *testing.T, why string, args ...string) {
	t.Helper()
	out, err := c.run(t, args...)
	if err == nil || !strings.Contains(out, why) {
		t.Fatalf("cosign %s: %v, want a refusal with %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

func (c cosign) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(c.home, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// cosignKeys is a key pair in cosign's format.
type cosignKeys struct {
	*key.Signer
	verifier *key.Verifier
}

func (k cosignKeys) Verify(message []byte, s signer.Signature) (pratique.Identity, error) {
	return k.verifier.Verify(message, s)
}

func loadKeys(t *testing.T, private, public []byte) cosignKeys {
	t.Helper()
	s, err := key.Load(private, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := key.LoadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return cosignKeys{s, v}
}

// TestCosignAccepts has the real cosign verify everything that Attach writes.
func TestCosignAccepts(t *testing.T) {
	t.Parallel()
	c := newCosign(t)
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	private, public, err := key.Generate([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	own := loadKeys(t, private, public)
	attach(t, tags.NewStore(reg, tags.Limits{}), own, subject, statements(t, subject, pratique.Allow))
	pub := c.file(t, "own.pub", public)

	out := c.must(t, "verify", "--key", pub, "--insecure-ignore-tlog", subject.String())
	if !strings.Contains(out, subject.Digest.String()) {
		t.Errorf("cosign verify does not name the digest:\n%s", out)
	}
	_, otherPublic, err := key.Generate(nil)
	if err != nil {
		t.Fatal(err)
	}
	otherPub := c.file(t, "other.pub", otherPublic)
	c.refuses(t, "invalid signature", "verify", "--key", otherPub, "--insecure-ignore-tlog",
		subject.String())

	for _, predicate := range []string{"spdxjson", "cyclonedx", "vuln", pratique.PredicateVSA} {
		t.Run(filepath.Base(predicate), func(t *testing.T) {
			t.Parallel()
			args := []string{"verify-attestation", "--insecure-ignore-tlog", "--type", predicate,
				subject.String(), "--key"}
			c.must(t, append(args, pub)...)
			c.refuses(t, "none of the attestations", "verify-attestation", "--insecure-ignore-tlog",
				"--type", "openvex", "--key", pub, subject.String())
			c.refuses(t, "signature", append(args, otherPub)...)
		})
	}
}

// TestKeysTravel loads our key in cosign and cosign's key here, and lets both sign the same image.
func TestKeysTravel(t *testing.T) {
	t.Parallel()
	c := newCosign(t)
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	store := tags.NewStore(reg, tags.Limits{})
	private, public, err := key.Generate([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	ours := c.file(t, "ours.key", private)
	oursPub := c.file(t, "ours.pub", public)
	c.must(t, "generate-key-pair", "--output-key-prefix", "theirs")
	theirs := filepath.Join(c.home, "theirs.key")
	theirsPub := filepath.Join(c.home, "theirs.pub")

	// cosign signs and attests with both keys.
	predicate := c.file(t, "sbom.json",
		[]byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"theirs"}`))
	for _, k := range []string{ours, theirs} {
		c.must(t, "sign", "--tlog-upload=false", "--yes", "--key", k, subject.String())
		c.must(t, "attest", "--tlog-upload=false", "--yes", "--key", k, "--type", "spdxjson",
			"--predicate", predicate, subject.String())
	}
	theirPEM, err := os.ReadFile(theirsPub)
	if err != nil {
		t.Fatal(err)
	}
	theirVerifier, err := key.LoadVerifier(theirPEM)
	if err != nil {
		t.Fatal(err)
	}
	before, err := store.Verified(t.Context(), subject, theirVerifier, pratique.PredicateSPDX)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signatureOf(t, store, subject, theirVerifier); err != nil {
		t.Fatalf("cosign's signature by its own key: %v", err)
	}

	// We sign with our key, then with cosign's; each time the other's objects stay.
	own := loadKeys(t, private, public)
	sts := statements(t, subject, pratique.Allow)
	attach(t, store, own, subject, sts)
	for _, pub := range []string{oursPub, theirsPub} {
		c.must(t, "verify", "--key", pub, "--insecure-ignore-tlog", subject.String())
		c.must(t, "verify-attestation", "--key", pub, "--insecure-ignore-tlog", "--type",
			"spdxjson", subject.String())
	}
	after, err := store.Verified(t.Context(), subject, theirVerifier, pratique.PredicateSPDX)
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != 1 || len(after) != 1 || before[0].Attestation != after[0].Attestation {
		t.Errorf("their attestation was %+v, is %+v", before, after)
	}
	theirPrivate, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	loaded := loadKeys(t, theirPrivate, theirPEM)
	attach(t, store, loaded, subject, sts[:1])
	c.must(t, "verify-attestation", "--key", theirsPub, "--insecure-ignore-tlog", "--type",
		"spdxjson", subject.String())
	// The attestation that cosign made with our key was replaced by ours, which says something
	// else.
	own1, err := store.Verified(t.Context(), subject, own, pratique.PredicateSPDX)
	if err != nil || len(own1) != 1 || !strings.Contains(string(own1[0].Statement.Predicate), "<img>") {
		t.Errorf("our SPDX attestations: %+v, %v", own1, err)
	}
}
