//go:build race

package e2e

import "time"

// raceDetector is whether this is built with the race detector.
const raceDetector = true

// patience is how long a test waits for what has to come. It is long: the race
// detector makes all of it several times as slow.
const patience = 3 * time.Minute
