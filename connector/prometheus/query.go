package prometheus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	"github.com/prometheus/common/model"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// Config is a query that a Prometheus server is asked again and again: each series is a value.
type Config struct {
	// URL of the server.
	URL string `yaml:"url"`
	// Query is PromQL.
	Query string `yaml:"query"`
	// User for basic authentication.
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Token is that of a bearer, in the place of a user.
	Token secret.Text `yaml:"token"`
	// Timeout of a look; default 10s.
	Timeout time.Duration `yaml:"timeout"`
	// StaleAfter is the age above which a value is stale, by when it was scraped; default none is. Of what is no plain selector
	// none ever is: its values are of now.
	StaleAfter time.Duration `yaml:"stale_after"`
	// Series is the most that a look may have; default 10000.
	Series int `yaml:"series"`

	// Every is how often it is asked, default 10s.
	Every time.Duration `yaml:"-"`
}

func (c Config) server() server {
	return server{c.URL, c.User, c.Password, c.Token, c.Timeout, c.StaleAfter, c.Series}
}

// Validate returns all faults at once, each beginning with the name of its key. Whether the query is one, the server says.
func (c Config) Validate() []error {
	faults := c.server().validate()
	if c.Query == "" {
		faults = append(faults, errors.New("query: is missing"))
	}
	return faults
}

// Query is the watcher of a query.
type Query struct{ cfg Config }

var _ connector.Watcher = (*Query)(nil)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	c.Timeout, c.Series = cmp.Or(c.Timeout, defaultTimeout), cmp.Or(c.Series, defaultSeries)
	return c
}

// New returns a watcher. It asks nothing yet.
func New(c Config) (*Query, error) {
	if err := refused(c.Validate()); err != nil {
		return nil, err
	}
	return &Query{c}, nil
}

// Watch tells the values until ctx ends, as connector.Watcher says.
func (q *Query) Watch(ctx context.Context, _ []byte, tell func(context.Context, connector.Seen) error) error {
	k, err := q.asker()
	if err != nil {
		return err
	}
	defer k.close()
	return k.poll(ctx, q.cfg.Every, k.look, tell)
}

func (q *Query) asker() (*asker, error) {
	c := newClient(q.cfg.server())
	a, err := api.NewClient(api.Config{Address: c.URL, RoundTripper: c})
	if err != nil {
		return nil, fault.New(fault.Permanent, "watch metrics: %w", err)
	}
	return &asker{client: c, api: a, query: q.cfg.Query}, nil
}

// asker asks a Prometheus. It decodes the answer itself: api/prometheus/v1 knows no strings.
type asker struct {
	*client
	api   api.Client
	query string
}

// answer is what /api/v1/query answers (prometheus.io/docs/prometheus/latest/querying/api).
type answer struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Infos     []string `json:"infos"`
}

func (k *asker) look(ctx context.Context) ([]connector.Sample, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	now := time.Now()
	value, warnings, err := k.ask(ctx, k.query, now)
	if err != nil {
		return nil, nil, err
	}
	samples, err := k.samples(value)
	if _, ok := value.(model.Vector); ok && err == nil && k.StaleAfter > 0 {
		err = k.age(ctx, now, samples)
	}
	return samples, warnings, err
}

// ask asks for the value of a query at a time.
func (k *asker) ask(ctx context.Context, query string, at time.Time) (model.Value, []string, error) {
	x, err := k.post(ctx, "/api/v1/query", query, url.Values{"time": {seconds(at)}})
	if err != nil {
		return nil, nil, err
	}
	v, err := decode(x.Data.ResultType, x.Data.Result)
	if err != nil {
		return nil, nil, k.failed(ctx, query, err)
	}
	return v, slices.Concat(x.Warnings, x.Infos), nil
}

// seconds is a time as the API has it.
func seconds(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
}

