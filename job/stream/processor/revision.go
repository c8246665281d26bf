package processor

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/job/stream/report"
	"holdfast/kernel/store"
)

func keyRevision(from time.Time) store.Key {
	return store.Job.K().Str("processor/revision/").U64(uint64(from.UnixMicro()) ^ 1<<63) // before 1970 comes first
}

// revision returns that of a new report of a window: one above the highest that is known. Where the store has none,
// or one from before it went back, the tables of the reports are asked too.
func (s *Source) revision(ctx context.Context, from, to time.Time) (int64, error) {
	s.mu.Lock()
	highest, given := s.given[from.UnixMicro()]
	s.mu.Unlock()
	if given {
		return highest + 1, nil
	}
	highest, sure, err := s.remembered(from)
	if err != nil {
		return 0, err
	}
	if !sure {
		latest, err := s.newest(ctx)
		if err != nil {
			return 0, err
		}
		if from.After(latest) {
			return highest + 1, nil
		}
		written, err := s.written(ctx, from, to)
		if err != nil {
			return 0, err
		}
		highest = max(highest, written)
	}
	return highest + 1, nil
}

// remembered returns the highest revision that the store has of a time. It is not sure if there is none, or if the
// store has gone back since.
func (s *Source) remembered(from time.Time) (revision int64, sure bool, err error) {
	lineage := s.store.Lineage()
	err = s.store.Latest(func(r store.Reader) error {
		v, ok, err := r.Get(keyRevision(from))
		if err != nil || !ok {
			return err
		}
		if len(v) != 8+len(lineage) {
			return fault.New(fault.Corrupt, "the revision of %v has %d bytes", from, len(v))
		}
		revision, sure = int64(binary.BigEndian.Uint64(v)), string(v[8:]) == string(lineage[:])
		return nil
	})
	return revision, sure, err
}

// newest returns a time after which there are no reports. It spares windows that come in the order of time a question
// to the database, which costs more with each day of reports. The tables are asked once; later reports are ours, and
// move it on in memory.
func (s *Source) newest(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	latest := s.lastReport
	s.mu.Unlock()
	if latest != nil {
		return *latest, nil
	}
	var newest time.Time
	for _, t := range s.cfg.Reports.Tables() {
		q := connector.TableQuery{Table: t.Name, Time: report.Time, Columns: []string{report.Revision}}
		at, ok, err := s.cfg.Tables.Newest(ctx, q)
		if err != nil {
			return newest, fmt.Errorf("ask for the newest report: %w", err)
		}
		if ok && at.After(newest) {
			newest = at
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastReport = &newest
	return newest, nil
}

// written is the highest revision that the tables of the reports have of a time, 0 for none.
func (s *Source) written(ctx context.Context, from, to time.Time) (highest int64, err error) {
	for _, t := range s.cfg.Reports.Tables() {
		q := connector.TableQuery{Table: t.Name, Time: report.Time, Columns: []string{report.Time, report.Revision},
			From: from, To: to}
		err := s.cfg.Tables.Rows(ctx, q, func(values []any) error {
			at, _ := values[0].(time.Time)
			if revision, ok := values[1].(int64); ok && at.UnixMicro() == from.UnixMicro() {
				highest = max(highest, revision)
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("read the reports that are there: %w", err)
		}
	}
	return highest, nil
}

// OnTake is the part of a page's commit that remembers the revision of its report.
func (s *Source) OnTake(tx *store.Tx, p connector.Page, _ collect.Taken, _ collect.Done) error {
	c, ok := p.Carry.(carry)
	if !ok {
		return nil
	}
	lineage := tx.Lineage()
	tx.Set(keyRevision(c.from), store.Key(nil).U64(uint64(c.revision)).Raw(lineage[:]))
	return nil
}

// kept says that the revision of a page is durable.
func (s *Source) kept(at, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given[at] == revision {
		delete(s.given, at)
	}
}
