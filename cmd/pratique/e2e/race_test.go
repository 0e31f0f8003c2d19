//go:build race

package e2e

// raceDetector is whether this is built with the race detector.
const raceDetector = true
