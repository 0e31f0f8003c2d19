// Command runtimes says which image of an index the readers of container runtimes choose for a
// machine: that of containers/image, which podman and CRI-O use, and that of containerd. It reads
// cases as JSON from its input and writes what was chosen; internal/registry compares that with
// what Pratique evaluates.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
)

// input is what is asked.
type input struct {
	Cases []oneCase `json:"cases"`
	// Machines are the platforms for which an image is chosen.
	Machines []string `json:"machines"`
}

// oneCase is an image or an index by its digest, and all that a registry has.
type oneCase struct {
	Top   digest.Digest          `json:"top"`
	Blobs map[digest.Digest]blob `json:"blobs"`
}

// blob is a manifest with what the registry calls it, or a configuration.
type blob struct {
	Type    string `json:"type"`
	Content []byte `json:"content"`
}

// answer is what one runtime runs on one machine: nothing, if the error says why not.
type answer struct {
	Runtime string        `json:"runtime"`
	Machine string        `json:"machine"`
	Digest  digest.Digest `json:"digest,omitempty"`
	Error   string        `json:"error,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var in input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	out := make([][]answer, len(in.Cases))
	for i, c := range in.Cases {
		for _, machine := range in.Machines {
			p, err := platforms.Parse(machine)
			if err != nil {
				return err
			}
			for runtime, choose := range map[string]chooser{"containers/image": podman,
				"containerd": containerd} {
				a := answer{Runtime: runtime, Machine: machine}
				if a.Digest, err = choose(context.Background(), c, p); err != nil {
					a.Digest, a.Error = "", err.Error()
				}
				out[i] = append(out[i], a)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
