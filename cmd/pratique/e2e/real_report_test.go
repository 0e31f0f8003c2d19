package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// benchReport writes the tables of docs/performance.md.
func benchReport(t *testing.T, repetitions int, ours, theirs series, memory []int64) string {
	t.Helper()
	var b strings.Builder
	load, _ := os.ReadFile("/proc/loadavg") // elsewhere than on Linux it stays empty
	commit, err := exec.CommandContext(t.Context(), "git", "describe", "--always", "--dirty",
		"--abbrev=12").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	fmt.Fprintf(&b, "\nCommit %s, %s, %s/%s, %d processors, %d repetitions, load at the end %.14s\n\n",
		strings.TrimSpace(string(commit)), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), repetitions, load)
	writeTotals(&b, ours, theirs)
	writeStages(&b, ours)
	writeSteps(&b, theirs)
	fmt.Fprintf(&b, "\nPeak resident memory of the service with its children: %d MiB (median).\n",
		median(memory)>>20)
	return b.String()
}

func writeTotals(b *strings.Builder, ours, theirs series) {
	fmt.Fprintln(b, "| image | side | wall s (min-max) | of the 9 processes | CPU s | requests | down |")
	fmt.Fprintln(b, "|---|---|---|---|---|---|---|")
	for _, image := range benchImages {
		written := theirs[image][""]
		row := func(side string, all []measure) {
			fmt.Fprintf(b, "| %s | %s | %s | %.0f %% | %s | %d | %s |\n", image, side, spread(all),
				100*medianOf(all, wall).Seconds()/medianOf(written, wall).Seconds(),
				seconds(medianOf(all, cpu)),
				medianOf(all, requests), size(medianOf(all, down)))
		}
		row("Pratique", ours[image][""])
		row("9 processes", written)
		row("8 processes, tuned", theirs[image]["tuned"])
	}
}

// writeStages shows where the service's time goes: for each fact, the time since the one before.
func writeStages(b *strings.Builder, ours series) {
	order := []pratique.FactKind{
		pratique.FactResolved, pratique.FactInspected, pratique.FactScanned, pratique.FactEvaluated,
		pratique.FactAttested, "commit", pratique.FactCompleted,
	}
	fmt.Fprint(b, "\n| milliseconds until |")
	for _, kind := range order {
		fmt.Fprintf(b, " %s |", kind)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(order)))
	for _, image := range benchImages {
		fmt.Fprintf(b, "| %s |", image)
		for i, kind := range order {
			var steps []time.Duration
			for _, m := range ours[image][""] {
				step := m.stages[string(kind)]
				if i > 0 {
					step -= m.stages[string(order[i-1])]
				}
				steps = append(steps, step)
			}
			fmt.Fprintf(b, " %d |", median(steps).Milliseconds())
		}
		fmt.Fprintln(b)
	}
}

func writeSteps(b *strings.Builder, theirs series) {
	fmt.Fprintf(b, "\n| step, wall s / requests / down | %s |\n|---|%s\n",
		strings.Join(benchImages, " | "), strings.Repeat("---|", len(benchImages)))
	for _, step := range append(slices.Clone(written), stepTrivyCached, stepSyftBoth) {
		fmt.Fprintf(b, "| %s |", step)
		for _, image := range benchImages {
			all := theirs[image][step]
			fmt.Fprintf(b, " %s / %d / %s |", seconds(medianOf(all, wall)), medianOf(all, requests),
				size(medianOf(all, down)))
		}
		fmt.Fprintln(b)
	}
}

func wall(m measure) time.Duration { return m.wall }
func cpu(m measure) time.Duration  { return m.cpu }
func requests(m measure) int64     { return m.requests }
func down(m measure) int64         { return m.bytes }

func medianOf[T cmp.Ordered](all []measure, of func(measure) T) T {
	values := make([]T, len(all))
	for i, m := range all {
		values[i] = of(m)
	}
	return median(values)
}

// median is the middle value, of an even number the lower of the two.
func median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)-1)/2]
}

func spread(all []measure) string {
	values := make([]time.Duration, len(all))
	for i, m := range all {
		values[i] = m.wall
	}
	return fmt.Sprintf("**%s** (%s-%s)", seconds(median(values)), seconds(slices.Min(values)),
		seconds(slices.Max(values)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

func size(bytes int64) string {
	const kilo, mega = 1e3, 1e6
	if bytes < mega/10 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/kilo)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/mega)
}
