package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/influxdb"
)

// influxTables is a reader of InfluxDB.
type influxTables struct{ *influxdb.Client }

func openInflux(t *testing.T, addr, password string) connector.Tables {
	t.Helper()
	c, err := influxdb.NewClient(influxdb.Config{URL: "http://" + addr, Database: "weather", Username: "admin",
		Password: secret.Text(password)})
	if err != nil {
		t.Fatal(err)
	}
	return influxTables{c}
}

func (i influxTables) Close() error {
	i.Client.Close()
	return nil
}

func where(q connector.TableQuery) (string, map[string]any) {
	terms, params := []string{"time > 0"}, map[string]any{}
	if !q.From.IsZero() {
		terms = append(terms, fmt.Sprintf("time >= %d", q.From.UnixNano()))
	}
	if !q.To.IsZero() {
		terms = append(terms, fmt.Sprintf("time < %d", q.To.UnixNano()))
	}
	for i, name := range slices.Sorted(maps.Keys(q.Equal)) {
		p := fmt.Sprintf("p%d", i)
		terms, params[p] = append(terms, influxdb.Identifier(name)+" = $"+p), q.Equal[name]
	}
	return " FROM " + influxdb.Identifier(q.Table) + " WHERE " + strings.Join(terms, " AND "), params
}

func (i influxTables) Rows(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
	text, params := where(q)
	if q.Limit > 0 {
		text += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	return i.Query(ctx, "SELECT *"+text, params, func(r influxdb.Row) error {
		values := make([]any, len(q.Columns))
		for c, name := range q.Columns {
			values[c] = r.Value(name)
			if n, ok := values[c].(json.Number); ok {
				values[c], _ = n.Float64()
				if whole, err := n.Int64(); err == nil && (name == "lost" || name == "revision") {
					values[c] = whole
				}
			}
			if name == q.Time {
				values[c], _ = r.Time()
			}
		}
		return yield(values)
	})
}

func (i influxTables) Newest(ctx context.Context, q connector.TableQuery) (at time.Time, ok bool, err error) {
	text, params := where(q)
	err = i.Query(ctx, "SELECT *"+text+" ORDER BY time DESC LIMIT 1", params, func(r influxdb.Row) error {
		at, ok = r.Time()
		return nil
	})
	return at, ok, err
}
