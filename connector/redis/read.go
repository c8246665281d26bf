package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/messages"
)

// chunk is how many entries one question asks for.
const chunk = 1000

// streamFeed reads a stream in order.
type streamFeed struct {
	cfg  Config
	conn *connection // nil while there is none
}

func (f *streamFeed) Fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page,
	error) {
	var p connector.Page
	if f.conn == nil {
		var err error
		if f.conn, err = dial(ctx, f.cfg.server()); err != nil {
			return at, p, err
		}
	}
	b := &block{Block: to, cfg: f.cfg, at: at}
	stop := context.AfterFunc(ctx, f.conn.cut) // the library would wait for the server's answer
	defer stop()
	err := f.conn.read(ctx, b, &p)
	return b.at, p, err
}

// Lost is 0: the server's count tells what was lost.
func (f *streamFeed) Lost() int64 { return 0 }

func (f *streamFeed) Close() {
	if f.conn != nil {
		f.conn.close()
	}
	f.conn = nil
}

// block gathers entries, and is behind the last of them.
type block struct {
	*messages.Block
	cfg Config
	at  position
}

func (b *block) add(e rueidis.XRangeEntry) error {
	it, err := b.item(e)
	if err != nil {
		return err
	}
	b.at.ID = e.ID
	b.at.Read++
	return b.Add(it)
}

func (b *block) item(e rueidis.XRangeEntry) (columns.Item, error) {
	if b.cfg.Field != "" {
		text, ok := e.FieldValues[b.cfg.Field]
		if ok {
			return columns.Message([]byte(text)), nil
		}
	}
	raw, err := json.Marshal(e.FieldValues)
	if err != nil {
		return columns.Item{}, err
	}
	if b.cfg.Field != "" {
		return columns.Item{Raw: raw, Err: errors.New("the entry has no field " + b.cfg.Field)}, nil
	}
	value := make(map[string]any, len(e.FieldValues))
	for name, text := range e.FieldValues {
		value[name] = text
	}
	return columns.Item{Raw: raw, Value: value}, nil
}

// read waits for entries behind the block's position and takes them.
func (c *connection) read(ctx context.Context, b *block, p *connector.Page) error {
	if err := c.count(ctx, b, p); err != nil {
		return err
	}
	for b.Rows() == 0 {
		if _, err := c.take(ctx, b, b.cfg.Timeout); err != nil {
			return err
		}
		if b.Rows() > 0 {
			break
		}
		// It may be silent because there is another stream of that name, which counts from below.
		if err := c.count(ctx, b, p); err != nil {
			return err
		}
	}
	timer := time.NewTimer(b.cfg.Linger)
	defer timer.Stop()
	for over := false; b.Room() > 0; {
		n, err := c.take(ctx, b, 0)
		switch {
		case err != nil:
			return err
		case n < chunk && over:
			return c.count(ctx, b, p)
		case n == chunk:
			continue
		}
		select {
		case <-timer.C:
			over = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take takes up to a chunk of entries; wait is how long the server holds the question open for one.
func (c *connection) take(ctx context.Context, b *block, wait time.Duration) (n int, err error) {
	after := cmp.Or(b.at.ID, "0-0")
	count := int64(min(chunk, b.Room()))
	ctx, cancel := context.WithTimeout(ctx, wait+b.cfg.Timeout)
	defer cancel()
	cmd := c.B().Xread().Count(count).Streams().Key(b.cfg.Stream).Id(after).Build()
	if wait > 0 {
		cmd = c.B().Xread().Count(count).Block(max(wait.Milliseconds(), 1)).Streams().Key(b.cfg.Stream).
			Id(after).Build()
	}
	got, err := c.Do(ctx, cmd).AsXRead()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range got[b.cfg.Stream] {
		if err := b.add(e); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// count compares what was read with what the server says was added, where it says so and nothing is
// left to read.
func (c *connection) count(ctx context.Context, b *block, p *connector.Page) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	info, err := c.Do(ctx, c.B().XinfoStream().Key(b.cfg.Stream).Build()).AsMap()
	if err != nil {
		if e, ok := errors.AsType[*rueidis.RedisError](err); ok && strings.Contains(e.Error(), "no such key") {
			if b.at.ID == "" && b.at.Added < 0 {
				b.at.Added = 0
			}
			return nil
		}
		return err
	}
	value := func(name string) (int64, bool) {
		m, ok := info[name]
		n, err := m.AsInt64()
		return n, ok && err == nil
	}
	added, counts := value("entries-added")
	length, _ := value("length")
	lastID, ok := info["last-generated-id"]
	last, err := lastID.ToString()
	if !counts || !ok || err != nil {
		return nil // Redis before 7 does not count
	}
	b.settle(p, last, added, length)
	return nil
}

// settle takes what the server says of the stream: the id of its last entry, how many it ever had and
// how many it has.
func (b *block) settle(p *connector.Page, last string, added, length int64) {
	at := &b.at
	switch order := compare(last, cmp.Or(at.ID, "0-0")); {
	case at.ID == "" && at.Added < 0: // what was gone before we came was never ours to lose
		at.Added = added - length
	case b.Rows() == 0 && (order < 0 || added < at.Added):
		*at = position{Version: messages.CursorVersion, Added: added - length}
		p.Notes = map[string]int64{"streams_made_anew": 1}
	case order == 0:
		if at.Added >= 0 {
			p.Lost += max(added-at.Added-at.Read, 0)
		}
		at.Added, at.Read = added, 0
	}
}

// compare orders two ids.
func compare(a, b string) int {
	ams, aseq := parts(a)
	bms, bseq := parts(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(aseq, bseq))
}

func parts(id string) (ms, seq uint64) {
	m, s, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(m, 10, 64)
	seq, _ = strconv.ParseUint(s, 10, 64)
	return ms, seq
}
