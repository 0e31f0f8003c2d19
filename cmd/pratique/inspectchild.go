package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/sbom"
	"github.com/pratique-dev/pratique/sbom/syft"
	"github.com/pratique-dev/pratique/sbom/syft/incremental"
	"github.com/pratique-dev/pratique/scanner/trivy"
	"github.com/spf13/cobra"
)

// inspectChild is the hidden verb under which this binary parses images for its parent.
const inspectChild = "inspect-child"

// matchFlag makes a child one that never sees an image.
const matchFlag = "match"

// fullFlag makes a child catalog all layers of each image.
const fullFlag = "full-sbom"

// childCommand is what the parent runs. The child has no configuration but these arguments.
func childCommand(binary string, c config.Inspect) []string {
	command := []string{binary, inspectChild}
	for _, s := range extrasOf(c) {
		command = append(command, "--section", string(s))
	}
	if !incrementalSBOM(c) {
		command = append(command, "--"+fullFlag)
	}
	return command
}

// extrasOf are the extras in the order in which facts name them.
func extrasOf(c config.Inspect) []pratique.ExtraKind {
	return slices.DeleteFunc(pratique.ExtraKinds(), func(s pratique.ExtraKind) bool { return !slices.Contains(c.Scanners, s) })
}

func newInspectChild() *cobra.Command {
	var names []string
	var matchOnly, fullOnly bool
	cmd := &cobra.Command{
		Use:    inspectChild,
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
				return inspector.Serve(cmd.Context(), os.Stdin, os.Stdout, inspector.Child{Matcher: scan, Fingerprint: fingerprint})
			}
			child := inspector.Child{Analyzer: scan, Matcher: scan, Trees: trees, Fingerprint: fingerprint}
			if child.Generator, child.Full, err = generators(cmd.Context(), trees, fullOnly); err != nil {
				return err
			}
			// Building the license scanner leaves garbage that the next image should not pay for.
			debug.FreeOSMemory()
			return inspector.Serve(cmd.Context(), os.Stdin, os.Stdout, child)
		},
	}
	cmd.Flags().BoolVar(&matchOnly, matchFlag, false, "match inventories, and read no image")
	cmd.Flags().BoolVar(&fullOnly, fullFlag, false, "catalog all layers of each image")
	cmd.Flags().StringArrayVar(&names, "section", nil, "look for this beside packages; may be repeated")
	return cmd
}

// generators are the one that makes SBOMs, and the one that checks it; nil if there is nothing to
// check. They build the license scanner, before the first image comes.
func generators(ctx context.Context, trees *filetree.Cache, fullOnly bool) (generator, full sbom.Generator, err error) {
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

// databaseDirs are the directories with vulnerability databases.
func (s *service) databaseDirs() []string {
	all := []string{s.path(databaseFolder)}
	if dir := s.conf.Database.Dir; dir != "" {
		all = append(all, dir)
	}
	return all
}

// readable are the directories that a child has to read. Files that appear below them later can be read too.
func (s *service) readable() []string {
	all := append(s.databaseDirs(), s.path("layers"), s.path("analyses"))
	if s.java != nil {
		all = append(all, s.path(javaFolder))
	}
	return all
}

// logConfinement says how far the children are confined.
func (s *service) logConfinement(ctx context.Context) {
	level, has := slog.LevelInfo, s.inspector.Confinement()
	if len(has.Missing) > 0 || len(has.Active) == 0 {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(ctx, level, "processes that parse images are confined", slog.String("by", has.String()))
}
