package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/queue/reconcile"
)

type reconcileFlags struct {
	serverFlags
	detach  bool
	deploy  []string
	timeout time.Duration
}

// NewReconcile is the verb reconcile.
func NewReconcile() *cobra.Command {
	var f reconcileFlags
	cmd := &cobra.Command{
		Use:   "reconcile [REPOSITORY…]",
		Short: "Look now for pushes that no webhook reported",
		Long: `Asks the service to sweep the repositories, or all that its configuration has under reconcile: it lists their tags, asks
the registry what each names, and accepts what is new. Shows how far that has come, and ends when it is done.
An interrupted command leaves the sweep running.

A sweep does not know when a tag was pushed, or whether it was meant to go anywhere. What it finds is evaluated and
attested; its digest is committed only where the config repository names that very tag already. For anything more name
the image with --deploy: then what its tag names now is evaluated, and committed if it is allowed, as if it had been pushed
just now. An image that is older than what stands there needs a token with rollback: true, too.

The token is taken from the environment variable PRATIQUE_TOKEN. Sweeps need submit: true, --deploy needs operate: true,
and the repositories have to be among those of the token.

Exit status:
  0  every sweep ended well, and what was to be deployed was allowed
  1  an image that was to be deployed was denied
  2  a sweep failed, the service did not answer, or could not find out`,
		Example: `  pratique reconcile
  pratique reconcile registry.example.com/team/app
  pratique reconcile --deploy registry.example.com/team/app:v1.10.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(f.deploy) > 0 && len(args) > 0 {
				return errors.New("--deploy names the images itself: give no repositories beside it")
			}
			return f.run(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	cmd.Flags().StringArrayVar(&f.deploy, "deploy", nil,
		"deploy what this tag names now, as REPOSITORY:TAG (repeatable)")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "do not wait for the end")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Hour, "how long to wait at most")
	return cmd
}

func (f *reconcileFlags) run(ctx context.Context, repositories []string, out, progress io.Writer) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if len(f.deploy) > 0 {
		return f.deployByName(ctx, c, out, progress)
	}
	asked, err := c.Reconcile(ctx, repositories)
	if err != nil {
		return explainDenied(err, "submit: true")
	}
	w := watch{out: out, open: map[string]time.Time{}, said: map[string]string{}}
	for _, r := range asked {
		w.open[r.Repository] = r.Finished
	}
	for !f.detach {
		all, err := c.Reconciliations(ctx)
		if err != nil {
			return err
		}
		if w.show(all); len(w.open) == 0 {
			return w.end()
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("stopped waiting; the sweeps go on")
		}
	}
	fmt.Fprintf(out, "asked for %s\n", words.Counted(len(asked), "sweep"))
	return nil
}

// deployByName asks for images that sweeps found, and shows what became of each.
func (f *reconcileFlags) deployByName(ctx context.Context, c *client.Client, out,
	progress io.Writer) error {
	all, err := c.DeployByName(ctx, f.deploy)
	if err != nil {
		return explainDenied(err, "operate: true")
	}
	worst := &verb.Error{}
	for _, s := range all {
		fmt.Fprintf(progress, "submitted %s as %s\n", s.Ref, s.ID)
	}
	for _, s := range all {
		if f.detach {
			fmt.Fprintln(out, s.ID)
			continue
		}
		if s, err = c.Wait(ctx, s.ID, nil); err != nil {
			return err
		}
		if _, err := io.WriteString(out, describe.Submission(s)); err != nil {
			return err
		}
		var end *verb.Error
		if errors.As(statusOf(s), &end) && end.Status > worst.Status {
			worst = end
		}
	}
	if worst.Status == 0 {
		return nil
	}
	return worst
}

// watch follows sweeps that were asked for.
type watch struct {
	out    io.Writer
	open   map[string]time.Time // those not done, with the end of the sweep before
	said   map[string]string
	failed []string
}

// show prints what is new, and takes out what is done: idle or failed, and ended later than before.
func (w *watch) show(all []pratique.Sweep) {
	for _, r := range all {
		before, open := w.open[r.Repository]
		if !open {
			continue
		}
		line := describeSweep(r)
		if line != w.said[r.Repository] {
			w.said[r.Repository] = line
			fmt.Fprintf(w.out, "%s  %s\n", r.Repository, line)
		}
		if ended := r.State == reconcile.Idle || r.State == reconcile.Failed; !ended ||
			!r.Finished.After(before) {
			continue
		}
		delete(w.open, r.Repository)
		if r.State == reconcile.Failed {
			w.failed = append(w.failed, r.Repository)
		}
	}
}

func (w *watch) end() error {
	if len(w.failed) == 0 {
		return nil
	}
	return fmt.Errorf("not every sweep ended well: %s", strings.Join(w.failed, ", "))
}

// describeSweep is one line about a sweep.
func describeSweep(r pratique.Sweep) string {
	line := fmt.Sprintf("%-8s  %d tags: %d new, %d unchanged", r.State, r.Tags, r.News, r.Unchanged)
	reasons := make([]string, 0, len(r.Skipped))
	for why, n := range r.Skipped {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, why))
	}
	sort.Strings(reasons)
	if len(reasons) > 0 {
		line += ", skipped " + strings.Join(reasons, ", ")
	}
	if r.Restored > 0 {
		line += fmt.Sprintf("; %d had lost their attestations and are attested again", r.Restored)
	}
	line += fmt.Sprintf("; %d requests", r.Requests)
	if r.Error != "" {
		line += "; " + display.Line(r.Error)
	}
	if !r.RetryAt.IsZero() {
		line += "; goes on at " + r.RetryAt.Local().Format(time.DateTime)
	}
	return line
}
