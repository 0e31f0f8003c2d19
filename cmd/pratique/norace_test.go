//go:build !race

package main

// raceDetector is whether this is built with the race detector.
const raceDetector = false
