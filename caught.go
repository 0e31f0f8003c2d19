package pratique

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Caught recovers from a panic and returns it in err, with the given kind. Defer it in every
// goroutine that processes bytes from outside: nothing else can recover for the goroutine, and the
// bytes may have been made to end the service.
func Caught(kind Kind, op string, err *error) {
	if v := recover(); v != nil {
		*err = Errorf(kind, op, "panic at %s: %.500v", panicked(), v)
	}
}

// panicked is the line that panicked: the first one outside the runtime.
func panicked() string {
	calls := make([]uintptr, 32)
	frames := runtime.CallersFrames(calls[:runtime.Callers(3, calls)]) // above Callers, this and Caught
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", filepath.Base(frame.File), frame.Line)
		}
	}
}
