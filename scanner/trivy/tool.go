//go:build goexperiment.jsonv2

package trivy

import "github.com/pratique-dev/pratique"

// Tool names Trivy and the version that is built in.
func Tool() pratique.Tool { return tool() }
