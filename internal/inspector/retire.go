package inspector

import "time"

// retireAfter is for how long a child is idle before it is ended. Another one is started in about a
// second when it is needed.
const retireAfter = 20 * time.Second

// release makes a child that was in use idle.
func (p *Pool) release(c *child) {
	if c != nil {
		c.since = time.Now()
	}
	p.idle <- c
}

// retireIdle ends children that nobody needs, until the pool is closed.
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

// retire ends the children that have been idle since then or longer. The one that was used last stays,
// so that one at least is warm.
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
