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

func TestKeyed(t *testing.T) {
	tabletest.RunKeyed(t, func(t *testing.T) *tabletest.Keyed {
		f := newFile(t)
		return &tabletest.Keyed{
			Table: "weather",
			Sink: func(key []string, replace string) (connector.Sink, error) {
				return f.sink(Config{Table: "weather", Key: key, Replace: replace, Busy: time.Second})
			},
			Open:       func() (connector.Tables, error) { return OpenTables(Config{Path: f.path}) },
			Exec:       func(statement string) error { _, err := f.db.Exec(statement); return err },
			LostAnswer: sinktest.Hook{Do: func() error { f.lose.Store(true); return nil }},
			Cut: func(bytes int64) sinktest.Hook {
				return sinktest.Hook{
					Do:   func() error { f.cutAfter.Store(bytes / 5000); return nil },
					Undo: func() error { f.cutAfter.Store(-1); return nil },
				}
			},
			Child:     []string{f.path},
			Histories: max(10, 100/slower),
		}
	})
}
