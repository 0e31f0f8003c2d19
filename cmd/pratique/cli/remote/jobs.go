package remote

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/display"
)

const maxJobs = 1000 // what the API gives at once

// NewJobs is the verb jobs.
func NewJobs() *cobra.Command {
	var server serverFlags
	var state string
	var since time.Duration
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the work that waits, runs or ended without an answer",
		Long: `Lists the jobs that are not done, in the order in which the workers take them, and those that ended without an answer,
the last one first. Each has the id of its event, by which it is canceled or requeued, and NEXT says when what failed is tried again.

States:
  waiting    for a worker, or for another attempt; the reason is what the last attempt failed of
  running    a worker has it
  failed     could not find out, and nobody requeued it: a dead letter
  canceled   somebody stopped it, and nobody requeued it; listed with --state canceled only
  refused    the queue will never take it; submit the image instead

Below them stand the age of the oldest job of each priority of each stage. A token, where one is needed to read, is taken from the
environment variable PRATIQUE_TOKEN.`,
		Example: `  pratique jobs
  pratique jobs --state failed --since 24h --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := server.client()
			if err != nil {
				return err
			}
			list, err := c.Jobs(cmd.Context(), state, ago(since), limit)
			switch {
			case err != nil:
				return explainDenied(err, "")
			case asJSON:
				return verb.PrintJSON(cmd.OutOrStdout(), list)
			}
			return WriteJobs(cmd.OutOrStdout(), list, time.Now())
		},
	}
	server.add(cmd)
	cmd.Flags().StringVar(&state, "state", "", "only waiting, running, failed, canceled or refused")
	cmd.Flags().DurationVar(&since, "since", 0, "leave out what ended longer ago, for example 24h")
	cmd.Flags().IntVar(&limit, "limit", 100,
		"how many of the queues, and of what has ended; at most 1000")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's answer")
	return cmd
}

// ago is the time that lies a span back; zero for no span.
func ago(span time.Duration) time.Time {
	if span <= 0 {
		return time.Time{}
	}
	return time.Now().Add(-span)
}

// WriteJobs prints jobs as a table.
func WriteJobs(out io.Writer, list api.JobList, now time.Time) error {
	if len(list.Items) == 0 {
		_, err := fmt.Fprintln(out, "no jobs")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "EVENT\tSTATE\tSTAGE\tPRIORITY\tAGE\tTRIES\tNEXT\tIMAGE\tREASON")
	for _, j := range list.Items {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", dash(j.Event), j.State,
			dash(strings.TrimSpace(j.Stage+" "+j.Target)), dash(string(j.Priority)),
			span(j.AgeSeconds), j.Attempts, until(j.NextAttempt, now), dash(j.Ref),
			display.Line(j.Reason))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	if list.More {
		b.WriteString("… and more: raise --limit\n")
	}
	for _, q := range list.Queues {
		if q.Total > 0 {
			fmt.Fprintf(&b, "%s, %s priority: %s, the oldest %s old\n", q.Stage, q.Priority,
				words.Counted(q.Total, "job"), max(0, time.Since(q.Oldest)).Truncate(time.Second))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// until says how far away the next attempt is.
func until(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return "in " + max(at.Sub(now), time.Second).Round(time.Second).String()
}

func span(n int64) string { return (time.Duration(n) * time.Second).String() }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return display.Line(s)
}

// NewCancel is the verb cancel.
func NewCancel() *cobra.Command {
	var server serverFlags
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel EVENT…",
		Short: "Stop the work for an event",
		Long: `Ends the work for events as canceled, whether it waits or runs; pratique jobs lists their ids. An inspection is stopped,
and what signs or commits stops at the next point at which nothing is half done. What is signed or committed by then
stays. A commit that is being written at that moment wins: the event ends as deployed.

Canceling twice is canceling once. What has ended cannot be canceled. To queue it again: pratique requeue.

The token is taken from the environment variable PRATIQUE_TOKEN, and needs operate: true. Its name is on record as the
one who canceled.

Exit status:
  0  all are canceled
  2  one is over, or unknown, or the service did not answer`,
		Example: `  pratique jobs --state waiting
  pratique cancel 3f6c0a9d1e5b47a2 --reason "wrong tag"`,
		Args: someEvents,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := server.client()
			if err != nil {
				return err
			}
			var failed []error
			for _, id := range args {
				s, err := c.Cancel(cmd.Context(), id, reason)
				if err != nil {
					failed = append(failed, explainDenied(err, "operate: true"))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", s.ID, s.Ref, display.Line(s.Detail))
			}
			return errors.Join(failed...)
		},
	}
	server.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	return cmd
}

// NewRequeue is the verb requeue.
func NewRequeue() *cobra.Command {
	var server serverFlags
	var all bool
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "requeue EVENT… | --all-failed",
		Short: "Queue work again that failed or was canceled",
		Long: `Queues the work for events that ended as failed or canceled again, behind the pushes. Each gets a new event that names the
old one, and keeps the time of its push, so that it does not overtake what was pushed since. Requeuing twice is
requeuing once. To have an image evaluated again that was allowed or denied: pratique submit.

The token is taken from the environment variable PRATIQUE_TOKEN, and needs operate: true.`,
		Example: `  pratique requeue 3f6c0a9d1e5b47a2
  pratique requeue --all-failed --since 24h`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return cobra.NoArgs(cmd, args)
			}
			return someEvents(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := server.client()
			if err != nil {
				return err
			}
			if all {
				list, err := c.Jobs(cmd.Context(), string(pratique.StateFailed), ago(since), maxJobs)
				if err != nil {
					return explainDenied(err, "operate: true")
				}
				for _, j := range list.Items {
					args = append(args, j.Event)
				}
				if len(args) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "nothing failed that was not requeued")
				}
				if list.More {
					fmt.Fprintf(cmd.ErrOrStderr(),
						"these are the last %d; run it again for the others\n", maxJobs)
				}
			}
			var failed []error
			for _, id := range args {
				s, err := c.Requeue(cmd.Context(), id)
				if err != nil {
					failed = append(failed, explainDenied(err, "operate: true"))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  requeued as %s  %s\n", id, s.ID, s.Ref)
			}
			return errors.Join(failed...)
		},
	}
	server.add(cmd)
	cmd.Flags().BoolVar(&all, "all-failed", false, "all that failed and nobody requeued")
	cmd.Flags().DurationVar(&since, "since", 0,
		"with --all-failed: only what ended in this time, for example 24h")
	return cmd
}

func someEvents(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("give the ids of events; pratique jobs lists them, see %s --help",
			cmd.CommandPath())
	}
	return nil
}
