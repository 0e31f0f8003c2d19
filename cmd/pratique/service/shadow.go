package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/keyfile"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/inspector"
)

// defaultShadow is how many images there are to one that is checked.
const defaultShadow = 100

// shadowSample chooses the images whose SBOMs are also made in full: none if all of them are.
func (i *Inspect) shadowSample() (inspector.Sample, error) {
	sample := inspector.Sample{OneIn: defaultShadow}
	if n := i.conf.Inspect.ShadowSBOM; n != nil {
		sample.OneIn = *n
	}
	if !settings.IncrementalSBOM(i.conf.Inspect) {
		sample.OneIn = 0
	}
	var err error
	sample.Seed, err = shadowSeed(i.path("shadow-seed"))
	return sample, err
}

// shadowSeed reads a file of random text, which it makes on the first call.
func shadowSeed(file string) ([]byte, error) {
	random, err := keyfile.Random()
	if err != nil {
		return nil, err
	}
	have, err := os.ReadFile(file)
	if err == nil && len(have) == len(random) {
		return have, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Of a file that was not written to its end nobody has used anything yet.
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := keyfile.WriteNew(file, random, 0o600); err != nil {
		return nil, fmt.Errorf("choose images to check: %w", err)
	}
	return random, nil
}

// checkedSBOM counts an image whose SBOMs were made in full, too, and says so if they differ.
func (i *Inspect) checkedSBOM(ctx context.Context, image pratique.Subject, shadow inspector.Shadow) {
	i.metrics.ShadowSBOM(shadow.Equal())
	if shadow.Equal() {
		return
	}
	i.log.LogAttrs(ctx, slog.LevelError,
		"an incremental SBOM differs from the full one, which is used: set inspect.incrementalSBOM to false, and report this",
		slog.String("subject", image.String()),
		slog.String("incrementalSPDX", shadow.Generated.SPDX.String()),
		slog.String("fullSPDX", shadow.Full.SPDX.String()),
		slog.String("incrementalCycloneDX", shadow.Generated.CycloneDX.String()),
		slog.String("fullCycloneDX", shadow.Full.CycloneDX.String()))
}
