package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
)

var byValue = cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })

// start runs a server with the ledger's stream on disk, as queue.Broker.Setup makes it.
func start(t testing.TB) (*ledger.Ledger, jetstream.JetStream, *server.Server) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		JetStreamMaxStore: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server did not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: ledger.StreamName, Subjects: []string{ledger.SubjectPrefix + ".>"},
		Storage:    jetstream.FileStorage,
		DenyDelete: true, DenyPurge: true, Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return ledger.New(js, clock()), js, s
}

// clock moves one second at each reading.
func clock() func() time.Time {
	at := time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC)
	return func() time.Time { at = at.Add(time.Second); return at }
}

func subject(path, content string) pratique.Subject {
	return pratique.Subject{Repository: pratique.Repository{Registry: "r.example", Path: path},
		Digest: pratique.DigestOf([]byte(content))}
}

func matched(s pratique.Subject, fixable int) pratique.Fact {
	return pratique.Fact{Subject: s, By: "inspect@test", Body: &pratique.Scanned{
		Fixable: fixable, Counts: pratique.Counts{pratique.SeverityHigh: 2, pratique.SeverityLow: 1},
	}}
}

func settled(s pratique.Subject, event string, state pratique.State) pratique.Fact {
	return pratique.Fact{Subject: s, By: "deploy@test", Event: event,
		Body: &pratique.Completed{State: state}}
}

