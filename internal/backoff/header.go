package backoff

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// FromHeader returns the wait that Retry-After asks for in the header of an HTTP response, 0 if
// there is none. A date is relative to the server's clock if the response has it, otherwise to
// now. The caller bounds what it accepts.
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

// mostSeconds is the most that a [time.Duration] can hold.
const mostSeconds = int64(math.MaxInt64 / time.Second)
