//go:build !race

package e2e

import "time"

// raceDetector is whether this is built with the race detector.
const raceDetector = false

// patience is how long a test waits for what has to come.
const patience = time.Minute
