// Package journal says in the log what happens, in lines whose number nobody outside decides.
package journal

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/pratique-dev/pratique/queue/webhook"
)

// Refused logs requests that were refused, at most one a minute of a receiver and a status: a
// registry whose secret is wrong repeats its notification for ever, and anybody may ask for
// receivers that are not there.
func Refused(log *slog.Logger, now func() time.Time) func(webhook.Refused) {
	lines := &rated{most: 1, now: now}
	return func(r webhook.Refused) {
		left, ok := lines.take(r.Receiver + " " + strconv.Itoa(r.Status))
		if !ok {
			return
		}
		attrs := append([]slog.Attr{slog.String("receiver", r.Receiver),
			slog.Int("status", r.Status), slog.String("reason", r.Detail)}, fromWhom(r.Sender)...)
		log.LogAttrs(context.Background(), slog.LevelWarn,
			"webhook refused; others like it are logged once a minute", append(attrs, left...)...)
	}
}

// Ignored logs pushes that lead to nothing, some a minute of a receiver and a reason: somebody who
// waits for a verdict looks here.
func Ignored(log *slog.Logger, now func() time.Time) func(webhook.Ignored) {
	lines := &rated{most: 20, now: now}
	return func(i webhook.Ignored) {
		left, ok := lines.take(i.Receiver + " " + i.Reason)
		if !ok {
			return
		}
		why := "it is no image under a tag: " + i.Reason
		if i.Reason == webhook.ReasonRepeat {
			why = "the tag names this digest already, or the notification came again; pratique submit has it evaluated again"
		}
		attrs := append([]slog.Attr{
			slog.String("receiver", i.Receiver), slog.String("image", i.Image),
			slog.Int("pushes", i.N), slog.String("reason", why),
		}, fromWhom(i.Sender)...)
		log.LogAttrs(context.Background(), slog.LevelInfo, "push ignored", append(attrs, left...)...)
	}
}

// fromWhom says where a request came from.
func fromWhom(s webhook.Sender) []slog.Attr {
	var attrs []slog.Attr
	if s.Remote != "" {
		attrs = append(attrs, slog.String("remote", s.Remote))
	}
	if s.Forwarded != "" {
		attrs = append(attrs, slog.String("forwardedFor", s.Forwarded))
	}
	return attrs
}

// rated bounds the lines of each key in a minute. Senders decide how often something happens, and
// must not fill the disk.
type rated struct {
	most int
	now  func() time.Time

	mu   sync.Mutex
	keys map[string]*minute
}

type minute struct {
	began       time.Time
	lines, left int
}

// take reports whether there may be another line, and says how many were left out in the minute
// before.
func (r *rated) take(key string) (left []slog.Attr, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = map[string]*minute{}
	}
	m := r.keys[key]
	if m == nil {
		m = &minute{}
		r.keys[key] = m
	}
	if now := r.now(); now.Sub(m.began) >= time.Minute {
		if m.left > 0 {
			left = []slog.Attr{slog.Int("notLogged", m.left)}
		}
		*m = minute{began: now}
	}
	if m.lines == r.most {
		m.left++
		return nil, false
	}
	m.lines++
	return left, true
}
