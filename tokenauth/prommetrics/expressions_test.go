package prommetrics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
)

// An expression is a PromQL expression of alerts.yml or grafana.json.
type expression struct {
	where  string // the name of the alert, panel or variable
	text   string
	legend string // the legend of a panel, else ""
}

// rules returns the expressions of alerts.yml.
func rules(t *testing.T) (all []expression) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	read(t, "alerts.yml", func(data []byte) error {
		return yaml.UnmarshalWithOptions(data, &file, yaml.Strict())
	})
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			all = append(all, expression{where: rule.Alert, text: rule.Expr})
			if rule.For == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %s lacks for, severity, summary or description: %+v", rule.Alert, rule)
			}
		}
	}
	return all
}

// A panel has the fields of a Grafana panel that the tests check.
type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ Type, UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		Expr, LegendFormat string
		Datasource         struct{ UID string }
	}
}

type dashboard struct {
	Title, UID string
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
			Definition string
		}
	}
	Panels []panel
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	read(t, "grafana.json", func(data []byte) error { return json.Unmarshal(data, &d) })
	return d
}

// expressions returns the expressions of the panels and of the dashboard's
// variables. It replaces each variable in them by a value, as Grafana does.
func (d *dashboard) expressions() (all []expression) {
	filled := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, expression{p.Title, filled.Replace(target.Expr), target.LegendFormat})
		}
	}
	for _, v := range d.Templating.List {
		if selector, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			selector, _, _ = strings.Cut(selector, ", ")
			all = append(all, expression{where: "variable " + v.Name, text: filled.Replace(selector)})
		}
	}
	return all
}

func read(t *testing.T, file string, parse func([]byte) error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = parse(data)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

var (
	selectors = regexp.MustCompile(`\b(tokenauth_\w+)(?:\{([^}]*)\})?`)
	matchers  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	groupings = regexp.MustCompile(`\bby \(([^)]*)\)`)
	legends   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// Each selector in the alerts and in the dashboard matches a metric that exists
// from the start. A misspelled name or label would leave a panel empty or an alert
// silent.
func TestExpressionsFindMetrics(t *testing.T) {
	t.Parallel()
	families, err := register(t, prommetrics.New(), new(prommetrics.Metrics).Cache(cached(t))).Gather()
	if err != nil {
		t.Fatal(err)
	}
	exposed := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		exposed[f.GetName()] = f
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				exposed[f.GetName()+suffix] = f
			}
		}
	}
	d := readDashboard(t)
	used := make(map[string]bool)
	for _, e := range slices.Concat(rules(t), d.expressions()) {
		found := selectors.FindAllStringSubmatch(e.text, -1)
		if len(found) == 0 {
			t.Errorf("%s: no metric tokenauth_… in the expression %s", e.where, e.text)
		}
		for _, selector := range found {
			family := exposed[selector[1]]
			if family == nil {
				t.Errorf("%s: there is no metric %s", e.where, selector[1])
				continue
			}
			used[family.GetName()] = true
			if !slices.ContainsFunc(family.GetMetric(), func(m *dto.Metric) bool { return matches(m, selector[2]) }) {
				t.Errorf("%s: the selector %s matches no series", e.where, selector[0])
			}
		}
		for _, label := range legends.FindAllStringSubmatch(e.legend, -1) {
			if by := groupings.FindStringSubmatch(e.text); by == nil || !slices.Contains(strings.Split(by[1], ", "), label[1]) {
				t.Errorf("%s: the legend %s uses a label that the expression does not group by: %s", e.where, e.legend, e.text)
			}
		}
	}
	for _, f := range families {
		if !used[f.GetName()] {
			t.Errorf("neither the alerts nor the dashboard use the metric %s", f.GetName())
		}
	}
}

// matches reports whether a metric matches the label matchers of a selector. It
// adds the labels job and instance, which Prometheus adds to each series.
func matches(m *dto.Metric, selector string) bool {
	labels := map[string]string{"job": "api", "instance": "a"}
	for _, label := range m.GetLabel() {
		labels[label.GetName()] = label.GetValue()
	}
	for _, matcher := range matchers.FindAllStringSubmatch(selector, -1) {
		value, ok := labels[matcher[1]]
		if !ok {
			return false
		}
		pattern := matcher[3]
		if !strings.HasSuffix(matcher[2], "~") {
			pattern = regexp.QuoteMeta(pattern)
		}
		if regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) == strings.HasPrefix(matcher[2], "!") {
			return false
		}
	}
	return true
}

// Grafana can import the dashboard without changes: the dashboard has a variable
// for the data source, and its panels have unique IDs and do not overlap.
func TestGrafanaImportsTheDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
		t.Errorf("the dashboard has no title or UID, or its first variable is not the data source: %+v", d.Templating)
	}
	ids := make(map[int]bool)
	for i, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d has ID %d and title %q, want a unique ID and a title", i, p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, other := range d.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("the panels %q and %q overlap", p.Title, other.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q has another data source, no target, or is too wide: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || target.LegendFormat == "" {
				t.Errorf("panel %q has a target with another data source or without a legend: %+v", p.Title, target)
			}
		}
	}
}

// promtool, which comes with Prometheus, accepts the rules and the expressions of
// the dashboard. It also runs the tests in testdata/alerts_test.yml.
func TestPromtoolAcceptsRulesAndDashboard(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		throwaway.Need(t, "promtool", errors.New("needs promtool; to get it: apt-get install prometheus"))
	}
	d := readDashboard(t)
	records := []any{}
	for i, e := range d.expressions() {
		records = append(records, map[string]string{"record": fmt.Sprintf("dashboard:%d", i), "expr": e.text})
	}
	asRules, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": records}}}) // JSON is valid YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, asRules, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml", file},
		{"test", "rules", "testdata/alerts_test.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
