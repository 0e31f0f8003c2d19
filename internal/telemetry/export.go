package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pratique-dev/pratique"
)

// exporter sends the metrics of one scrape.
type exporter struct {
	descs map[string]*prometheus.Desc
	out   chan<- prometheus.Metric
	now   time.Time
}

// age is the time since t, in seconds; 0 if t is zero.
func (e exporter) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, e.now.Sub(t).Seconds())
}

func (e exporter) gauge(name string, value float64, labels ...string) {
	e.send(name, prometheus.GaugeValue, value, labels)
}

func (e exporter) counter(name string, value uint64, labels ...string) {
	e.send(name, prometheus.CounterValue, float64(value), labels)
}

func (e exporter) send(name string, kind prometheus.ValueType, value float64, labels []string) {
	for i := range labels {
		labels[i] = labelValue(labels[i])
	}
	metric, err := prometheus.NewConstMetric(e.descs[name], kind, value, labels...)
	if err != nil {
		metric = prometheus.NewInvalidMetric(e.descs[name], err) // the scrape shows the others
	}
	e.out <- metric
}

func (e exporter) outbox(o pratique.OutboxStats) {
	e.gauge("pratique_outbox_waiting_events", float64(o.Waiting))
	e.gauge("pratique_outbox_unresolved_pushes", float64(o.Unresolved))
	e.gauge("pratique_outbox_set_aside_events", float64(o.Refused))
	e.gauge("pratique_outbox_bytes", float64(o.Bytes))
	e.gauge("pratique_outbox_limit_bytes", float64(o.MaxBytes))
	e.gauge("pratique_outbox_oldest_age_seconds", e.age(o.Oldest))
	e.gauge("pratique_outbox_oldest_unresolved_age_seconds", e.age(o.OldestUnresolved))
	e.counter("pratique_outbox_stored_events_total", o.Stored)
	e.counter("pratique_outbox_duplicate_events_total", o.Duplicates)
	e.counter("pratique_outbox_forwarded_events_total", o.Forwarded)
	e.counter("pratique_outbox_refused_full_total", o.RefusedFull)
	e.counter("pratique_outbox_failed_commits_total", o.FailedCommits)
}

func (e exporter) queues(all []pratique.QueueStats) {
	for _, q := range all {
		e.gauge("pratique_queue_messages", float64(q.Running), string(q.Stage), string(q.Priority),
			"running")
		e.gauge("pratique_queue_messages", float64(q.Waiting), string(q.Stage), string(q.Priority),
			"waiting")
		e.gauge("pratique_queue_oldest_age_seconds", e.age(q.Oldest), string(q.Stage), string(q.Priority))
	}
}

func (e exporter) database(d Database) {
	e.gauge("pratique_database_age_seconds", d.Age.Seconds())
	e.gauge("pratique_database_limit_seconds", d.Limit.Seconds())
	e.gauge("pratique_database_info", 1, d.Digest)
	next := 0.0
	if !d.NextUpdate.IsZero() {
		next = float64(d.NextUpdate.Unix())
	}
	e.gauge("pratique_database_next_update_timestamp_seconds", next)
}

func (e exporter) pauses(all map[string]time.Duration) {
	for name, left := range all {
		e.gauge("pratique_registry_paused_seconds", left.Seconds(), name)
	}
}

func (e exporter) rescan(r Rescan) {
	e.gauge("pratique_rescan_running_seconds", r.Running.Seconds())
	for state, n := range map[string]int{"known": r.Lists, "affected": r.Affected,
		"matched": r.Matched, "failed": r.Failed} {
		e.gauge("pratique_rescan_lists", float64(n), state)
	}
	for state, n := range map[string]int{"touched": r.Touched, "changed": r.Changed,
		"newly-affected": r.NewlyAffected, "set-aside": r.SetAside} {
		e.gauge("pratique_rescan_images", float64(n), state)
	}
}

func (e exporter) projections(all map[string]Projection) {
	for name, p := range all {
		e.gauge("pratique_projection_behind_facts", float64(p.Behind), name)
		e.counter("pratique_projection_rebuilds_total", p.Rebuilds, name)
	}
}

func (e exporter) denials(d Denials) {
	e.gauge("pratique_denials_pending", float64(d.Pending))
	e.gauge("pratique_denials_pending_oldest_age_seconds", d.OldestAge.Seconds())
}

func (e exporter) reconcile(all []pratique.Sweep) {
	for _, r := range all {
		last := 0.0
		if !r.Totals.LastSuccess.IsZero() {
			last = float64(r.Totals.LastSuccess.UnixMilli()) / 1000
		}
		e.gauge("pratique_reconcile_last_success_timestamp_seconds", last, r.Repository)
		e.gauge("pratique_reconcile_interval_seconds", r.Totals.Interval.Seconds(), r.Repository)
		e.counter("pratique_reconcile_news_total", r.Totals.News, r.Repository)
		e.counter("pratique_reconcile_failures_total", r.Totals.Failures, r.Repository)
	}
}
