package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue/feed"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// openIntake opens the outbox, which every push goes through, and checks the receivers.
func (s *service) openIntake(ctx context.Context) error {
	var err error
	s.outbox, err = outbox.Open(outbox.Config{
		File: s.path("outbox.db"), MaxBytes: int64(s.conf.Queue.OutboxSize),
		Now: s.now, OnError: s.trouble(ctx, "outbox"),
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.outbox.Close)
	all, err := receivers(s.conf)
	if err != nil {
		return err
	}
	for _, r := range all {
		s.metrics.Receivers(r.Name)
	}
	s.webhooks, err = webhook.New(webhook.Config{
		Receivers: all, Publisher: s.outbox, Now: s.now, OnDropped: s.dropped, Count: s.countWebhook,
		OnRefused: s.refusedWebhook(), OnIgnored: s.ignoredPush(),
		Observe: s.metrics.WebhookDuration, OnError: func(receiver string, err error) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("receiver", receiver), slog.String("error", err.Error()))
		},
	})
	return err
}

// line is where the outbox puts what was acknowledged, and whom it asks what a tag names.
func (s *service) line() outbox.Downstream {
	return outbox.Downstream{Forward: s.intake(pratique.RoleReceive).Publish, Resolve: s.registry.Digest}
}

// intake puts events into the line.
func (s *service) intake(role pratique.Role) *pipeline.Intake {
	return &pipeline.Intake{Base: s.base(role), Batches: s.broker}
}

// submit puts an event into the line, at once and whatever the outbox knows of its tag.
func (s *service) submit(ctx context.Context, e pratique.Event) error {
	return s.intake(pratique.RoleQuery).Submit(ctx, e)
}

// publish takes in pushes that the service found out about by itself, as if a sender had reported them.
func (s *service) publish(ctx context.Context, events []pratique.Event) error {
	_, err := s.outbox.Publish(ctx, events)
	return err
}

// trouble logs what is tried again by itself.
func (s *service) trouble(ctx context.Context, part string) func(error) {
	return func(err error) {
		s.log.LogAttrs(ctx, slog.LevelWarn, part, slog.String("error", err.Error()))
	}
}

// listenFeeds takes in the events that senders publish on NATS servers of their own.
func (s *service) listenFeeds(ctx context.Context) error {
	feeds, ctx := errgroup.WithContext(ctx)
	for _, r := range s.conf.Receivers {
		if r.NATS.URL == "" {
			continue
		}
		c := feed.Config{
			Name: r.Name, URL: r.NATS.URL, Subject: r.NATS.Subject, Stream: r.NATS.Stream, Username: r.NATS.Username,
			Password: r.NATS.Password.Text(), Credentials: r.NATS.Credentials.Value(), OnError: s.trouble(ctx, "feed"),
		}
		feeds.Go(func() error {
			return feed.Run(ctx, c, func(ctx context.Context, h http.Header, body []byte) error {
				_, err := s.webhooks.Receive(ctx, r.Name, h, body)
				return err
			})
		})
	}
	return feeds.Wait()
}

// countWebhook counts outcomes; what there is to say about them is logged where more is known.
func (s *service) countWebhook(receiver, outcome string, n int) {
	s.metrics.Webhook(receiver, outcome, n)
	s.log.LogAttrs(context.Background(), slog.LevelDebug, "webhook",
		slog.String("receiver", receiver), slog.String("outcome", outcome), slog.Int("events", n))
}

// refusedWebhook logs requests that were refused, at most one a minute of a receiver and a status: a registry whose secret
// is wrong repeats its notification for ever, and anybody may ask for receivers that are not there.
func (s *service) refusedWebhook() func(webhook.Refused) {
	lines := &rated{most: 1, now: s.now}
	return func(r webhook.Refused) {
		left, ok := lines.take(r.Receiver + " " + strconv.Itoa(r.Status))
		if !ok {
			return
		}
		attrs := append([]slog.Attr{slog.String("receiver", r.Receiver), slog.Int("status", r.Status), slog.String("reason", r.Detail)}, fromWhom(r.Sender)...)
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "webhook refused; others like it are logged once a minute", append(attrs, left...)...)
	}
}

// ignoredPush logs pushes that lead to nothing, some a minute of a receiver and a reason: somebody who waits for a verdict
// looks here.
func (s *service) ignoredPush() func(webhook.Ignored) {
	lines := &rated{most: 20, now: s.now}
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
			slog.String("receiver", i.Receiver), slog.String("image", i.Image), slog.Int("pushes", i.N), slog.String("reason", why),
		}, fromWhom(i.Sender)...)
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "push ignored", append(attrs, left...)...)
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

// rated bounds the lines of each key in a minute. Senders decide how often something happens, and must not fill the disk.
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

// take reports whether there may be another line, and says how many were left out in the minute before.
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

// mostTold bounds the drops of one request that a fact names; mostKept the body that is kept beside it.
const (
	mostTold = 20
	mostKept = 256 << 10
)

// dropped records what a sender was told to forget, in one fact for a request, and keeps its body: somebody may want to
// see what was sent, or send it again.
func (s *service) dropped(ctx context.Context, r webhook.Refusal) error {
	var told []string
	for _, d := range r.Drops {
		s.log.LogAttrs(ctx, slog.LevelWarn, "notification dropped", slog.String("receiver", r.Receiver),
			slog.String("reason", d.Reason), slog.String("detail", d.Detail), slog.String("id", d.SenderID))
		if d.Reason == webhook.ReasonRepository {
			continue // ordinary on a registry that others use, too; the ledger keeps what may be an attack or a mistake
		}
		told = append(told, d.Reason+": "+d.Detail)
	}
	if len(told) == 0 {
		return nil
	}
	if more := len(told) - mostTold; more > 0 {
		told = append(told[:mostTold], fmt.Sprintf("and %d more", more))
	}
	body := "no body"
	if len(r.Body) > 0 && len(r.Body) <= mostKept {
		digest, err := s.blobs.Put(ctx, r.Body)
		if err != nil {
			return err
		}
		body = "body " + digest.String()
	}
	told = append(told, body)
	message := strings.Join(told, "; ")
	_, err := s.ledger.For(pratique.RoleReceive).Append(ctx, pratique.Fact{
		At: s.now().UTC(), By: "receive@" + s.base(pratique.RoleReceive).Instance,
		Event: pratique.EventID(r.Receiver, pratique.ImageRef{}, message),
		Body: &pratique.Failed{
			Stage: "receive", Kind: pratique.Invalid, Message: message, Attempts: 1, Final: true,
		},
	})
	return err
}