func add(t testing.TB, l *ledger.Ledger, f pratique.Fact) uint64 {
	t.Helper()
	seq, err := l.Append(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestLast(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app, other := subject("team/app", "A"), subject("team/other", "A") // one digest in two repositories
	if _, found, err := l.Last(t.Context(), app, pratique.FactScanned); err != nil || found {
		t.Fatalf("in an empty ledger: found %v, %v", found, err)
	}
	add(t, l, matched(app, 1))
	add(t, l, matched(app, 2))
	add(t, l, matched(other, 9))
	got, found, err := l.Last(t.Context(), app, pratique.FactScanned)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want := matched(app, 2)
	want.At = time.Date(2026, 3, 9, 15, 0, 2, 0, time.UTC)
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Error(diff)
	}
	if _, found, _ := l.Last(t.Context(), subject("team/app", "B"), pratique.FactScanned); found {
		t.Error("found a fact of another digest")
	}
}

func TestCompleted(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app, other := subject("team/app", "A"), subject("team/other", "A")
	add(t, l, settled(app, "e1", pratique.StateDenied))
	add(t, l, settled(app, "e2", pratique.StateDeployed))
	add(t, l, settled(other, "e3", pratique.StateIgnored))
	add(t, l, settled(pratique.Subject{}, "e4", pratique.StateFailed))
	for _, c := range []struct {
		subject pratique.Subject
		event   string
		want    pratique.State
	}{{app, "e1", pratique.StateDenied}, {app, "e2", pratique.StateDeployed},
		{pratique.Subject{}, "e4", pratique.StateFailed}} {
		f, found, err := l.Completed(t.Context(), c.subject, c.event)
		if err != nil || !found || pratique.As[pratique.Completed](f).State != c.want {
			t.Errorf("event %s: found %v, %+v, %v", c.event, found, f, err)
		}
	}
	if _, found, err := l.Completed(t.Context(), app, "e3"); found || err != nil {
		t.Errorf("another repository's event: found %v, %v", found, err)
	}
	f, found, err := l.Last(t.Context(), app, pratique.FactCompleted)
	if err != nil || !found || f.Event != "e2" {
		t.Errorf("newest of the subject: %v %+v %v", found, f, err)
	}
}

// A full ledger is nobody's fault but the operator's, whom the error tells what to do; and the work
// goes on once that is done, so the error must not end it.
func TestFullLedgerSaysSo(t *testing.T) {
	t.Parallel()
	l, js, _ := start(t)
	stream, err := js.Stream(t.Context(), ledger.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	resize := func(bytes int64) {
		t.Helper()
		config := stream.CachedInfo().Config
		config.MaxBytes = bytes
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	resize(4 << 10)
	app := subject("team/app", "A")
	var stored uint64
	for ; err == nil && stored < 100; stored++ {
		_, err = l.Append(t.Context(), matched(app, int(stored)))
	}
	if pratique.KindOf(err) != pratique.Unavailable || pratique.KindOf(err).Permanent() ||
		!strings.Contains(err.Error(), "the ledger is full: raise queue.ledgerSize and restart") {
		t.Fatalf("after %d facts: %v", stored, err)
	}
	resize(64 << 10)
	if seq := add(t, l, matched(app, int(stored)-1)); seq != stored {
		t.Errorf("the refused fact got position %d, want %d", seq, stored)
	}
}

func TestAppendTwiceStoresOnce(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app := subject("team/app", "A")
	first := add(t, l, matched(app, 1))
	add(t, l, matched(app, 2))
	if again := add(t, l, matched(app, 1)); again != first {
		t.Errorf("the same fact at %d and %d", first, again)
	}
	// What differs in a time of its content is another fact: allow, deny, allow must end with allow.
	evaluated := func(at int, o pratique.Outcome) pratique.Fact {
		return pratique.Fact{Subject: app, By: "attest@test", Body: &pratique.Evaluated{
			Verdict: pratique.Verdict{Subject: app, Outcome: o, EvaluatedAt: time.Unix(int64(at), 0)},
		}}
	}
	add(t, l, evaluated(1, pratique.Allow))
	add(t, l, evaluated(2, pratique.Deny))
	add(t, l, evaluated(3, pratique.Allow))
	f, _, err := l.Last(t.Context(), app, pratique.FactEvaluated)
	if err != nil || pratique.As[pratique.Evaluated](f).Verdict.Outcome != pratique.Allow {
		t.Errorf("%+v, %v", f, err)
	}
	if end, err := l.End(t.Context()); err != nil || end != 5 {
		t.Errorf("end %d, %v; want 5", end, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app := subject("team/app", "A")
	without := func(change func(*pratique.Fact)) pratique.Fact {
		f := settled(app, "e", "x")
		change(&f)
		return f
	}
	large := settled(app, "e", pratique.StateFailed)
	pratique.As[pratique.Completed](large).Detail = strings.Repeat("x", 600<<10)
	for name, f := range map[string]pratique.Fact{
		"no content":       {Subject: app, By: "x"},
		"nil content":      without(func(f *pratique.Fact) { f.Body = (*pratique.Scanned)(nil) }),
		"no author":        without(func(f *pratique.Fact) { f.By = "" }),
		"wildcard event":   without(func(f *pratique.Fact) { f.Event = "*" }),
		"event with parts": without(func(f *pratique.Fact) { f.Event = "a.b" }),
		"about nothing": without(func(f *pratique.Fact) {
			f.Event = ""
			f.Subject = pratique.Subject{}
		}),
		"no subject": matched(pratique.Subject{}, 1),
		"too large":  large,
	} {
		want := pratique.Internal
		if name == "too large" { // the fault of what it is about, and no bug
			want = pratique.Exhausted
		}
		if _, err := l.Append(t.Context(), f); pratique.KindOf(err) != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, _, err := l.Completed(t.Context(), app, ">"); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("wildcard in a question: %v", err)
	}
}

func TestEveryKindHasAPlace(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app := subject("team/app", "A")
	for _, kind := range pratique.FactKinds() {
		var f pratique.Fact
		if err := json.Unmarshal(fmt.Appendf(nil, `{"kind":%q,"body":{}}`, kind), &f); err != nil {
			t.Fatal(err)
		}
		f.Subject, f.By, f.Event = app, "test", "e"
		add(t, l, f)
		if got, found, err := l.Last(t.Context(), app, kind); err != nil || !found || got.Kind() != kind {
			t.Errorf("%s: found %v %v, %v", kind, got, found, err)
		}
	}
}

// TestRecorder: a role writes its own kinds of facts, and reads all.
func TestRecorder(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app := subject("team/app", "A")
	scanned := matched(app, 1)
	if _, err := l.For(pratique.RoleAttest).Append(t.Context(),
		scanned); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("attest wrote what was scanned: %v", err)
	}
	if _, _, _, err := l.For(pratique.RoleDeploy).Message(scanned); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("deploy made a message of what was scanned: %v", err)
	}
	if _, err := l.For(pratique.RoleInspect).Append(t.Context(), scanned); err != nil {
		t.Error(err)
	}
	if _, found, err := l.For(pratique.RoleAttest).Last(t.Context(), app,
		pratique.FactScanned); err != nil || !found {
		t.Errorf("attest does not read it: %v", err)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	app := subject("team/app", "A")
	const waiting = 700 // more than one batch
	for i := range waiting {
		add(t, l, matched(app, i))
	}
	for _, after := range []uint64{0, 1, 600, waiting} {
		ctx, cancel := context.WithCancel(t.Context())
		entries, batches := make(chan pratique.Entry, 2*waiting), 0
		done := make(chan error, 1)
		go func() {
			done <- l.Follow(ctx, after, func(b []pratique.Entry) error {
				batches++
				for _, e := range b {
					entries <- e
				}
				return nil
			})
		}()
		for want := after + 1; want <= waiting; want++ {
			if e := receive(t, entries); e.Seq != want ||
				pratique.As[pratique.Scanned](e.Fact).Fixable >= waiting+9 {
				t.Fatalf("after %d: got %d, want %d", after, e.Seq, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("after %d: %v", after, err)
		}
		if batches > 20 {
			t.Errorf("after %d: %d batches for %d facts that were waiting", after, batches, waiting-after)
		}
	}
}

func TestFollowHearsOfNews(t *testing.T) {
	t.Parallel()
	l, js, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	entries := make(chan pratique.Entry, 10)
	done := make(chan error, 1)
	go func() {
		done <- l.Follow(ctx, 0, func(b []pratique.Entry) error {
			for _, e := range b {
				entries <- e
			}
			return nil
		})
	}()
	writer := ledger.New(js, clock())
	for i := range 3 {
		seq := add(t, writer, matched(subject("team/app", "A"), i))
		begin := time.Now()
		if e := receive(t, entries); e.Seq != seq {
			t.Errorf("got %d, want %d", e.Seq, seq)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("news took %s", took)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFollowEndsWithTheErrorOfItsReader(t *testing.T) {
	t.Parallel()
	l, _, _ := start(t)
	add(t, l, matched(subject("team/app", "A"), 1))
	stop := errors.New("index is full")
	if err := l.Follow(t.Context(), 0, func([]pratique.Entry) error {
		return stop
	}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestFollowRefuses(t *testing.T) {
	t.Parallel()
	l, js, _ := start(t)
	never := func(b []pratique.Entry) error { return fmt.Errorf("called with %d", len(b)) }
	if err := l.Follow(t.Context(), 5, never); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("a ledger that is shorter than what was read: %v", err)
	}
	if _, err := js.Publish(t.Context(), "ledger.none.completed.none.x",
		[]byte(`{"kind":"completed"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Completed(t.Context(), pratique.Subject{},
		"x"); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("an entry that is not a fact, asked for: %v", err)
	}
}

func TestFollowEndsAtAGap(t *testing.T) {
	t.Parallel()
	_, js, _ := start(t)
	// The stream as it should be deletes nothing.
	if err := js.DeleteStream(t.Context(), ledger.StreamName); err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: ledger.StreamName,
		Subjects: []string{ledger.SubjectPrefix + ".>"}})
	if err != nil {
		t.Fatal(err)
	}
	l, app := ledger.New(js, clock()), subject("team/app", "A")
	gone := add(t, l, matched(app, 1))
	add(t, l, matched(app, 2))
	if err := stream.DeleteMsg(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	never := func(b []pratique.Entry) error { return fmt.Errorf("called with %d", len(b)) }
	if err := l.Follow(t.Context(), gone-1, never); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("got %v", err)
	}
}

// What another version wrote is told apart from facts, and does not keep them back.
func TestFollowHandsOnWhatIsNoFact(t *testing.T) {
	t.Parallel()
	l, js, _ := start(t)
	app := subject("team/app", "A")
	add(t, l, matched(app, 1))
	for i, body := range []string{"not JSON", `{"kind":"completed"}`,
		`{"kind":"rebuilt","subject":{},"by":"v9","body":{}}`, `{"kind":"scanned","body":[]}`} {
		if _, err := js.Publish(t.Context(), fmt.Sprint("ledger.none.settled.none.x", i),
			[]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	last := add(t, l, matched(app, 2))
	ctx, cancel := context.WithCancel(t.Context())
	var all []pratique.Entry
	err := l.Follow(ctx, 0, func(b []pratique.Entry) error {
		if all = append(all, b...); b[len(b)-1].Seq == last {
			cancel()
		}
		return nil
	})
	if err != nil || len(all) != 6 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	for i, e := range all {
		isFact := i == 0 || i == 5
		if e.Seq != uint64(i+1) || isFact != (e.Err == nil) || isFact != (e.Fact.Kind() != "") {
			t.Errorf("entry %d: %+v", i, e)
		}
		if e.Err != nil && (pratique.KindOf(e.Err) != pratique.Corrupt ||
			!strings.Contains(e.Err.Error(), fmt.Sprint(e.Seq)) || e.Fact.Validate() == nil) {
			t.Errorf("entry %d: %v, %+v", i, e.Err, e.Fact)
		}
	}
}

func TestWithoutServer(t *testing.T) {
	t.Parallel()
	l, _, s := start(t)
	app := subject("team/app", "A")
	s.Shutdown()
	s.WaitForShutdown()
	begin := time.Now()
	if _, err := l.Append(t.Context(), matched(app, 1)); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("append: %v", err)
	}
	if _, _, err := l.Last(t.Context(), app,
		pratique.FactScanned); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("last: %v", err)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("nothing arrived within 15 s")
		panic("unreachable")
	}
}

func BenchmarkAppend(b *testing.B) {
	l, _, _ := start(b)
	app, i := subject("team/app", "A"), 0
	for b.Loop() {
		i++
		add(b, l, matched(app, i))
	}
}

func BenchmarkLast(b *testing.B) {
	l, _, _ := start(b)
	app := subject("team/app", "A")
	for i := range 1000 {
		add(b, l, matched(app, i))
		add(b, l, settled(app, fmt.Sprint(i), pratique.StateDenied))
	}
	b.Run("exact", func(b *testing.B) {
		for b.Loop() {
			if _, found, err := l.Last(b.Context(), app, pratique.FactScanned); !found || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("perEvent", func(b *testing.B) {
		for b.Loop() {
			if _, found, err := l.Last(b.Context(), app, pratique.FactCompleted); !found || err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestMark: an entry is recognized, and the same fact at the same position of a stream that was
// made anew is not.
func TestMark(t *testing.T) {
	l, js, _ := start(t)
	f := matched(subject("a", "a"), 1)
	f.At = time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC)
	mark := func() string {
		t.Helper()
		if seq := add(t, l, f); seq != 1 {
			t.Fatalf("position %d", seq)
		}
		m, ok, err := l.Mark(t.Context(), 1)
		if err != nil || !ok {
			t.Fatalf("%t, %v", ok, err)
		}
		return m
	}
	first := mark()
	if again, ok, err := l.Mark(t.Context(), 1); err != nil || !ok || again != first {
		t.Errorf("%q and %q, %v", first, again, err)
	}
	if _, ok, err := l.Mark(t.Context(), 2); err != nil || ok {
		t.Errorf("an entry that is not there: %t, %v", ok, err)
	}
	stream, err := js.Stream(t.Context(), ledger.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), ledger.StreamName); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if second := mark(); second == first {
		t.Errorf("the stream was made anew, and the mark is still %q", second)
	}
}
