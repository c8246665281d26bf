package postgres

import (
	"context"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
	"holdfast/tests/testenv"
)

// weather is a sink's configuration for the rows of tabletest.
func (b *broken) weather(table string) Config {
	return Config{DSN: b.dsn("geheim123"), Schema: "wspr", Table: table, Create: true, Timeout: 2 * time.Second,
		Key: tabletest.Keys}
}

func TestTables(t *testing.T) {
	pg := testenv.Postgres(t)
	tabletest.Run(t, func(t *testing.T) *tabletest.Target {
		b := fresh(t, pg)
		cfg := b.weather(`weather "#1"`)
		return &tabletest.Target{
			Table:   cfg.Table,
			Timeout: cfg.Timeout,
			Sink:    func() (connector.Sink, error) { return New(cfg) },
			Open:    func() (connector.Tables, error) { return OpenTables(cfg) },
			Away:    sinktest.HookOf(b.proxy.Down, b.proxy.Up),
			Restart: sinktest.HookOf(b.pg.Kill, b.pg.Restart),
			Freeze:  sinktest.HookOf(b.pg.Freeze, b.pg.Thaw),
			Denied: tabletest.Denied{Open: func() (connector.Tables, error) {
				cfg := cfg
				cfg.DSN = b.dsn("wrong")
				return OpenTables(cfg)
			}},
		}
	})
}

func TestKeyed(t *testing.T) {
	pg := testenv.Postgres(t)
	tabletest.RunKeyed(t, func(t *testing.T) *tabletest.Keyed {
		b := fresh(t, pg)
		return &tabletest.Keyed{
			Table: "weather",
			Sink: func(key []string, replace string) (connector.Sink, error) {
				cfg := b.weather("weather")
				cfg.Key, cfg.Replace = key, replace
				return New(cfg)
			},
			Open: func() (connector.Tables, error) { return OpenTables(b.weather("weather")) },
			Exec: func(statement string) error {
				_, err := pg.Try(context.Background(), "SET search_path = wspr; "+statement)
				return err
			},
			LostAnswer: sinktest.Losing(b.lossy),
			Cut:        sinktest.CutBy(t, b.proxy),
			Child:      []string{b.dsn("geheim123").Reveal()},
			Histories:  testenv.Count(t, 60),
		}
	})
}
