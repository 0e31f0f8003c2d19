package telemetry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pratique-dev/pratique"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// full is a service in which everything happened once.
func full(t *testing.T) *Metrics {
	t.Helper()
	m := New("v1.2.3")
	m.Receivers("harbor", "ghcr")
	m.Targets("prod")
	m.DeployProblem("prod")
	m.Webhook("harbor", "accepted", 3)
	m.Webhook("harbor", "ignored:pull", 1)
	m.WebhookDuration("harbor", http.StatusAccepted, 4*time.Millisecond)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := m.Watch(Sources{
		Now: func() time.Time { return now },
		Outbox: func(context.Context) (pratique.OutboxStats, error) {
			return pratique.OutboxStats{
				Waiting: 1, Unresolved: 2, Refused: 3, Bytes: 4, MaxBytes: 5,
				Oldest: now.Add(-6500 * time.Millisecond), OldestUnresolved: now.Add(-12 * time.Second),
				Stored: 7, Duplicates: 8, Forwarded: 9, RefusedFull: 10, FailedCommits: 11,
			}, nil
		},
		Queues: func(context.Context) ([]pratique.QueueStats, error) {
			all := []pratique.QueueStats{{Stage: "inspect", Priority: "push", Running: 1,
				Waiting: 2, Oldest: now.Add(-3 * time.Second)}}
			for _, priority := range pratique.Priorities() {
				all = append(all, pratique.QueueStats{Stage: "deploy", Priority: priority})
			}
			return all, nil
		},
		Database: func(context.Context) (Database, error) {
			return Database{Age: time.Hour, Limit: 72 * time.Hour}, nil
		},
		Reconcile: func(context.Context) ([]pratique.Sweep, error) {
			return []pratique.Sweep{
				{Repository: "r.test/a", Totals: pratique.SweepTotals{Interval: time.Hour,
					LastSuccess: time.UnixMilli(1500), News: 1, Failures: 2}},
				{Repository: "r.test/b", Totals: pratique.SweepTotals{Interval: time.Hour}},
			}, nil
		},
		Pauses: func(context.Context) (map[string]time.Duration, error) {
			return map[string]time.Duration{"r.test": 90 * time.Second, "other.test": 0}, nil
		},
		Projections: func(context.Context) (map[string]Projection, error) {
			return map[string]Projection{"index": {Behind: 3, Rebuilds: 1}}, nil
		},
		Denials: func(context.Context) (Denials, error) {
			return Denials{Pending: 2, OldestAge: time.Hour}, nil
		},
		Rescan: func(context.Context) (Rescan, error) {
			return Rescan{
				Rescan: pratique.Rescan{Lists: 9, Affected: 5, Matched: 4, Failed: 1, Touched: 7,
					Changed: 3, NewlyAffected: 2, SetAside: 1},
				Running: time.Minute,
			}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scrape gets what Prometheus would, by name.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if recorder.Code != http.StatusOK {
		t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(recorder.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values are the metrics of a scrape, as name{label=value,…}. Of a histogram it is the count.
func values(families map[string]*dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			key := name + "{" + strings.Join(labels, ",") + "}"
			out[key] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestNamesAreThoseOfGoldenFile(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	families := scrape(t, full(t))
	names := make([]string, 0, len(families))
	for name := range families {
		if strings.HasPrefix(name, "pratique_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		family := families[name]
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "%s %s [%s]\n", name, strings.ToLower(family.GetType().String()),
			strings.Join(labels, " "))
		if len(family.GetHelp()) < 30 {
			t.Errorf("%s: the help %q says too little", name, family.GetHelp())
		}
	}
	const golden = "testdata/names.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the names have changed, and dashboards and alerts of others with them (-want +got)\n%s", diff)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestMetricsHaveTheirSourcesValues(t *testing.T) {
	t.Parallel()
	got := values(scrape(t, full(t)))
	for name, want := range map[string]float64{
		`pratique_webhook_events_total{outcome=accepted,receiver=harbor}`:        3,
		`pratique_webhook_events_total{outcome=ignored:pull,receiver=harbor}`:    1,
		`pratique_webhook_events_total{outcome=refused:401,receiver=ghcr}`:       0,
		`pratique_webhook_events_total{outcome=dropped:host,receiver=ghcr}`:      0,
		`pratique_webhook_duration_seconds{code=202,receiver=harbor}`:            1,
		`pratique_outbox_waiting_events{}`:                                       1,
		`pratique_outbox_unresolved_pushes{}`:                                    2,
		`pratique_outbox_set_aside_events{}`:                                     3,
		`pratique_outbox_bytes{}`:                                                4,
		`pratique_outbox_limit_bytes{}`:                                          5,
		`pratique_outbox_oldest_age_seconds{}`:                                   6.5,
		`pratique_outbox_oldest_unresolved_age_seconds{}`:                        12,
		`pratique_outbox_stored_events_total{}`:                                  7,
		`pratique_outbox_duplicate_events_total{}`:                               8,
		`pratique_outbox_forwarded_events_total{}`:                               9,
		`pratique_outbox_refused_full_total{}`:                                   10,
		`pratique_outbox_failed_commits_total{}`:                                 11,
		`pratique_queue_messages{priority=push,stage=inspect,state=running}`:     1,
		`pratique_queue_messages{priority=push,stage=inspect,state=waiting}`:     2,
		`pratique_queue_oldest_age_seconds{priority=push,stage=inspect}`:         3,
		`pratique_queue_oldest_age_seconds{priority=rescan,stage=deploy}`:        0,
		`pratique_database_age_seconds{}`:                                        3600,
		`pratique_database_limit_seconds{}`:                                      72 * 3600,
		`pratique_reconcile_last_success_timestamp_seconds{repository=r.test/a}`: 1.5,
		`pratique_reconcile_last_success_timestamp_seconds{repository=r.test/b}`: 0,
		`pratique_reconcile_interval_seconds{repository=r.test/b}`:               3600,
		`pratique_reconcile_news_total{repository=r.test/a}`:                     1,
		`pratique_reconcile_failures_total{repository=r.test/a}`:                 2,
		`pratique_rescan_running_seconds{}`:                                      60,
		`pratique_rescan_lists{state=known}`:                                     9,
		`pratique_rescan_lists{state=affected}`:                                  5,
		`pratique_rescan_images{state=newly-affected}`:                           2,
		`pratique_source_up{source=queues}`:                                      1,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (there: %t), want %v", name, value, ok, want)
		}
	}
}

func TestSenderCannotMakeSeries(t *testing.T) {
	t.Parallel()
	m := New("v1")
	m.Receivers("harbor")
	before := len(values(scrape(t, m)))
	for n := range 500 {
		m.Webhook(fmt.Sprint("receiver-", n), "accepted", 1)
		m.Webhook("harbor", fmt.Sprintf("dropped:%d %s", n, "\xff\n"), 1)
		m.Webhook("harbor", fmt.Sprintf("dropped:x%d", n), 1)
		m.Webhook("harbor", "accepted", 0)
		m.Webhook("harbor", "accepted", -n)
		m.WebhookDuration(fmt.Sprint("receiver-", n), 1000+n, -time.Second)
	}
	got := values(scrape(t, m))
	if made := len(got) - before; made > maxOutcomes {
		t.Errorf("%d series were made", made)
	}
	for name, want := range map[string]float64{
		`pratique_webhook_events_total{outcome=accepted,receiver=unknown}`: 500,
		`pratique_webhook_events_total{outcome=accepted,receiver=harbor}`:  0,
		`pratique_webhook_duration_seconds{code=other,receiver=unknown}`:   500,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if n := got[`pratique_webhook_events_total{outcome=other,receiver=harbor}`]; n < 500 {
		t.Errorf("%v events were counted as other, want at least those 500 without the form", n)
	}
}

func TestSourceThatFailsHidesNoOther(t *testing.T) {
	t.Parallel()
	m := New("v\xff1")
	why := "NATS is away"
	var told []string
	err := m.Watch(Sources{
		Queues: func(context.Context) ([]pratique.QueueStats, error) {
			if why == "" {
				return nil, nil
			}
			return nil, errors.New(why)
		},
		Unread:   func(source string, err error) { told = append(told, source+": "+err.Error()) },
		Database: func(context.Context) (Database, error) { return Database{Age: time.Minute}, nil },
		Reconcile: func(ctx context.Context) ([]pratique.Sweep, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				return nil, errors.New("no deadline")
			}
			return []pratique.Sweep{{Repository: "twice"}, {Repository: "twice"},
				{Repository: "na\xffme", Totals: pratique.SweepTotals{News: 4}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := values(scrape(t, m))
	for name, want := range map[string]float64{
		`pratique_source_up{source=queues}`:                     0,
		`pratique_source_up{source=database}`:                   1,
		`pratique_database_age_seconds{}`:                       60,
		`pratique_reconcile_news_total{repository=na?me}`:       4,
		`pratique_reconcile_failures_total{repository=twice}`:   0,
		`pratique_reconcile_interval_seconds{repository=twice}`: 0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (there: %t), want %v", name, value, ok, want)
		}
	}
	for name := range got {
		if strings.HasPrefix(name, "pratique_outbox") ||
			strings.HasPrefix(name, "pratique_queue") || strings.Contains(name, "source=outbox") {
			t.Errorf("%s is there although nothing is known of it", name)
		}
	}
	// The reason is told once, again when it changes, and again after the source could be read.
	for _, why = range []string{"NATS is away", "no quorum", "no quorum", "", "no quorum"} {
		scrape(t, m)
	}
	if want := []string{"queues: NATS is away", "queues: no quorum",
		"queues: no quorum"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if err := m.Watch(Sources{}); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("a second Watch: got %v, want Internal", err)
	}
}
