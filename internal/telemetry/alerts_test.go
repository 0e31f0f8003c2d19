package telemetry

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	file, err := os.Open("../../install/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var doc struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Groups) != 1 || len(doc.Groups[0].Rules) < 10 {
		t.Fatalf("want one group with all rules, got %+v", doc)
	}
	return doc.Groups[0].Rules
}

var (
	metricName = regexp.MustCompile(`pratique_[a-z_]+`)
	selector   = regexp.MustCompile(`(pratique_[a-z_]+)\{((?:[a-z]+(?:=~|!=|=)"[^"]*"(?:, )?)+)\}`)
	matcher    = regexp.MustCompile(`([a-z]+)(=~|!=|=)"([^"]*)"`)
	usedLabel  = regexp.MustCompile(`\$labels\.([a-z_]+)`)
	grouping   = regexp.MustCompile(`by \(([a-z, ]+)\)`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestAlertsUseOnlyWhatIsExported keeps install/alerts.yaml from rotting: an alert on a name, a
// label or a value that is not there never fires and never says so.
func TestAlertsUseOnlyWhatIsExported(t *testing.T) {
	t.Parallel()
	families := scrape(t, full(t))
	for _, rule := range rules(t) {
		names := metricName.FindAllString(rule.Expr, -1)
		if len(names) == 0 {
			t.Errorf("%s: looks at no metric of ours", rule.Alert)
		}
		labels := []string{"instance"} // Prometheus adds it
		for _, name := range names {
			family := families[name]
			if family == nil {
				family = families[suffix.ReplaceAllString(name, "")]
				if family.GetType() != dto.MetricType_HISTOGRAM {
					t.Errorf("%s: %s is not exported", rule.Alert, name)
					continue
				}
				labels = append(labels, "le")
			}
			for _, label := range family.GetMetric()[0].GetLabel() {
				labels = append(labels, label.GetName())
			}
		}
		for _, s := range selector.FindAllStringSubmatch(rule.Expr, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if !someValue(families[s[1]], m[1], m[2], m[3]) {
					t.Errorf("%s: no series of %s has %s", rule.Alert, s[1], m[0])
				}
			}
		}
		if strings.Count(rule.Expr, "{") != len(selector.FindAllString(rule.Expr, -1)) {
			t.Errorf("%s: a selector has a form that this test does not read", rule.Alert)
		}
		if by := grouping.FindStringSubmatch(rule.Expr); by != nil {
			grouped := strings.Split(by[1], ", ")
			for _, label := range grouped {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: groups by %s, which there is not", rule.Alert, label)
				}
			}
			labels = grouped
		}
		for _, text := range rule.Annotations {
			for _, used := range usedLabel.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(labels, used[1]) {
					t.Errorf("%s: its text uses the label %s, which it has not", rule.Alert, used[1])
				}
			}
		}
	}
}

// someValue reports whether a series has such a label value; what is left out has to be there, too.
func someValue(family *dto.MetricFamily, label, operator, want string) bool {
	pattern := regexp.QuoteMeta(want)
	if operator == "=~" {
		pattern = want
	}
	anchored := regexp.MustCompile("^(" + pattern + ")$")
	for _, metric := range family.GetMetric() {
		for _, l := range metric.GetLabel() {
			if l.GetName() == label && anchored.MatchString(l.GetValue()) {
				return true
			}
		}
	}
	return false
}

// TestEachAlertOnAnAgeLooksAtItsOwn keeps a registry that does not answer from being taken for
// NATS, and the reverse.
func TestEachAlertOnAnAgeLooksAtItsOwn(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"PratiqueOutboxNotForwarded": "pratique_outbox_oldest_age_seconds",
		"PratiquePushesUnresolved":   "pratique_outbox_oldest_unresolved_age_seconds",
	}
	for _, rule := range rules(t) {
		for _, name := range metricName.FindAllString(rule.Expr, -1) {
			if strings.HasPrefix(name, "pratique_outbox_oldest") && name != want[rule.Alert] {
				t.Errorf("%s looks at %s", rule.Alert, name)
			}
		}
		if name := want[rule.Alert]; !strings.Contains(rule.Expr, name) {
			t.Errorf("%s does not look at %s", rule.Alert, name)
		}
		if rule.Alert == "PratiqueEventsDropped" &&
			!strings.Contains(rule.Expr, `outcome!="dropped:repository"`) {
			t.Errorf("%s tells of repositories that others use", rule.Alert)
		}
	}
}

func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, rule := range rules(t) {
		if !strings.HasPrefix(rule.Alert, "Pratique") || seen[rule.Alert] {
			t.Errorf("%q: want a name of its own that begins with Pratique", rule.Alert)
		}
		seen[rule.Alert] = true
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", rule.Alert, s)
		}
		if rule.For != "" {
			if _, err := model.ParseDuration(rule.For); err != nil {
				t.Errorf("%s: for: %v", rule.Alert, err)
			}
		}
		if len(strings.Fields(rule.Annotations["summary"])) < 5 ||
			len(strings.Fields(rule.Annotations["description"])) < 15 {
			t.Errorf("%s: the summary or the description says too little", rule.Alert)
		}
	}
	for _, name := range []string{
		"PratiqueOutboxFull", "PratiqueOutboxCannotWrite", "PratiqueOutboxNotForwarded",
		"PratiqueWebhookCredentialsWrong",
		"PratiqueEventsDropped", "PratiquePushesUnresolved", "PratiqueGone",
		"PratiqueReconcileFails", "PratiqueDatabaseOld", "PratiqueQueueOld",
	} {
		if !seen[name] {
			t.Errorf("there is no alert %s", name)
		}
	}
}
