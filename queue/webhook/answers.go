package webhook

import "net/http"

// Answers is a sender's row in the table of statuses. The same 400 is right for one and fatal for another, so the
// row says what the sender makes of it.
type Answers struct {
	// Ignored is for a request with nothing wanted in it.
	Ignored int
	// Refused is for a body that cannot be read, or an event that cannot be true: a 4xx where the sender shows it to
	// somebody and goes on, 200 where it would repeat it for ever or switch the hook off. It is recorded either way.
	Refused int
	// Busy is for a moment in which nothing can be stored.
	Busy int
	// Retries says what the sender repeats, Loses what it drops, Disables what makes it give the hook up.
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

// tooLarge is Refused in the more exact word, where the sender can bear a word at all.
func (a Answers) tooLarge() int {
	if a.Refused >= http.StatusBadRequest {
		return http.StatusRequestEntityTooLarge
	}
	return a.Refused
}

// greeting is the answer to a handshake.
type greeting struct {
	reason string // as counted
	body   any    // JSON
}

// Statuses is the row with its defaults filled in.
func (f Format) Statuses() Answers { return f.Answers.withDefaults() }
