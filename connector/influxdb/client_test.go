package influxdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

func clientAt(t *testing.T, url string) *Client {
	t.Helper()
	c, err := NewClient(Config{URL: url, Database: "d", Username: "admin", Password: "geheim123", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestBoundParameters: what is bound is a value, whatever it holds.
func TestBoundParameters(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE d")
	evil := `x' OR 1=1`
	states := []string{"Ohio", evil, `"; DROP DATABASE d; --`, `back\slash`, "日本", `$state`}
	for i, state := range states {
		tag := strings.NewReplacer(" ", `\ `, "=", `\=`, ",", `\,`).Replace(state)
		s.Write(t, "d", fmt.Sprintf("m,state=%s v=%d,name=%q,even=%v %d", tag, i, state, i%2 == 0, i+1))
	}
	c := clientAt(t, "http://"+s.Addr())
	ask := func(text string, params map[string]any) (got []string) {
		t.Helper()
		err := c.Query(t.Context(), text, params, func(r Row) error {
			at, ok := r.Time()
			if !ok || r.Measurement != "m" {
				t.Errorf("got a row of %s at %v", r.Measurement, at)
			}
			got = append(got, fmt.Sprintf("%v@%d", r.Value("v"), at.UnixNano()))
			return nil
		})
		if err != nil {
			t.Fatalf("%s %v: %v", text, params, err)
		}
		return got
	}
	for i, state := range states {
		for _, text := range []string{"SELECT v FROM m WHERE state = $state", "SELECT v FROM m WHERE \"name\" = $state"} {
			got := ask(text, map[string]any{"state": state})
			if want := fmt.Sprintf("[%d@%d]", i, i+1); fmt.Sprint(got) != want {
				t.Errorf("%s with %q: got %v, want %s", text, state, got, want)
			}
		}
	}
	for _, c := range []struct {
		where  string
		params map[string]any
		want   string
	}{
		{"time >= $from AND time < $to", map[string]any{"from": time.Unix(0, 2), "to": time.Unix(0, 4)}, "[1@2 2@3]"},
		{"v >= $low", map[string]any{"low": 4.0}, "[4@5 5@6]"}, {"v = $n", map[string]any{"n": 3}, "[3@4]"},
		{"even = $yes AND v < 3", map[string]any{"yes": true}, "[0@1 2@3]"},
	} {
		if got := fmt.Sprint(ask("SELECT v FROM m WHERE "+c.where, c.params)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.where, got, c.want)
		}
	}
	groups := map[string]any{}
	err := c.Query(t.Context(), "SELECT max(v) FROM "+identifier("m")+" GROUP BY state", nil, func(r Row) error {
		groups[r.Tags["state"]] = r.Value("max")
		return nil
	})
	if err != nil || len(groups) != len(states) || groups[evil] != json.Number("1") {
		t.Errorf("groups: got %v %v", groups, err)
	}
}

// TestChunks: an answer of many pieces comes whole and in order, can be stopped, and is no longer in memory
// than a piece.
func TestChunks(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE d")
	const n = 35_000
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "m,t=a v=%di %d\n", i, i+1)
	}
	s.Write(t, "d", lines.String())
	c := clientAt(t, "http://"+s.Addr())
	next := int64(0)
	err := c.Query(t.Context(), "SELECT v FROM m", nil, func(r Row) error {
		if v, _ := r.Value("v").(json.Number).Int64(); v != next {
			return fmt.Errorf("got %d, want %d", v, next)
		}
		next++
		return nil
	})
	if err != nil || next != n {
		t.Fatalf("got %d rows %v, want %d", next, err, n)
	}
	stop, calls := errors.New("stop"), 0
	err = c.Query(t.Context(), "SELECT v FROM m", nil, func(Row) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("stopped: got %v after %d rows", err, calls)
	}
}

// TestQueryErrors of a real server.
func TestQueryErrors(t *testing.T) {
	s := testenv.Influx(t, "")
	good, wrong := clientAt(t, "http://"+s.Addr()), clientAt(t, "http://"+s.Addr())
	wrong.c.Password = "wrong"
	for _, c := range []struct {
		client *Client
		text   string
		params map[string]any
		want   fault.Kind
	}{
		{good, "SELECT * FROM m", nil, fault.NotFound}, {good, "SELEC", nil, fault.Permanent},
		{good, "SHOW DATABASES", nil, fault.Unknown}, {wrong, "SHOW DATABASES", nil, fault.Credentials},
		{good, "SHOW DATABASES", map[string]any{"x": make(chan int)}, fault.Permanent},
	} {
		err := c.client.Query(t.Context(), c.text, c.params, func(Row) error { return nil })
		if fault.KindOf(err) != c.want || (err == nil) != (c.want == fault.Unknown) {
			t.Errorf("%s: got %v (kind %v), want %v", c.text, err, fault.KindOf(err), c.want)
		}
	}
	s.Freeze()
	defer s.Thaw()
	begun := time.Now()
	err := good.Query(t.Context(), "SHOW DATABASES", nil, func(Row) error { return nil })
	if !fault.Is(err, fault.Transient) || time.Since(begun) > 3*time.Second {
		t.Errorf("frozen: got %v after %v, want an outage after 1s", err, time.Since(begun))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := good.Query(ctx, "SHOW DATABASES", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestAnswersThatEndEarly: an answer that is cut off, or is none of InfluxDB, is an outage, never a short
// answer.
func TestAnswersThatEndEarly(t *testing.T) {
	const row = `{"results":[{"series":[{"name":"m","columns":["time","v"],"values":[[1,2]]%s}]%s}]}`
	whole, partial := fmt.Sprintf(row, "", ""), fmt.Sprintf(row, `,"partial":true`, `,"partial":true`)
	for name, c := range map[string]struct {
		text string
		rows int
		kind fault.Kind
	}{
		"whole": {whole, 1, fault.Unknown}, "two pieces": {partial + "\n" + whole, 2, fault.Unknown},
		"the last piece is missing": {partial + "\n", 1, fault.Transient},
		"cut in a piece":            {partial + "\n" + whole[:20], 1, fault.Transient},
		"nothing":                   {"", 0, fault.Transient}, "a page": {"<html>", 0, fault.Transient},
		"a number":         {"5", 0, fault.Transient},
		"an error at last": {partial + "\n" + `{"results":[{"error":"shard is gone"}]}`, 1, fault.Permanent},
		"an error, alone":  {`{"error":"query timeout reached"}`, 0, fault.Transient},
		"a limit":          {`{"results":[{"error":"max-concurrent-queries limit exceeded(1, 1)"}]}`, 0, fault.Transient},
		"refused":          {`{"results":[{"error":"error authorizing query: u not authorized to execute"}]}`, 0, fault.Credentials},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(c.text))
		}))
		rows := 0
		err := clientAt(t, srv.URL).Query(t.Context(), "SELECT v FROM m", nil, func(Row) error { rows++; return nil })
		if rows != c.rows || fault.KindOf(err) != c.kind || (err == nil) != (c.kind == fault.Unknown) {
			t.Errorf("%s: got %d rows and %v (kind %v), want %d and %v", name, rows, err, fault.KindOf(err), c.rows, c.kind)
		}
		srv.Close()
	}
}
