package sqlite

import (
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
)

func TestTables(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) *tabletest.Target {
		f := newFile(t)
		cfg := Config{Path: f.path, Table: `weather "#1"`, Key: tabletest.Keys, Busy: time.Second}
		return &tabletest.Target{
			Table:   cfg.Table,
			Large:   20_000 / slower,
			Sink:    func() (connector.Sink, error) { return New(cfg) },
			Open:    func() (connector.Tables, error) { return OpenTables(cfg) },
			Away:    sinktest.Hook{Lacks: "a file that is away has no rows"},
			Restart: sinktest.Hook{Lacks: "a file has no server"},
			Freeze:  sinktest.Hook{Lacks: "a file has no server"},
			Denied:  tabletest.Denied{Lacks: "a file has no credentials"},
		}
	})
}

// BenchmarkNewest is what a question costs: it opens the file for itself.
func BenchmarkNewest(b *testing.B) {
	f := newFile(b)
	schema := hourly()
	sink := prepared(b, f, Config{Key: []string{"zip_code", "state", "time"}}, schema)
	write(b, sink, connector.Delivery{Schema: schema, Rows: hour(schema, 1), Token: record.Token{First: 1, Last: 1}})
	tables, err := OpenTables(Config{Path: f.path})
	if err != nil {
		b.Fatal(err)
	}
	q := connector.TableQuery{Table: "spots", Time: "time"}
	for b.Loop() {
		if _, ok, err := tables.Newest(b.Context(), q); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
