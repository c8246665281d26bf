package influxdb

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector/sinktest"
)

func TestValidate(t *testing.T) {
	good := Config{Database: "d", Measurement: "m"}
	for _, c := range []struct {
		change func(*Config)
		want   string // the beginnings of the faults
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Database, c.Bucket, c.Token = "", "b", "t" }, ""},
		{func(c *Config) { c.Database = "" }, "database: is missing"},
		{func(c *Config) { c.Bucket = "b" }, "bucket: stands beside database"},
		{func(c *Config) { c.Token, c.Org = "t", "o" }, "org: is for bucket|token: is for bucket"},
		{func(c *Config) { c.Database, c.Bucket, c.Create, c.Username = "", "b", true, "u" },
			"create: is for database|username: is for database"},
		{func(c *Config) { c.Password = "geheim123" }, "username: is missing"},
		{func(c *Config) { c.URL = "http://u:geheim123@h" }, "url: put user and password"},
		{func(c *Config) { c.URL = "localhost:8086" }, "url: want http://"},
		{func(c *Config) { c.Measurement = "" }, "measurement: is missing"},
		{func(c *Config) { c.MeasurementFrom = "x" }, "measurement_from: stands beside"},
		{func(c *Config) { c.Measurement = "#m" }, `measurement: "#m" begins with #`},
		{func(c *Config) { c.Tags = []string{"a", "a", "time", "b\n"} },
			`tags[1]: "a" is there twice|tags[2]: "time"|tags[3]: "b\n"`},
		{func(c *Config) { c.Spread = "id" }, "spread: wants precision s or ms"},
		{func(c *Config) { c.Spread, c.Precision, c.Unique = "id", "s", true }, "unique: stands beside spread"},
		{func(c *Config) { c.Replace, c.Unique = "revision", true }, ""},
		{func(c *Config) { c.Replace, c.Database, c.Bucket = "revision", "", "b" }, "replace: is for database, and there is bucket"},
		{func(c *Config) { c.Replace, c.Measurement, c.MeasurementFrom = "revision", "", "m" },
			"replace: stands beside measurement_from"},
		{func(c *Config) { c.Replace, c.Spread, c.Precision = "revision", "id", "s" }, "replace: stands beside spread"},
		{func(c *Config) { c.Replace, c.Tags = "revision", []string{"revision"} }, `replace: "revision" is a tag`},
		{func(c *Config) { c.Replace, c.Time = "revision", "revision" }, `replace: "revision" is a tag or the time`},
		{func(c *Config) { c.Precision, c.Compression = "h", "zstd" }, `compression: is "zstd"|precision: is "h"`},
		{func(c *Config) { c.Retention = 1 }, "retention: wants create: true"},
		{func(c *Config) { c.Retention, c.Create, c.RetentionPolicy = 1, true, "r" }, "retention: is 1ns, want 1h"},
		{func(c *Config) { c.Timeout, c.ScanTimeout, c.Request = -1, -1, -1 }, "request: is -1|scan_timeout: |timeout: "},
	} {
		cfg := good
		c.change(&cfg)
		got := fmt.Sprint(cfg.Validate())
		ok := got == "[]" == (c.want == "")
		for _, want := range strings.Split(c.want, "|") {
			ok = ok && strings.Contains(got, want)
		}
		if !ok || strings.Contains(got, "geheim123") {
			t.Errorf("%+v:\n got %v\nwant %s", cfg, got, c.want)
		}
		if _, err := New(cfg); (err == nil) != (c.want == "") {
			t.Errorf("new sink of %+v: got %v", cfg, err)
		}
	}
}

// TestCompression: what goes over a network is packed, what stays on this machine is not, unless it is told.
func TestCompression(t *testing.T) {
	for _, c := range []struct{ url, told, want string }{
		{"", "", packNone}, {"http://localhost:8086", "", packNone}, {"http://127.1.2.3:8086/x", "", packNone},
		{"https://[::1]", "", packNone}, {"http://influx.example:8086", "", packGzip}, {"http://10.0.0.1", "", packGzip},
		{"http://127.0.0.1.example", "", packGzip}, {"http://h:x", "", packGzip}, {"", packGzip, packGzip},
		{"http://h", packNone, packNone},
	} {
		if got := (Config{URL: c.url, Compression: c.told}).WithDefaults().Compression; got != c.want {
			t.Errorf("%q, told %q: got %s, want %s", c.url, c.told, got, c.want)
		}
	}
}

// TestMappings: what can't become points, or could overwrite each other, is refused with its column.
func TestMappings(t *testing.T) {
	text := []arrow.Field{{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "key", Type: arrow.BinaryTypes.String}, {Name: "v", Type: arrow.PrimitiveTypes.Float64}}
	textKey := record.NewSchema(text, "key", "at")
	keyless := record.NewSchema(text, "", "at")
	for _, c := range []struct {
		name   string
		schema record.Schema
		change func(*Config)
		want   string
	}{
		{"text key as a tag", textKey, func(c *Config) { c.Tags = []string{"key"} }, ""},
		{"text key as a field", textKey, func(*Config) {}, "column key, the key, is no tag"},
		{"unique", textKey, func(c *Config) { c.Unique = true }, ""},
		{"no key", keyless, func(c *Config) { c.Tags = []string{"key"} }, "rows have no key"},
		{"no key, and unique", keyless, func(c *Config) { c.Unique = true }, ""},
		{"number as a tag", sinktest.Schema(), func(c *Config) { c.Tags = []string{"id"} }, "set spread: id"},
		{"number spread", sinktest.Schema(), func(c *Config) { c.Spread = "id" }, ""},
		{"number as a field", sinktest.Schema(), func(*Config) {}, "column id, the key, is no tag"},
		{"nothing to spread", keyless, func(c *Config) { c.Spread = "id" }, "no column id, which spread names"},
		{"a text spread", textKey, func(c *Config) { c.Spread = "key" }, "column key is utf8, and spread"},
		{"no such tag", textKey, func(c *Config) { c.Tags = []string{"x"} }, "no column x"},
		{"no such measurement", textKey, func(c *Config) { c.MeasurementFrom = "x" }, "no column x, which measurement_from"},
		{"no time", record.NewSchema(text, "key", ""), func(*Config) {}, "set time"},
		{"time is a text", textKey, func(c *Config) { c.Time = "key" }, "column key is utf8"},
		{"tags alone", textKey, func(c *Config) { c.Tags = []string{"key", "v"} }, "a point needs a field"},
		{"a field called time", record.NewSchema(append(text[:2:2], arrow.Field{Name: "time",
			Type: arrow.PrimitiveTypes.Float64}), "key", "at"), func(*Config) {}, "column time can't be written"},
		{"a list", record.NewSchema(append(text[:2:2], arrow.Field{Name: "l",
			Type: arrow.ListOf(arrow.PrimitiveTypes.Float64)}), "key", "at"), func(*Config) {}, "column l is list"},
	} {
		cfg := Config{Database: "d", Measurement: "m", Precision: "s"}
		c.change(&cfg)
		_, err := cfg.WithDefaults().mappingOf(c.schema)
		if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, fault.Permanent) ||
			!strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v (kind %v), want %q", c.name, err, fault.KindOf(err), c.want)
		}
	}
}
