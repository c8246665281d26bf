package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/stream/ingester"
)

// rowsTable is the table that the rows of windows go to.
func (c *streamConfig) rowsTable(tables connector.Tables) ingester.Table {
	return ingester.Table{Sink: DatabaseSink, Place: c.rowsPlace(), Empty: func(ctx context.Context) (bool, error) {
		_, some, err := tables.Newest(ctx, connector.TableQuery{Table: c.Table, Time: c.Rows.Time})
		return !some, err
	}}
}

// rowsPlace is the table of the rows as two configurations of it can be compared, without what is secret.
func (c *streamConfig) rowsPlace() string {
	sum := sha256.Sum256([]byte(c.Database.place() + "\x00" + c.Table))
	return hex.EncodeToString(sum[:])
}

// spoolOf is the ingester whose spool may hold what a processor reads: it writes into that table.
func (c *streamConfig) spoolOf(p *Plan) string {
	name := c.ingesterOf(p, c.Processor.Ingester)
	return only(p, func(j Job, w *streamConfig) bool { return name == j.Name && w.rowsPlace() == c.rowsPlace() })
}

// meets is the sink of an ingester, which looks at its table before the first row is written.
type meets struct {
	connector.Sink
	meet func(ctx context.Context) error
}

func (m meets) Prepare(ctx context.Context, s record.Schema) error {
	if err := m.Sink.Prepare(ctx, s); err != nil {
		return err
	}
	return m.meet(ctx)
}
