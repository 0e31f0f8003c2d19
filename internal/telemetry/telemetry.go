// Package telemetry names the figures of the service in one place and gives them to Prometheus.
//
// The rules of install/alerts.yaml are made of these names; a test keeps the two together. No label ever has a
// value that a sender can choose: the number of series is bounded by the configuration.
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
	// maxScrapes is how many may be under way at once; more are answered 503.
	maxScrapes = 4
	// maxOutcomes bounds the different outcomes; what comes after them is counted as other.
	maxOutcomes = 100
	unknown     = "unknown"
	other       = "other"
	equal       = "equal"
	different   = "different"
)

// outcome is the form of an outcome: accepted, ignored:pull, dropped:host, refused:503.
var outcome = regexp.MustCompile(`^(accepted|(ignored|dropped):[a-z0-9-]{1,32}|refused:[1-5][0-9]{2})$`)

// initialOutcomes returns the outcomes that every receiver has from the start, as 0. An alert on an increase does not see
// the first of a series that begins with it.
func initialOutcomes() []string {
	return []string{
		"accepted", "ignored:duplicate",
		"dropped:body-too-large", "dropped:unreadable", "dropped:too-many-events", "dropped:host", "dropped:repository",
		"dropped:reference",
		"refused:400", "refused:401", "refused:413", "refused:415", "refused:429", "refused:503",
	}
}

// Metrics has the service's figures in a registry of its own. It is safe for concurrent use.
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

// New makes the figures of the service, and those of the Go runtime and the process. The version is what
// pratique_build_info says.
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

// Handler answers a scrape in the exposition format. What cannot be read is left out, and
// pratique_source_up says so.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// Targets says which deploy targets are configured, so that they are 0 from now on.
func (m *Metrics) Targets(names ...string) {
	for _, name := range names {
		m.problems.WithLabelValues(labelValue(name))
	}
}

// DeployProblem counts a place of a configured target that could not be edited.
func (m *Metrics) DeployProblem(target string) { m.problems.WithLabelValues(labelValue(target)).Inc() }

// ShadowSBOM counts an image whose SBOMs were made in full as well, and whether both were equal.
func (m *Metrics) ShadowSBOM(same bool) {
	result := different
	if same {
		result = equal
	}
	m.shadow.WithLabelValues(result).Inc()
}

// Receivers says which receivers are configured. Their most telling outcomes are 0 from now on. Events of
// receivers that were not named here are counted under the receiver "unknown".
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

// Webhook counts n events of a receiver. The outcome is one of accepted, ignored:<reason>,
// dropped:<reason> and refused:<status>, a reason being a word of a closed list such as "pull" or "host";
// what has another form is counted as other. An n below 1 counts nothing.
func (m *Metrics) Webhook(receiver, outcome string, n int) {
	if n > 0 {
		m.events.WithLabelValues(m.receiver(receiver), m.outcome(outcome)).Add(float64(n))
	}
}

// WebhookDuration counts the answer to one request: its HTTP status and the time it took.
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

// labelValue makes a label value of a configured name: the format allows UTF-8 only.
func labelValue(s string) string { return strings.ToValidUTF8(s, "?") }
