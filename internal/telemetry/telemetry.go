// Package telemetry defines the metrics of the service and exports them to Prometheus.
//
// The rules of install/alerts.yaml use their names; a test compares the two. No label has a value
// that a sender can choose: the configuration bounds the number of series.
package telemetry

import (
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes bounds concurrent scrapes; further ones are answered with 503.
	maxScrapes = 4
	// maxOutcomes bounds the outcomes; further ones are counted as other.
	maxOutcomes = 100
	unknown     = "unknown"
	other       = "other"
	equal       = "equal"
	different   = "different"
)

// outcome is the form of an outcome: accepted, ignored:pull, dropped:host, refused:503.
var outcome = regexp.MustCompile(`^(accepted|(ignored|dropped):[a-z0-9-]{1,32}|refused:[1-5][0-9]{2})$`)

// initialOutcomes are the outcomes that every receiver has from the start, with 0. An alert on an
// increase does not notice the first increment of a new series.
func initialOutcomes() []string {
	return []string{
		"accepted", "ignored:duplicate",
		"dropped:body-too-large", "dropped:unreadable", "dropped:too-many-events", "dropped:host",
		"dropped:repository",
		"dropped:reference",
		"refused:400", "refused:401", "refused:413", "refused:415", "refused:429", "refused:503",
	}
}

// Metrics has the service's metrics in its own registry. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	duration *prometheus.HistogramVec
	problems *prometheus.CounterVec
	shadow   *prometheus.CounterVec

	mu        sync.Mutex
	receivers map[string]bool
	outcomes  map[string]bool
}

// New makes the metrics of the service, of the Go runtime and of the process. pratique_build_info
// has the version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pratique_webhook_events_total",
			Help: "Events of webhooks by what became of them. After dropped:* and refused:401 the event is lost unless its sender or a reconciliation brings it again: look at the drop records, and at the sender's settings.",
		}, []string{"receiver", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pratique_webhook_duration_seconds",
			Help:    "Time to answer a webhook. The shortest time-out of a sender is 1 s: if the 99th percentile comes near it, look at the disk of the outbox.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"receiver", "code"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pratique_deploy_problems_total",
			Help: "Places in config repositories that could not be edited, counted each time that an image was written to their target. The log and \"pratique why\" name them.",
		}, []string{"target"}),
		shadow: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pratique_sbom_shadow_total",
			Help: "Images whose SBOMs were made in full as well, and compared. If different rises, incremental SBOMs are not to be trusted: set inspect.incrementalSBOM to false, and report it with the line in the log.",
		}, []string{"result"}),
		receivers: map[string]bool{},
		outcomes:  map[string]bool{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "pratique_build_info",
		Help:        "Always 1; the labels say which build runs. During an update look whether all instances have the same.",
		ConstLabels: prometheus.Labels{"version": labelValue(version), "goversion": runtime.Version()},
	})
	build.Set(1)
	m.shadow.WithLabelValues(equal)
	m.shadow.WithLabelValues(different)
	m.registry.MustRegister(
		m.events, m.duration, m.problems, m.shadow, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers a scrape. Metrics that cannot be read are missing, and pratique_source_up says
// so.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// Targets sets the configured deploy targets, so that their metrics are 0 from now on.
func (m *Metrics) Targets(names ...string) {
	for _, name := range names {
		m.problems.WithLabelValues(labelValue(name))
	}
}

// DeployProblem counts a place of a configured target that could not be edited.
func (m *Metrics) DeployProblem(target string) { m.problems.WithLabelValues(labelValue(target)).Inc() }

// ShadowSBOM counts an image whose SBOMs were made in full as well, by whether both were equal.
func (m *Metrics) ShadowSBOM(same bool) {
	result := different
	if same {
		result = equal
	}
	m.shadow.WithLabelValues(result).Inc()
}

// Receivers sets the configured receivers. Their most important outcomes are 0 from now on. Events
// of other receivers are counted under the receiver "unknown".
func (m *Metrics) Receivers(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		m.receivers[name] = true
		for _, o := range initialOutcomes() {
			m.outcomes[o] = true
			m.events.WithLabelValues(labelValue(name), o)
		}
	}
}

// Webhook counts n events of a receiver. The outcome is accepted, ignored:<reason>,
// dropped:<reason> or refused:<status>, with a reason from a closed list such as "pull" or "host";
// other forms are counted as other.
func (m *Metrics) Webhook(receiver, outcome string, n int) {
	if n > 0 {
		m.events.WithLabelValues(m.receiver(receiver), m.outcome(outcome)).Add(float64(n))
	}
}

// WebhookDuration records the time to answer a request, by HTTP status.
func (m *Metrics) WebhookDuration(receiver string, status int, d time.Duration) {
	code := other
	if status >= 100 && status <= 599 {
		code = strconv.Itoa(status)
	}
	m.duration.WithLabelValues(m.receiver(receiver), code).Observe(max(0, d).Seconds())
}

func (m *Metrics) receiver(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.receivers[name] {
		return unknown
	}
	return labelValue(name)
}

func (m *Metrics) outcome(o string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.outcomes[o] && (!outcome.MatchString(o) || len(m.outcomes) >= maxOutcomes) {
		return other
	}
	m.outcomes[o] = true
	return o
}

// labelValue makes a label value of a configured name: the format requires UTF-8.
func labelValue(s string) string { return strings.ToValidUTF8(s, "?") }
