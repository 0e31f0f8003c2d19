package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// action is what a runner reads of action.yml.
type action struct {
	Inputs  map[string]struct{ Required bool }
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Steps []struct {
			ID, Shell, Run string
			Env            map[string]string
		}
	}
}

// TestAction runs the steps of action.yml as a runner would, against a running service.
func TestAction(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(content, &a); err != nil {
		t.Fatal(err)
	}
	l := newLine(t, lineOptions{})
	l.serve()
	l.push("team/app:good", l.build(images.Clean()))
	l.push("team/app:bad", l.build(images.Vulnerable()))
	for _, tt := range []struct {
		tag, decision, summary string
		status                 int
	}{
		{"good", "allowed", "Pratique: allowed", 0},
		{"bad", "denied", "CVE-2020-14343", verb.Denied},
		{"missing", "failed", "Could not find out", verb.Unknown},
	} {
		t.Run(tt.tag, func(t *testing.T) {
			image := l.registry.Host() + "/team/app:" + tt.tag
			inputs := map[string]string{"server-url": l.baseURL, "token": l.token, "image": image,
				"timeout": "1m"}
			outputs, summary, status := runAction(t, a, inputs)
			if status != tt.status || outputs["decision"] != tt.decision ||
				!strings.Contains(summary, tt.summary) {
				t.Errorf("status %d, outputs %v, summary:\n%s", status, outputs, summary)
			}
			for name, output := range a.Outputs {
				if _, ok := outputs[name]; !ok || output.Value != "${{ steps.submit.outputs."+name+" }}" {
					t.Errorf("output %s is declared as %q and written: %v", name, output.Value, ok)
				}
			}
		})
	}
}

// TestActionWithoutService: a step that reaches nobody still writes its outputs.
func TestActionWithoutService(t *testing.T) {
	content, err := os.ReadFile("../../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(content, &a); err != nil {
		t.Fatal(err)
	}
	inputs := map[string]string{"server-url": "http://127.0.0.1:1",
		"token": "none-of-your-business", "image": "r.example.com/a:1", "timeout": "5s"}
	outputs, summary, status := runAction(t, a, inputs)
	if status != verb.Unknown || outputs["decision"] != "failed" ||
		!strings.Contains(summary, "Could not find out") {
		t.Errorf("status %d, outputs %v, summary:\n%s", status, outputs, summary)
	}
}

func runAction(t *testing.T, a action, inputs map[string]string) (outputs map[string]string,
	summary string, status int) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary is pratique on the path of this runner.
	writeExecutable(t, filepath.Join(dir, "bin", "pratique"), "#!/bin/sh\n"+envMain+"=1 exec '"+
		self+"' \"$@\"\n")
	for _, step := range a.Runs.Steps {
		command := exec.CommandContext(t.Context(), step.Shell, "--noprofile", "--norc", "-eo",
			"pipefail", "-c", step.Run)
		command.Env = []string{
			"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin", "RUNNER_TEMP=" + dir,
			"GITHUB_ACTION_PATH=/nowhere",
			"GITHUB_PATH=" + filepath.Join(dir, "path"), "GITHUB_OUTPUT=" + filepath.Join(dir, "output"),
			"GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"),
		}
		for name, value := range step.Env {
			for input, given := range inputs {
				value = strings.ReplaceAll(value, "${{ inputs."+input+" }}", given)
			}
			command.Env = append(command.Env, name+"="+value)
		}
		out, err := command.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), inputs["token"]) {
			t.Errorf("the step prints the token:\n%s", out)
		}
		t.Logf("%s", out)
	}
	outputs = map[string]string{}
	for line := range strings.SplitSeq(clitest.ReadText(t, filepath.Join(dir, "output")), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			outputs[name] = value
		}
	}
	return outputs, clitest.ReadText(t, filepath.Join(dir, "summary")), status
}
