package inspector

import "time"

// retireAfter is how long a child is idle before it is stopped. Starting another one takes about a
// second.
const retireAfter = 20 * time.Second

// release makes a child idle.
func (p *Pool) release(c *child) {
	if c != nil {
		c.since = time.Now()
	}
	p.idle <- c
}

// retireIdle stops idle children until the pool is closed.
func (p *Pool) retireIdle() {
	tick := time.NewTicker(retireAfter / 4)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.retire(now.Add(-retireAfter))
		case <-p.ctx.Done():
			return
		}
	}
}

// retire stops the children that have been idle since then or longer, except the one that was used
// last, so that at least one stays warm.
func (p *Pool) retire(then time.Time) {
	var idle []*child
	for range len(p.idle) {
		select {
		case c := <-p.idle:
			idle = append(idle, c)
		default:
		}
	}
	var last *child
	for _, c := range idle {
		if c != nil && (last == nil || c.since.After(last.since)) {
			last = c
		}
	}
	var retired []*child
	for _, c := range idle {
		if c != nil && c != last && !c.since.After(then) {
			retired = append(retired, c)
			c = nil
		}
		p.idle <- c
	}
	for _, c := range retired {
		c.stop()
	}
}
