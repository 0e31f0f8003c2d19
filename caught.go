package pratique

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Caught turns a panic into an error of the given kind and puts it into err. Defer it at the root of each goroutine that
// touches bytes from outside: no other goroutine can recover for it, and whoever made the bytes may have meant to end
// the service, and everybody's work, with them.
func Caught(kind Kind, op string, err *error) {
	if v := recover(); v != nil {
		*err = Errorf(kind, op, "panic at %s: %.500v", panicked(), v)
	}
}

// panicked is the line that panicked: the first one above those of the runtime.
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
