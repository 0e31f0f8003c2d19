//go:build !goexperiment.jsonv2

package trivy

// Trivy does not compile without this experiment. The wrong type below makes the compiler print the
// sentence.
const _ int = "Pratique needs GOEXPERIMENT=jsonv2: run make build, or export GOEXPERIMENT=jsonv2"
