package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pratique-dev/pratique"
)

// readTimeout bounds reading all sources for a scrape. Prometheus waits 10 s by default.
const readTimeout = 5 * time.Second

// Sources are read at each scrape, one after another, and possibly by several scrapes concurrently.
// They must return when their context ends. A nil source does not belong to this role, and has no
// metrics.
type Sources struct {
	Outbox    func(context.Context) (pratique.OutboxStats, error)
	Queues    func(context.Context) ([]pratique.QueueStats, error)
	Database  func(context.Context) (Database, error)
	Reconcile func(context.Context) ([]pratique.Sweep, error)
	// Pauses are the remaining pauses of the registries, by name; 0 if a registry is not paused.
	Pauses func(context.Context) (map[string]time.Duration, error)
	Rescan func(context.Context) (Rescan, error)
	// Projections are the projections of the ledger, by name.
	Projections func(context.Context) (map[string]Projection, error)
	Denials     func(context.Context) (Denials, error)
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Unread is called when a source cannot be read, and again when the error changes; nil ignores
	// it. The metrics only show that it is missing.
	Unread func(source string, err error)
}

// Projection is a projection of the ledger.
type Projection struct {
	// Behind counts the facts that it has not read yet, Rebuilds how often it was rebuilt in this
	// process because it did not belong to the ledger.
	Behind, Rebuilds uint64
}

// Denials are the denying verdicts that the registry does not show yet.
type Denials struct {
	Pending int
	// OldestAge is the time since the oldest of them; 0 if there is none.
	OldestAge time.Duration
}

// Database is the vulnerability database in use.
type Database struct {
	// Age is the time since it was built, Limit the age at which nothing is allowed any more.
	Age, Limit time.Duration
	// Digest is that of its file, NextUpdate the publisher's time for the next one; zero if not
	// known.
	Digest     string
	NextUpdate time.Time
}

// Rescan is the progress of matching against the newest database.
type Rescan struct {
	pratique.Rescan
	// Running is how long it has been running, or should have been; 0 if it is finished.
	Running time.Duration
}

// collector collects the metrics of the sources.
type collector struct {
	sources Sources
	descs   map[string]*prometheus.Desc

	mu     sync.Mutex
	unread map[string]string // the last error of each source that could not be read
}

// metric is a metric of a source.
type metric struct {
	name, help string
	labels     []string
}

