package webhook

import "net/http"

// Answers are the statuses for a sender. A 400 is right for one and fatal for another, so they say
// how the sender reacts.
type Answers struct {
	// Ignored is for a request without a wanted event.
	Ignored int
	// Refused is for a body that cannot be read, or an invalid event: a 4xx if the sender shows it
	// to somebody and continues, 200 if it would repeat the request for ever or disable the hook.
	// It is recorded either way.
	Refused int
	// Busy is for when nothing can be stored now.
	Busy int
	// Retries says what the sender repeats, Loses what it drops, Disables what makes it disable the
	// hook.
	Retries, Loses, Disables string
}

func (a Answers) withDefaults() Answers {
	set := func(status *int, value int) {
		if *status == 0 {
			*status = value
		}
	}
	set(&a.Ignored, http.StatusOK)
	set(&a.Refused, http.StatusBadRequest)
	set(&a.Busy, http.StatusServiceUnavailable)
	return a
}

// tooLarge is 413 instead of Refused, if that is a 4xx.
func (a Answers) tooLarge() int {
	if a.Refused >= http.StatusBadRequest {
		return http.StatusRequestEntityTooLarge
	}
	return a.Refused
}

// handshake is the answer to a handshake.
type handshake struct {
	reason string // as counted
	body   any    // JSON
}

// Statuses is the row with its defaults filled in.
func (f Format) Statuses() Answers { return f.Answers.withDefaults() }
