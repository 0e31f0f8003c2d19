// Package child is the process that parses images: the command line that starts it, and what it
// runs.
package child

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/sbom"
	"github.com/pratique-dev/pratique/sbom/syft"
	"github.com/pratique-dev/pratique/sbom/syft/incremental"
	"github.com/pratique-dev/pratique/scanner/trivy"
)

// Verb is the hidden verb under which this binary parses images for its parent.
const Verb = "inspect-child"

// MatchFlag makes a child one that never sees an image.
const MatchFlag = "match"

// fullFlag makes a child catalog all layers of each image.
const fullFlag = "full-sbom"

// Command is what the parent runs. The child has no configuration but these arguments.
func Command(binary string, c config.Inspect) []string {
	command := []string{binary, Verb}
	for _, s := range settings.Extras(c) {
		command = append(command, "--section", string(s))
	}
	if !settings.IncrementalSBOM(c) {
		command = append(command, "--"+fullFlag)
	}
	return command
}

// New is the verb of a child.
func New() *cobra.Command {
	var names []string
	var matchOnly, fullOnly bool
	cmd := &cobra.Command{
		Use:    Verb,
		Short:  "Parse images for a parent process (internal)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			trees := new(filetree.Cache)
			cfg := trivy.Config{Trees: trees}
			for _, name := range names {
				cfg.Extras = append(cfg.Extras, pratique.ExtraKind(name))
			}
			fingerprint, err := cfg.Fingerprint()
			if err != nil {
				return err
			}
			scan, err := trivy.New(cfg, time.Now)
			if err != nil {
				return err
			}
			defer scan.Close()
			if matchOnly {
				return inspector.Serve(cmd.Context(), os.Stdin, os.Stdout,
					inspector.Child{Matcher: scan, Fingerprint: fingerprint})
			}
			child := inspector.Child{Analyzer: scan, Matcher: scan, Trees: trees,
				Fingerprint: fingerprint}
			if child.Generator, child.Full, err = generators(cmd.Context(), trees, fullOnly); err != nil {
				return err
			}
			// Building the license scanner leaves garbage that the next image should not pay for.
			debug.FreeOSMemory()
			return inspector.Serve(cmd.Context(), os.Stdin, os.Stdout, child)
		},
	}
	cmd.Flags().BoolVar(&matchOnly, MatchFlag, false, "match inventories, and read no image")
	cmd.Flags().BoolVar(&fullOnly, fullFlag, false, "catalog all layers of each image")
	cmd.Flags().StringArrayVar(&names, "section", nil, "look for this beside packages; may be repeated")
	return cmd
}

// generators are the one that makes SBOMs, and the one that checks it; nil if there is nothing to
// check. They build the license scanner, before the first image comes.
func generators(ctx context.Context, trees *filetree.Cache,
	fullOnly bool) (generator, full sbom.Generator, err error) {
	plain, err := syft.New(trees)
	if err != nil {
		return nil, nil, err
	}
	if fullOnly {
		return plain, nil, syft.WarmUp(ctx, plain)
	}
	generator, err = incremental.New(plain)
	if err != nil {
		return nil, nil, err
	}
	return generator, plain, syft.WarmUp(ctx, generator)
}
