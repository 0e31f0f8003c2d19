package backoff

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// FromHeader returns how long the header of an HTTP answer asks to wait in Retry-After, 0 if it
// does not. A date is measured against the server's own clock if the answer shows it, and against
// now otherwise. The caller bounds what it accepts.
func FromHeader(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), mostSeconds)) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(header.Get("Date")); err == nil {
		now = theirs
	}
	return max(0, at.Sub(now))
}

// mostSeconds keeps a wait within what a [time.Duration] can hold.
const mostSeconds = int64(math.MaxInt64 / time.Second)