func metrics() []metric {
	priority, repository := []string{"stage", "priority"}, []string{"repository"}
	return []metric{
		{"pratique_source_up",
			"1 if the metrics of this source could be read for this scrape, else 0 and they are missing: look at the log of the service.", []string{"source"}},
		{"pratique_outbox_waiting_events",
			"Events that are safe on disk and not in the queue yet. If they stay, NATS does not answer: look at it.", nil},
		{"pratique_outbox_unresolved_pushes",
			"Pushes whose sender gave no digest, and whose tag was not read from the registry yet. If they stay, look at the registry and the credentials for it.", nil},
		{"pratique_outbox_set_aside_events",
			"Events that the queue refused for good. Each is in the log with its reason; evaluate the image by hand.", nil},
		{"pratique_outbox_bytes",
			"Bytes of what waits in the outbox. At the limit webhooks are refused with 503.", nil},
		{"pratique_outbox_limit_bytes",
			"Bytes that may wait in the outbox: raise the limit or bring NATS back before they are used up.", nil},
		{"pratique_outbox_oldest_age_seconds",
			"Age of the oldest event that waits to be put into the queue. Above two minutes NATS does not answer, or takes less than comes in: look at it.", nil},
		{"pratique_outbox_oldest_unresolved_age_seconds",
			"Age of the oldest push whose tag was not read from the registry yet. Above minutes look at the registry, its rate limit, and the credentials for it.", nil},
		{"pratique_outbox_stored_events_total", "New events that were stored, without duplicates.", nil},
		{"pratique_outbox_duplicate_events_total",
			"Events that were known already. Many are normal: senders report one push up to 26 times.", nil},
		{"pratique_outbox_forwarded_events_total", "Events that the queue has acknowledged.", nil},
		{"pratique_outbox_refused_full_total",
			"Requests that were refused because the outbox was full. Some senders do not try again: bring NATS back and reconcile.", nil},
		{"pratique_outbox_failed_commits_total",
			"Writes of the outbox that failed and did no harm: the disk is full. After a sync that fails the service ends.", nil},
		{"pratique_queue_messages",
			"Messages in the queue of a stage: running are being worked on or wait for another attempt. If waiting rises without end, add workers.", append(priority, "state")},
		{"pratique_queue_oldest_age_seconds",
			"How long the oldest message has been in the queue of a stage, attempts included. If it rises while something runs, add workers; if nothing runs, pratique jobs says why.", priority},
		{"pratique_database_age_seconds",
			"Age of the vulnerability database in use. A new one is built every few hours: if it rises, look at its download.", nil},
		{"pratique_database_info", "1, with the digest of the vulnerability database in use.",
			[]string{"digest"}},
		{"pratique_database_next_update_timestamp_seconds",
			"When the publisher of the database wanted to make the next one, in seconds since 1970; 0 if it does not say.", nil},
		{"pratique_database_limit_seconds", "Age of the database at which every image is denied.", nil},
		{"pratique_registry_paused_seconds",
			"How long the registry is still paused, because it asked for that or failed several times in a row; its jobs wait. If it stays above 0, look at its limits, and at registries[].concurrency.", []string{"registry"}},
		{"pratique_rescan_running_seconds",
			"For how long known images are being matched against the newest vulnerability database, or that cannot begin; 0 if it is over. If it rises for hours, look at the log, and at the children.", nil},
		{"pratique_rescan_lists",
			"Package lists: all that are known, those that the newest database affects, those matched again so far, and those that could not be, which are tried again with the next database. The log names the lists.", []string{"state"}},
		{"pratique_rescan_images",
			"Images of the newest database: touched were looked at, changed have other findings and are evaluated again, newly-affected have new ones. Those set aside could not be looked at, keep their old reports, and are named by pratique status and by facts.", []string{"state"}},
		{"pratique_denials_pending",
			"Images that are denied and whose registry does not say so yet: the signature and the passing summary of an earlier verdict may still be there. Ordinarily this lasts for moments. If it stays, pratique why says what is in the way.", nil},
		{"pratique_denials_pending_oldest_age_seconds",
			"Time since the oldest verdict that denies and that the registry does not show; 0 if there is none.", nil},
		{"pratique_projection_behind_facts",
			"Facts of the ledger that the index or the inventory has not read yet. If it rises, look at the log.", []string{"projection"}},
		{"pratique_projection_rebuilds_total",
			"How often the index or the inventory did not belong to the ledger, and was made again. The ledger lost facts, or was replaced: look at NATS and its disk.", []string{"projection"}},
		{"pratique_reconcile_last_success_timestamp_seconds",
			"When a sweep of the repository last ended well, in seconds since 1970; 0 if none has. If it is old, look at the registry and the credentials for it.", repository},
		{"pratique_reconcile_interval_seconds", "Time between two sweeps of the repository.", repository},
		{"pratique_reconcile_news_total",
			"Pushes that a sweep found and no webhook had known of. If it rises, a webhook is missing or broken.", repository},
		{"pratique_reconcile_failures_total",
			"Sweeps of the repository that ended with an error; the log says which.", repository},
	}
}

// Watch exports the metrics of the sources from now on. A second call is an error of kind Internal.
func (m *Metrics) Watch(s Sources) error {
	if s.Now == nil {
		s.Now = time.Now
	}
	w := &collector{sources: s, descs: map[string]*prometheus.Desc{}, unread: map[string]string{}}
	for _, f := range metrics() {
		w.descs[f.name] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}
	return pratique.Wrap(pratique.Internal, "watch", "", m.registry.Register(w))
}

// Describe implements [prometheus.Collector].
func (w *collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range w.descs {
		out <- desc
	}
}

// Collect implements [prometheus.Collector].
func (w *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	e := exporter{w.descs, out, w.sources.Now()}
	read(ctx, w, e, "outbox", w.sources.Outbox, e.outbox)
	read(ctx, w, e, "queues", w.sources.Queues, e.queues)
	read(ctx, w, e, "database", w.sources.Database, e.database)
	read(ctx, w, e, "reconcile", w.sources.Reconcile, e.reconcile)
	read(ctx, w, e, "registries", w.sources.Pauses, e.pauses)
	read(ctx, w, e, "rescan", w.sources.Rescan, e.rescan)
	read(ctx, w, e, "projections", w.sources.Projections, e.projections)
	read(ctx, w, e, "denials", w.sources.Denials, e.denials)
}

// reportUnread reports a source that cannot be read, once for each error.
func (w *collector) reportUnread(source string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	w.mu.Lock()
	known := w.unread[source] == why
	w.unread[source] = why
	w.mu.Unlock()
	if err != nil && !known && w.sources.Unread != nil {
		w.sources.Unread(source, err)
	}
}

// read reads a source and exports its metrics, and whether it could be read.
func read[T any](ctx context.Context, w *collector, e exporter, name string,
	source func(context.Context) (T, error), export func(T)) {
	if source == nil {
		return
	}
	value, err := source(ctx)
	w.reportUnread(name, err)
	if err != nil {
		e.gauge("pratique_source_up", 0, name)
		return
	}
	e.gauge("pratique_source_up", 1, name)
	export(value)
}
