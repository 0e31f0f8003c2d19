package gitrepo

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// lastWords bounds the wait for a local service to exit after its work.
const lastWords = 5 * time.Second

// startLocal runs a service of git on a folder of this machine. The hooks of the repository are
// programs of others and run as its children, so they get nothing of our environment, which may
// hold secrets, but where programs and configuration are.
func startLocal(ctx context.Context, service string, ep *transport.Endpoint) (*running, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Not bound to ctx, which is that of the first question only.
	cmd := exec.Command("git", strings.TrimPrefix(service, "git-"), "--", ep.Path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.WaitDelay = lastWords // a hook may outlive git and keep stderr open
	stderr := &tail{}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	kill := func() error { return errors.Join(cmd.Process.Kill(), stdout.Close()) }
	wait := func() error {
		_, _ = io.Copy(io.Discard, stdout) // it must not wait for us, nor we close what it writes to
		return cmd.Wait()
	}
	return &running{
		stdin: stdin, stdout: stdout, stderr: stderr, wait: wait, kill: kill,
		close: func() error {
			late := time.AfterFunc(lastWords, func() { _ = kill() })
			defer late.Stop()
			_ = stdin.Close() // it may be closed already
			_ = wait()        // git reports the end of the session as an error
			return nil
		},
	}, nil
}
