package weather

import (
	"encoding/csv"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// header are the columns of WeatherAPI.com, as the data set of WeatherVane has them.
var header = strings.Fields(`time zip_code state name lat lon temp_c temp_f is_day wind_mph wind_kph wind_degree wind_dir
	pressure_mb pressure_in precip_mm precip_in snow_cm humidity cloud feelslike_c feelslike_f windchill_c windchill_f
	heatindex_c heatindex_f dewpoint_c dewpoint_f will_it_rain chance_of_rain will_it_snow chance_of_snow vis_km vis_miles
	gust_mph gust_kph uv`)

// texts are the columns that hold no number.
var texts = []string{"zip_code", "state", "name", "wind_dir"}

// measured are the fields of which there are reports.
var measured = []string{"temp_c", "pressure_mb", "humidity", "precip_mm"}

const timeLayout = "2006-01-02 15:04"

// theDay is the only one that WeatherVane's processor knows.
var theDay = time.Date(2023, 9, 19, 0, 0, 0, 0, time.UTC)

// shape is how a data set is made.
type shape struct {
	seed  uint64
	from  time.Time // the first hour; default theDay
	hours int
	zips  int // rows of an hour
	// warmer is added to each temperature: another data set of the same hours.
	warmer float64
}

// states are 50, of which the last ones try what a query language makes of them.
func stateOf(i int) string {
	strange := []string{"x' OR 1=1", `O"Brien, N=1`, `back\slash`, "Zürich; DROP MEASUREMENT weather_data"}
	if i = i % 50; i >= 50-len(strange) {
		return strange[i-50+len(strange)]
	}
	return fmt.Sprintf("State %02d", i)
}

// write makes the data set.
func (s shape) write(t testing.TB, path string) {
	t.Helper()
	if s.from.IsZero() {
		s.from = theDay
	}
	rnd := rand.New(rand.NewPCG(s.seed, 2))
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(header)
	for hour := range s.hours {
		at := s.from.Add(time.Duration(hour) * time.Hour)
		for zip := range s.zips {
			_ = w.Write(s.row(rnd, at, zip))
		}
	}
	w.Flush()
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// row is the observation of a place. Values have one decimal, and many are equal: an extreme has several holders.
func (s shape) row(rnd *rand.Rand, at time.Time, zip int) []string {
	out := make([]string, len(header))
	for i, name := range header {
		v := float64(rnd.IntN(1000)) / 10
		switch name {
		case "time":
			out[i] = at.Format(timeLayout)
		case "zip_code":
			out[i] = fmt.Sprintf("%05d", 501+7*zip)
		case "state":
			out[i] = stateOf(zip)
		case "name":
			out[i] = fmt.Sprintf("Town %d", zip)
		case "wind_dir":
			out[i] = []string{"N", "ESE", "SW", "WNW"}[rnd.IntN(4)]
		case "temp_c":
			out[i] = decimal(v/2 - 20 + s.warmer)
		case "pressure_mb":
			out[i] = decimal(980 + v/2)
		case "precip_mm":
			out[i] = decimal(float64(rnd.IntN(4)) / 10)
		default:
			out[i] = decimal(v)
		}
	}
	return out
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// record is a row of a table: text or float64 by column, without those that are empty.
type record map[string]any

// expected is what a database must hold of a data set.
type expected struct {
	rows     map[string]record // by zip code, state and time
	averages map[string]record // by state and time
	extremes map[string]record // by zip code, state and time
	hours    []time.Time
}

// reading gathers the numbers of one state in one hour.
type reading struct {
	n    int64
	sum  map[string]*big.Rat
	low  map[string]extreme
	high map[string]extreme
}

type extreme struct {
	zip   string
	value float64
}

// expect computes of the text of a data set what must become of it.
func expect(t testing.TB, text string) *expected {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("read the data set: %v", err)
	}
	e := &expected{rows: map[string]record{}, averages: map[string]record{}, extremes: map[string]record{}}
	groups := map[[2]string]*reading{} // by state and time
	for _, line := range lines[1:] {
		row := record{}
		for i, name := range lines[0] {
			if line[i] != "" {
				row[name] = valueOf(t, name, line[i])
			}
		}
		at := row["time"].(time.Time)
		delete(row, "time")
		key := place(row["zip_code"], row["state"], at)
		if e.rows[key] != nil {
			t.Fatalf("the data set has %s twice", key)
		}
		e.rows[key] = row
		if !slices.Contains(e.hours, at) {
			e.hours = append(e.hours, at)
		}
		group := [2]string{row["state"].(string), at.Format(time.RFC3339)}
		if groups[group] == nil {
			groups[group] = &reading{sum: map[string]*big.Rat{}, low: map[string]extreme{}, high: map[string]extreme{}}
		}
		groups[group].add(t, line, lines[0], row)
	}
	for group, r := range groups {
		at, err := time.Parse(time.RFC3339, group[1])
		if err != nil {
			t.Fatal(err)
		}
		r.report(e, group[0], at)
	}
	return e
}

func valueOf(t testing.TB, name, text string) any {
	t.Helper()
	if name == "time" {
		at, err := time.Parse(timeLayout, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if slices.Contains(texts, name) {
		return text
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// place is how a row is known.
func place(zip, state any, at time.Time) string {
	return fmt.Sprintf("%v|%v|%s", zip, state, at.UTC().Format(time.RFC3339Nano))
}

// add adds a row. Sums are exact: they are made of the decimals as the file has them.
func (r *reading) add(t testing.TB, line, names []string, row record) {
	t.Helper()
	r.n++
	zip := row["zip_code"].(string)
	for _, field := range measured {
		exact, ok := new(big.Rat).SetString(line[slices.Index(names, field)])
		if !ok {
			t.Fatalf("%s is no number", field)
		}
		if r.sum[field] == nil {
			r.sum[field] = new(big.Rat)
		}
		r.sum[field].Add(r.sum[field], exact)
		v := row[field].(float64)
		if x, ok := r.low[field]; !ok || v < x.value || v == x.value && zip < x.zip {
			r.low[field] = extreme{zip, v}
		}
		if x, ok := r.high[field]; !ok || v > x.value || v == x.value && zip < x.zip {
			r.high[field] = extreme{zip, v}
		}
	}
}

// report puts what was gathered into the tables of reports.
func (r *reading) report(e *expected, state string, at time.Time) {
	hour := at.UTC().Format("15")
	of := func(more record) record {
		more["state"], more["hour"], more["complete"], more["lost"], more["revision"] = state, hour, true, 0.0, 1.0
		return more
	}
	averages := of(record{})
	for _, field := range measured {
		averages["avg_"+field], _ = new(big.Rat).Quo(r.sum[field], big.NewRat(r.n, 1)).Float64()
		for side, x := range map[string]extreme{"min_": r.low[field], "max_": r.high[field]} {
			key := place(x.zip, state, at)
			if e.extremes[key] == nil {
				e.extremes[key] = of(record{"zip_code": x.zip})
			}
			e.extremes[key][side+field] = x.value
		}
	}
	e.averages[place("", state, at)] = averages
}
