package main

import (
	"os"
	"runtime/debug"
	"time"

	"github.com/pratique-dev/pratique/internal/inspector"
	"github.com/pratique-dev/pratique/sbom/syft"
	"github.com/pratique-dev/pratique/scanner/trivy"
	"github.com/spf13/cobra"
)

// inspectChild is the hidden verb under which this binary parses images for its parent.
const inspectChild = "inspect-child"

func newInspectChild() *cobra.Command {
	return &cobra.Command{
		Use:    inspectChild,
		Short:  "Parse images for a parent process (internal)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scan, err := trivy.New(trivy.Config{}, time.Now)
			if err != nil {
				return err
			}
			defer scan.Close()
			bill, err := syft.New() // builds the licence scanner, before the first image comes
			if err != nil {
				return err
			}
			// Building the licence scanner leaves garbage that the next image should not pay for.
			debug.FreeOSMemory()
			return inspector.Serve(cmd.Context(), os.Stdin, os.Stdout, scan, scan, bill)
		},
	}
}
