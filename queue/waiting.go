package queue

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// soon is how near an attempt is that is not brought forward. The server may be delivering the message by then, and asking
// for it once more would have the job done twice.
const soon = 2 * time.Second

// waiting are the jobs that this process gave back to be tried later. The server alone decides when they come: what is
// here serves to show that, and to bring it forward. A restart forgets it, and nothing is lost by that.
type waiting struct {
	mu   sync.Mutex
	jobs map[messageID]waitingJob
	// wakes counts how often the jobs of a stage were woken: what woke them also concerns those that were just running.
	wakes map[pratique.Stage]int
}

// messageID is a message of a stage's stream.
type messageID struct {
	stage pratique.Stage
	seq   uint64
}

type waitingJob struct {
	job   Job
	due   time.Time
	reply string // where the server hears about this delivery
}

// delivery is a message that a worker has.
type delivery struct {
	id    messageID
	job   Job
	msg   jetstream.Msg
	wakes int
}

// took notes that a message has come.
func (w *waiting) took(job Job, msg jetstream.Msg, meta *jetstream.MsgMetadata) delivery {
	d := delivery{id: messageID{job.Stage, meta.Sequence.Stream}, job: job, msg: msg}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, d.id)
	d.wakes = w.wakes[job.Stage]
	return d
}

// giveBack returns a message to the server for so long, and not at all if its stage was woken since it came.
func (p *pool) giveBack(d delivery, delay time.Duration) {
	w := p.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.wakes != w.wakes[d.id.stage] {
		delay = 0
	}
	p.nak(d.msg, delay) // before anybody can ask for it at once
	if w.jobs == nil {
		w.jobs = map[messageID]waitingJob{}
	}
	w.jobs[d.id] = waitingJob{job: d.job, due: p.config.Now().Add(delay), reply: d.msg.Reply()}
}

// Wake brings the jobs of a stage that match, all if match is nil, back at once that wait for a later attempt: what they
// wait for may be there now. It is for this process alone; others come when they are due.
func (b *Broker) Wake(stage pratique.Stage, match func(Job) bool) {
	w := &b.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wakes == nil {
		w.wakes = map[pratique.Stage]int{}
	}
	w.wakes[stage]++
	now := b.config.Now()
	for id, j := range w.jobs {
		if id.stage != stage || j.due.Sub(now) < soon || match != nil && !match(j.job) {
			continue
		}
		// The library's message was answered already, and would not let itself be answered again.
		if err := b.js.Conn().Publish(j.reply, []byte("-NAK")); err != nil {
			b.config.Trouble(fmt.Errorf("wake job %s, it comes when it is due: %w", j.job.ID, err))
			continue
		}
		j.due = now
		w.jobs[id] = j
	}
}

// Due returns when the first and the last of the waiting jobs of a stage that match come back. Both are zero if none is known
// to wait: they run, wait for a worker, or this process has not had them yet.
func (b *Broker) Due(stage pratique.Stage, match func(Job) bool) (first, last time.Time) {
	w := &b.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, j := range w.jobs {
		if id.stage != stage || !first.IsZero() && !j.due.Before(first) && !j.due.After(last) || !match(j.job) {
			continue
		}
		if first.IsZero() || j.due.Before(first) {
			first = j.due
		}
		if j.due.After(last) {
			last = j.due
		}
	}
	return first, last
}

// due is when a message comes back, zero if that is not known.
func (w *waiting) due(id messageID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs[id].due
}
