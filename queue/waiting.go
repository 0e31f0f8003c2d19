package queue

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// wakeMargin is how close the next attempt must be for [Broker.Wake] to leave it alone. The server
// may be delivering the message by then, and a NAK would have the job done twice.
const wakeMargin = 2 * time.Second

// waiting holds the jobs that this process returned for a later attempt. The server alone decides
// when they are redelivered; this only shows the time, and brings it forward. Nothing is lost if a
// restart loses it.
type waiting struct {
	mu   sync.Mutex
	jobs map[messageID]waitingJob
	// wakes counts the calls of Wake for a stage. A call also concerns jobs that are running.
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
	reply string // subject on which the server expects the answer to this delivery
}

// delivery is a message that a worker has.
type delivery struct {
	id    messageID
	job   Job
	msg   jetstream.Msg
	wakes int
}

// received records that a message was delivered.
func (w *waiting) received(job Job, msg jetstream.Msg, meta *jetstream.MsgMetadata) delivery {
	d := delivery{id: messageID{job.Stage, meta.Sequence.Stream}, job: job, msg: msg}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, d.id)
	d.wakes = w.wakes[job.Stage]
	return d
}

// redeliver returns a message to the server, to be delivered again after the delay; at once if its
// stage was woken since it was received.
func (p *pool) redeliver(d delivery, delay time.Duration) {
	w := p.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.wakes != w.wakes[d.id.stage] {
		delay = 0
	}
	p.nak(d.msg, delay) // under the lock, so that a NAK of Wake comes after it
	if w.jobs == nil {
		w.jobs = map[messageID]waitingJob{}
	}
	w.jobs[d.id] = waitingJob{job: d.job, due: p.config.Now().Add(delay), reply: d.msg.Reply()}
}

// Wake has the waiting jobs of a stage that match redelivered at once, all if match is nil: what
// they wait for may be available now. It affects only jobs that this process returned.
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
		if id.stage != stage || j.due.Sub(now) < wakeMargin || match != nil && !match(j.job) {
			continue
		}
		// The library answers a message only once.
		if err := b.js.Conn().Publish(j.reply, []byte("-NAK")); err != nil {
			b.config.OnError(fmt.Errorf("wake job %s, it will be redelivered when it is due: %w",
				j.job.ID, err))
			continue
		}
		j.due = now
		w.jobs[id] = j
	}
}

// Due returns when the first and the last of the waiting jobs of a stage that match are due. Both
// are zero if none is known to wait: they run, wait for a worker, or were never delivered to this
// process.
func (b *Broker) Due(stage pratique.Stage, match func(Job) bool) (first, last time.Time) {
	w := &b.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, j := range w.jobs {
		if id.stage != stage || !first.IsZero() && !j.due.Before(first) &&
			!j.due.After(last) || !match(j.job) {
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

// due is when a message is due, zero if that is not known.
func (w *waiting) due(id messageID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs[id].due
}
