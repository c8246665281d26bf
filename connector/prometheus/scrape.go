package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// ScrapeConfig is a metrics endpoint that is read again and again: each series is a value.
type ScrapeConfig struct {
	// URL of the endpoint.
	URL string `yaml:"url"`
	// User for basic authentication.
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Token is that of a bearer, in the place of a user.
	Token secret.Text `yaml:"token"`
	// Timeout of a look; default 10s.
	Timeout time.Duration `yaml:"timeout"`
	// StaleAfter is the age above which a value is stale, where the endpoint says how old they are; default 5m.
	StaleAfter time.Duration `yaml:"stale_after"`
	// Series is the most that a look may have; default 10000.
	Series int `yaml:"series"`
	// Metrics are the names of what is told: bitcoin_ibd, or http_seconds_count of a histogram.
	Metrics []string `yaml:"metrics"`
	// Labels are values that a series has to have.
	Labels map[string]string `yaml:"labels"`

	// Every is how often it is read, default 10s.
	Every time.Duration `yaml:"-"`
}

var metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

func (c ScrapeConfig) server() server {
	return server{c.URL, c.User, c.Password, c.Token, c.Timeout, c.StaleAfter, c.Series}
}

// Validate returns all faults at once, each beginning with the name of its key.
func (c ScrapeConfig) Validate() []error {
	faults := c.server().validate()
	if len(c.Metrics) == 0 {
		faults = append(faults, errors.New("metrics: is missing"))
	}
	for _, name := range c.Metrics {
		if !metricName.MatchString(name) {
			faults = append(faults, fmt.Errorf("metrics: %q is no name of a metric", name))
		}
	}
	return faults
}

// Scrape is the watcher of a metrics endpoint.
type Scrape struct{ cfg ScrapeConfig }

var _ connector.Watcher = (*Scrape)(nil)

// WithDefaults returns c with everything filled in that has a default.
func (c ScrapeConfig) WithDefaults() ScrapeConfig {
	c.Timeout, c.Series = cmp.Or(c.Timeout, defaultTimeout), cmp.Or(c.Series, defaultSeries)
	c.StaleAfter = cmp.Or(c.StaleAfter, 5*time.Minute)
	return c
}

// NewScrape returns a watcher. It reads nothing yet.
func NewScrape(c ScrapeConfig) (*Scrape, error) {
	if err := refused(c.Validate()); err != nil {
		return nil, err
	}
	return &Scrape{c.WithDefaults()}, nil
}

// Watch tells the values until ctx ends, as connector.Watcher says.
func (s *Scrape) Watch(ctx context.Context, _ []byte, tell func(context.Context, connector.Seen) error) error {
	c := newClient(s.cfg.server())
	defer c.close()
	r := &scraper{client: c, cfg: s.cfg}
	return c.poll(ctx, s.cfg.Every, r.look, tell)
}

// scraper reads an endpoint.
type scraper struct {
	*client
	cfg ScrapeConfig
}

func (s *scraper) look(ctx context.Context) (all []connector.Sample, _ []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	families, err := s.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %v", s.Timeout)
		}
		return nil, nil, fault.New(fault.Transient, "read %s: %w", s.URL, err)
	}
	now := time.Now()
	for _, f := range families {
		if !s.wanted(f.GetName()) {
			continue
		}
		v, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(now.UnixNano())}, f)
		if err != nil {
			return nil, nil, fault.New(fault.Invalid, "read %s: %w", s.URL, err)
		}
		for _, x := range v {
			if s.matches(x.Metric) {
				sample := sampleOf(x.Metric, x.Value)
				sample.Stale = sample.Stale || now.Sub(x.Timestamp.Time()) > s.cfg.StaleAfter
				all = append(all, sample)
			}
		}
		if err := s.tooMany(len(all)); err != nil {
			return nil, nil, err
		}
	}
	return all, nil, nil
}

// wanted reports whether a family may have what is told: of a histogram this is name_bucket, name_sum and name_count.
func (s *scraper) wanted(family string) bool {
	return slices.ContainsFunc(s.cfg.Metrics, func(name string) bool { return strings.HasPrefix(name, family) })
}

func (s *scraper) matches(m model.Metric) bool {
	if !slices.Contains(s.cfg.Metrics, string(m[model.MetricNameLabel])) {
		return false
	}
	for name, value := range s.cfg.Labels {
		if string(m[model.LabelName(name)]) != value {
			return false
		}
	}
	return true
}

func (s *scraper) read(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/plain;version=0.0.4")
	a, err := (&http.Client{Transport: s.client}).Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", a.Status)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	return p.TextToMetricFamilies(a.Body)
}
