package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// asked runs a verb against the line with its token.
func (l *line) asked(token string) program {
	return program{env: []string{"PRATIQUE_URL=" + l.baseURL, "PRATIQUE_TOKEN=" + token}}
}

// TestSubmit asks a running service as a pipeline would.
func TestSubmit(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	reader := "a-token-that-may-only-read"
	l.write("reader", reader)
	conf := strings.Replace(clitest.ReadText(t, l.configFile), "submit: true}\n",
		"submit: true}\n    - {name: reader, token: \"file:"+l.dir+"/reader\"}\n", 1)
	l.write("pratique.yaml", conf)
	l.serve()
	app := l.registry.Host() + "/team/app"
	clean, vulnerable := l.push("team/app:1.0", l.build(images.Clean())),
		l.push("team/app:bad", l.build(images.Vulnerable()))
	l.awaitState(clean, pratique.StateDeployed)
	l.awaitState(vulnerable, pratique.StateDenied)
	ci := l.asked(l.token)

	t.Run("clean", func(t *testing.T) {
		ci.run(t, "submit", app+":1.0", "--wait").want(t, 0, "ALLOWED: "+app+"@"+clean.String()+
			"\n", "in place in production: ", "2>submitted "+app+":1.0 as ")
		ci.run(t, "submit", app+"@"+clean.String(), "--wait").want(t, 0, "ALLOWED: "+app+"@"+
			clean.String()+"\n", "without a tag")
	})
	t.Run("vulnerable", func(t *testing.T) {
		got := ci.run(t, "submit", app+":bad", "--wait").want(t, 1, "DENIED: "+app+"@"+
			vulnerable.String()+"\n", "  severity: CRITICAL ", "CVE-2020-14343")
		if strings.Contains(got.err, "pratique: ") {
			t.Errorf("a denial is no error: %s", got.err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		ci.run(t, "submit", app+":missing", "--wait").want(t, 2, "FAILED: "+app+":missing\n",
			"could not find out, in stage inspect: ")
		ci.run(t, "submit", "other.example.com/team/app:1.0", "--wait").want(t, 2, "FAILED: ",
			"add it to `registries`")
	})
	t.Run("refused", func(t *testing.T) {
		l.asked("").run(t, "submit", app+":1.0", "--wait").want(t, 2,
			"2>PRATIQUE_TOKEN is not set: set it to a token of api.tokens that may do this")
		l.asked("a-token-that-nobody-gave").run(t, "submit", app+":1.0").want(t, 2,
			"2>the service does not know the token in PRATIQUE_TOKEN")
		l.asked(reader).run(t, "submit", app+":1.0").want(t, 2, "2>may read, and not submit",
			"2>set PRATIQUE_TOKEN")
		ci.run(t, "submit", "team/app:1.0").want(t, 2, "2>name the registry")
		ci.run(t, "submit", app+":1.0", "--server", "ftp://x").want(t, 2, "2>is not the base URL")
		ci.run(t, "submit", app+":1.0", "--server", "http://127.0.0.1:1").want(t, 2, "2>refused")
		ci.run(t, "submit", app+":1.0", "--wait", "--timeout", "1ns").want(t, 2, "2>deadline")
	})
	t.Run("json", func(t *testing.T) {
		var done, begun api.Submission
		decode(t, ci.run(t, "submit", app+":bad", "--wait", "--json").want(t, 1).out, &done)
		if !done.Done || done.State != "denied" || done.Outcome != pratique.Deny ||
			done.Digest != vulnerable || len(done.Reasons) == 0 {
			t.Errorf("submission %+v", done)
		}
		decode(t, ci.run(t, "submit", app+":1.0", "--json").want(t, 0).out, &begun)
		if begun.Done || begun.State != "received" || begun.ID == "" {
			t.Errorf("submission %+v", begun)
		}
	})
	t.Run("key", func(t *testing.T) {
		first := ci.run(t, "submit", app+":1.0", "--idempotency-key", "build-7").want(t, 0).out
		again := ci.run(t, "submit", app+":1.0", "--idempotency-key", "build-7").want(t, 0).out
		other := ci.run(t, "submit", app+":1.0", "--idempotency-key", "build-8").want(t, 0).out
		if id := strings.TrimSpace(first); first != again || first == other || id == "" ||
			strings.ContainsAny(id, " \n") {
			t.Errorf("ids %q, %q, %q", first, again, other)
		}
	})
	t.Run("github", func(t *testing.T) {
		ci.run(t, "submit", app+":1.0", "--wait", "--github").want(t, 2, "2>GITHUB_OUTPUT")
		ci.run(t, "submit", app+":1.0", "--github").want(t, 2, "2>--wait")
		for tag, status := range map[string]int{"1.0": 0, "bad": 1, "missing": 2} {
			runner := ci
			runner.dir = t.TempDir()
			runner.env = append(slices.Clone(ci.env), "GITHUB_OUTPUT="+runner.dir+"/output",
				"GITHUB_STEP_SUMMARY="+runner.dir+"/summary")
			runner.run(t, "submit", app+":"+tag, "--wait", "--github").want(t, status)
			outputs := strings.Split(strings.TrimSuffix(clitest.ReadText(t, runner.dir+"/output"),
				"\n"), "\n")
			decision := []string{"decision=allowed", "decision=denied", "decision=failed"}[status]
			if len(outputs) != 7 || outputs[0] != decision {
				t.Errorf("outputs %q", outputs)
			}
			if summary := clitest.ReadText(t, runner.dir+"/summary"); !strings.Contains(summary,
				"### Pratique: "+strings.TrimPrefix(decision, "decision=")) {
				t.Errorf("summary %s", summary)
			}
		}
	})
	t.Run("why", func(t *testing.T) { l.why(clean, vulnerable) })
}

// why asks for images by each of their names.
func (l *line) why(clean, vulnerable pratique.Digest) {
	l.t.Helper()
	t, app, ask := l.t, l.registry.Host()+"/team/app", l.asked(l.token)
	for _, name := range []string{clean.String(), app + "@" + clean.String(), app + ":1.0"} {
		ask.run(t, "why", name).want(t, 0, "ALLOWED: "+app+"@"+clean.String()+"\n", "  tag 1.0\n",
			"\nVerdict of ", "\nDeployments\n  committed to production: ",
			"\nIn the registry, verified\n", "image signature", "attested   attest@")
	}
	ask.run(t, "why", app+":bad").want(t, 0, "DENIED: "+app+"@"+vulnerable.String()+"\n",
		"CVE-2020-14343", "\nFindings in ")
	var image api.Image
	decode(t, ask.run(t, "why", app+":bad", "--json").want(t, 0).out, &image)
	if image.Digest != vulnerable || image.Outcome != pratique.Deny {
		t.Errorf("image %s %s", image.Image, image.Outcome)
	}
	unknown := pratique.DigestOf([]byte("unknown")).String()
	for _, name := range []string{unknown, app + "@" + unknown, app + ":unknown",
		l.registry.Host() + "/team/other:1.0"} {
		if got := ask.run(t, "why", name).want(t, 2, "2>pratique: ", "2>(404)"); got.out != "" {
			t.Errorf("stdout %q", got.out)
		}
	}
	ask.run(t, "why", unknown).want(t, 2, "2>"+unknown)
	ask.run(t, "why", "sha256:short").want(t, 2, "2>pratique: ")
	l.asked("").run(t, "why", clean.String()).want(t, 2, "2>PRATIQUE_TOKEN is not set")
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
