package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// rowsOf says what the rows of a stream are: the same for each of its roles.
type rowsOf struct {
	// Preset is a set of columns by its name: weather is the fields of WeatherAPI.com, with time and tags; default weather.
	// Columns take its place.
	Preset string `yaml:"preset" jsonschema:"enum=weather"`
	// Columns say how an item becomes a row; default those of the preset.
	Columns []columns.Column `yaml:"columns"`
	// Time is the column of a row's time; default that of the preset, and none with columns.
	Time string `yaml:"time"`
	// Tags are the columns that, with the time, tell rows apart; default those of the preset, and none with columns.
	Tags []string `yaml:"tags"`
	// Timezone is that of times in the input that have none; default UTC. On the wire and in the database there is
	// UTC alone.
	Timezone string `yaml:"timezone"`

	zone *time.Location
	wire string // the layout of times on the wire, where the columns don't say it
}

const weatherPreset = "weather"

// weatherLayout is how WeatherAPI.com and WeatherVane's payloads write a time.
const weatherLayout = "2006-01-02 15:04"

// weatherRows are the fields of WeatherAPI.com by zip code. What no report is made of may be missing.
func weatherRows() rowsOf {
	r := rowsOf{Preset: weatherPreset, Time: "time", Tags: []string{"zip_code", "state"}, wire: weatherLayout}
	needed := []string{"temp_c", "pressure_mb", "humidity", "precip_mm"}
	r.Columns = []columns.Column{{Name: "time", Type: columns.Time},
		{Name: "zip_code", Type: columns.Text, Convert: true}, {Name: "state", Type: columns.Text},
		{Name: "name", Type: columns.Text, Optional: true}}
	for _, name := range strings.Fields(`lat lon temp_c temp_f is_day wind_mph wind_kph wind_degree wind_dir pressure_mb
		pressure_in precip_mm precip_in snow_cm humidity cloud feelslike_c feelslike_f windchill_c windchill_f heatindex_c
		heatindex_f dewpoint_c dewpoint_f will_it_rain chance_of_rain will_it_snow chance_of_snow vis_km vis_miles gust_mph
		gust_kph uv`) {
		c := columns.Column{Name: name, Type: columns.Float64, Optional: !slices.Contains(needed, name)}
		if name == "wind_dir" {
			c.Type = columns.Text
		}
		r.Columns = append(r.Columns, c)
	}
	return r
}

// check fills in what the preset says, and adds what is wrong.
func (r *rowsOf) check(d *decoder, n ast.Node, path string) {
	if r.Preset != "" && r.Preset != weatherPreset {
		d.Bad(d.at(n, "rows", "preset"), strictyaml.Join(path, "preset"), "there is no preset %q; want %s, or columns", r.Preset,
			weatherPreset)
		return
	}
	preset := weatherRows()
	if len(r.Columns) == 0 {
		r.Columns, r.Time, r.wire = preset.Columns, orElse(r.Time, preset.Time), preset.wire
		if len(r.Tags) == 0 {
			r.Tags = preset.Tags
		}
	} else if r.Preset != "" {
		d.Bad(d.at(n, "rows", "columns"), strictyaml.Join(path, "columns"), "the preset has columns already: give one of them")
	}
	var err error
	if r.zone, err = time.LoadLocation(r.Timezone); err != nil {
		d.Bad(d.at(n, "rows", "timezone"), strictyaml.Join(path, "timezone"), "there is no time zone %q; want a name such as "+
			"Europe/Berlin", r.Timezone)
		r.zone = time.UTC
	}
	if r.Time == "" {
		d.Bad(d.at(n, "rows"), strictyaml.Join(path, "time"), "is missing: a window is a time")
		return
	}
	r.spec().Check(func(key, format string, args ...any) {
		d.Bad(d.at(n, "rows", strings.SplitN(key, "[", 2)[0]), strictyaml.Join(path, key), format, args...)
	})
	if len(r.Tags) == 0 {
		d.Bad(d.at(n, "rows"), strictyaml.Join(path, "tags"), "is missing: the columns that, with the time, tell rows apart")
	}
	for i, tag := range r.Tags {
		c := r.spec().Column(tag)
		if c == nil || c.Type != columns.Text {
			d.Bad(d.at(n, "rows", "tags"), fmt.Sprintf("%s[%d]", strictyaml.Join(path, "tags"), i), "want a column of type text, got %q",
				tag)
		}
	}
}

// spec is how the input is read.
func (r *rowsOf) spec() columns.Spec {
	return columns.Spec{Columns: r.Columns, Time: r.Time, Extra: columns.ExtraDrop, Zone: r.zone}
}

// layout is how times are written on the wire: as the input has them, if it has all of them in one layout. A time for
// which it is too coarse is written as RFC 3339 has it.
func (r *rowsOf) layout() (layout string) {
	if r.wire != "" {
		return r.wire
	}
	for _, c := range r.Columns {
		switch {
		case c.Type != columns.Time:
		case !strings.Contains(c.Format, "2006") || layout != "" && c.Format != layout:
			return time.RFC3339Nano
		default:
			layout = c.Format
		}
	}
	return layout
}

// onWire is how payloads are read: their members are the columns, and times are in UTC.
func (r *rowsOf) onWire() (*columns.Table, error) {
	s := r.spec()
	s.Zone, s.Loose, s.Columns = time.UTC, true, slices.Clone(s.Columns)
	for i := range s.Columns {
		c := &s.Columns[i]
		c.From = ""
		if c.Type == columns.Time {
			c.Format = r.layout()
		}
	}
	return columns.New(s)
}

// parseBatches makes a page of payloads.
func parseBatches(t *columns.Table) func(ctx context.Context, payloads [][]byte) (connector.Page, error) {
	return func(ctx context.Context, payloads [][]byte) (p connector.Page, err error) {
		r := t.Begin(ctx)
		for _, payload := range payloads {
			if err := r.AddArray(payload); err != nil {
				return p, err
			}
		}
		p.Rejected, p.Notes = r.Rejected, r.Notes
		p.Rows, err = r.Batch()
		return p, err
	}
}

// formatOf is the format of a data set by the end of its name, "" for none that is known.
func formatOf(path string) string {
	switch filepath.Ext(path) {
	case ".csv":
		return "csv"
	case ".jsonl", ".ndjson", ".json":
		return "jsonl"
	case ".parquet":
		return "parquet"
	}
	return ""
}

// weatherTable is where the rows go by default, named like WeatherVane's measurement.
const weatherTable = "weather_data"