// post asks the API for a query.
func (k *asker) post(ctx context.Context, path, query string, form url.Values) (x answer, err error) {
	form.Set("query", query)
	form.Set("timeout", k.Timeout.String())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.api.URL(path, nil).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return x, fault.New(fault.Permanent, "ask %s: %w", k.URL, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, body, err := k.api.Do(ctx, r)
	if err != nil {
		return x, k.failed(ctx, query, err)
	}
	if err := json.Unmarshal(body, &x); err != nil {
		return x, k.failed(ctx, query, fmt.Errorf("the answer is %s, and no JSON of Prometheus", a.Status))
	}
	switch {
	case x.Status == "success":
		return x, nil
	case x.ErrorType == "bad_data" || x.ErrorType == "execution":
		return x, fault.New(fault.Permanent, "ask %s for %s: %s: %s", k.URL, query, x.ErrorType, x.Error)
	}
	return x, k.failed(ctx, query, fmt.Errorf("%s: %s", x.ErrorType, x.Error))
}

func decode(kind string, b []byte) (model.Value, error) {
	switch kind {
	case "scalar":
		v := &model.Scalar{}
		return v, json.Unmarshal(b, v)
	case "string":
		v := &model.String{}
		return v, json.Unmarshal(b, v)
	case "vector":
		var v model.Vector
		err := json.Unmarshal(b, &v)
		return v, err
	case "matrix":
		return model.Matrix{}, nil
	}
	return nil, fmt.Errorf("the answer is a %.20q, which is not known", kind)
}

// failed says why there is no answer.
func (k *asker) failed(ctx context.Context, query string, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", k.Timeout)
	}
	return fault.New(fault.Transient, "ask %s for %s: %w", k.URL, query, err)
}

// samples are the series of an answer.
func (k *asker) samples(value model.Value) (all []connector.Sample, err error) {
	switch v := value.(type) {
	case *model.Scalar:
		return []connector.Sample{sampleOf(nil, v.Value)}, nil
	case *model.String:
		return []connector.Sample{{Labels: map[string]string{}, Text: v.Value}}, nil
	case model.Vector:
		if err := k.tooMany(len(v)); err != nil {
			return nil, err
		}
		for _, s := range v {
			all = append(all, vectorSample(s))
		}
		return all, nil
	}
	return nil, fault.WithHint(fault.New(fault.Permanent, "ask %s for %s: the answer is a range of values (%s)", k.URL, k.query, value.Type()),
		"leave the range ([5m]) out, or put a function around it, such as max_over_time")
}

// vectorSample is one series of a vector. A native histogram is told by its count, and its sum is beside.
func vectorSample(s *model.Sample) connector.Sample {
	if s.Histogram == nil {
		return sampleOf(s.Metric, s.Value)
	}
	x := sampleOf(s.Metric, model.SampleValue(s.Histogram.Count))
	x.Fields = map[string]string{"sum": strconv.FormatFloat(float64(s.Histogram.Sum), 'g', -1, 64)}
	return x
}

// staleNaN is what Prometheus writes behind the last value of a series that has ended.
const staleNaN = 0x7ff0000000000002

func sampleOf(m model.Metric, v model.SampleValue) connector.Sample {
	return connector.Sample{Labels: labelsOf(m), Value: float64(v), Stale: math.Float64bits(float64(v)) == staleNaN}
}

// labelsOf are the labels of a series, its name under "".
func labelsOf(m model.Metric) map[string]string {
	all := make(map[string]string, len(m))
	for name, value := range m {
		if name == model.MetricNameLabel {
			name = ""
		}
		all[string(name)] = string(value)
	}
	return all
}

// age finds the series whose values are too old, by when they were scraped. The answer has no names.
func (k *asker) age(ctx context.Context, now time.Time, samples []connector.Sample) error {
	value, _, err := k.ask(ctx, "timestamp("+k.query+")", now)
	if err != nil {
		return err
	}
	v, ok := value.(model.Vector)
	if !ok {
		return fault.New(fault.Permanent, "ask %s for the age of %s: the answer is no vector", k.URL, k.query)
	}
	at := map[string]float64{}
	for _, s := range v {
		at[key(labelsOf(s.Metric))] = float64(s.Value)
	}
	for i, s := range samples {
		if t, ok := at[key(s.Labels)]; ok && float64(now.UnixMilli())/1000-t > k.StaleAfter.Seconds() {
			samples[i].Stale = true
		}
	}
	return nil
}

// key is what tells series apart whose names are not known.
func key(labels map[string]string) string {
	m := model.LabelSet{}
	for name, value := range labels {
		if name != "" {
			m[model.LabelName(name)] = model.LabelValue(value)
		}
	}
	return fmt.Sprint(m)
}

var _ http.RoundTripper = (*client)(nil)
