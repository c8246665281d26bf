package sqlite

import (
	"context"
	"database/sql"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// file is a database file as the tests see it, beside the sink.
type file struct {
	t    testing.TB
	path string
	db   *sql.DB

	cutAfter atomic.Int64 // statements until a write breaks; negative: never
	lose     atomic.Bool  // the next answer is lost
	locker   *sql.Conn    // holds the write lock
}

func newFile(t testing.TB) *file {
	t.Helper()
	f := &file{t: t, path: filepath.Join(t.TempDir(), "new", "dir", "spots #1?.db")}
	f.cutAfter.Store(-1)
	db, err := openBeside(f.path)
	if err != nil {
		t.Fatalf("open beside the sink: %v", err)
	}
	f.db = db
	t.Cleanup(func() { _ = db.Close() })
	return f
}

// move gives the database another path, at which there is none yet.
func (f *file) move(path string) {
	f.t.Helper()
	_ = f.db.Close()
	db, err := openBeside(path)
	if err != nil {
		f.t.Fatalf("open beside the sink: %v", err)
	}
	f.path, f.db = path, db
	f.t.Cleanup(func() { _ = db.Close() })
}

func openBeside(path string) (*sql.DB, error) { return sql.Open("sqlite", dsn(path)) }

// sink returns a sink for the file that the tests can break.
func (f *file) sink(cfg Config) (*Sink, error) {
	cfg.Path = f.path
	if cfg.Busy == 0 {
		cfg.Busy = 200 * time.Millisecond
	}
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	s.broken = func(at stage) error {
		switch {
		case at == afterCommit && f.lose.Swap(false):
			return fault.New(fault.Transient, "answer lost on purpose")
		case at == midRows && f.cutAfter.Load() >= 0 && f.cutAfter.Add(-1) < 0:
			return fault.New(fault.Transient, "cut on purpose")
		}
		return nil
	}
	return s, nil
}

// lock takes the write lock as another program would.
func (f *file) lock() error {
	ctx := context.Background()
	c, err := f.db.Conn(ctx)
	if err != nil {
		return err
	}
	f.locker = c
	_, err = c.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

func (f *file) unlock() error {
	_, err := f.locker.ExecContext(context.Background(), "ROLLBACK")
	_ = f.locker.Close()
	return err
}

// spots reads the table row by row.
func (f *file) spots() ([]sinktest.Spot, error) {
	if _, err := os.Stat(f.path); os.IsNotExist(err) {
		return nil, nil
	}
	rows, err := f.db.Query(`SELECT id, time, band, rx_sign, rx_lat, rx_lon, rx_loc, tx_sign, tx_lat,
		tx_lon, tx_loc, distance, azimuth, rx_azimuth, frequency, power, snr, drift, version, code
		FROM spots`)
	if err != nil {
		if strings.Contains(err.Error(), "no such table") {
			return nil, nil
		}
		return nil, err
	}
	defer rows.Close()
	var out []sinktest.Spot
	for rows.Next() {
		var s sinktest.Spot
		if err := rows.Scan(&s.ID, &s.Time, &s.Band, &s.RxSign, &s.RxLat, &s.RxLon, &s.RxLoc, &s.TxSign,
			&s.TxLat, &s.TxLon, &s.TxLoc, &s.Distance, &s.Azimuth, &s.RxAzimuth, &s.Frequency, &s.Power,
			&s.SNR, &s.Drift, &s.Version, &s.Code); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func (f *file) remove(ids []uint64) error {
	for _, id := range ids {
		if _, err := f.db.Exec("DELETE FROM spots WHERE id = ?", int64(id)); err != nil {
			return err
		}
	}
	return nil
}

func TestContract(t *testing.T) {
	const noServer = "a file has no server"
	sinktest.Run(t, func(t *testing.T) *sinktest.Target {
		f := newFile(t)
		disk := testenv.SmallDisk(t, 256<<20)
		f.move(filepath.Join(disk, "new", "dir", "spots #1?.db"))
		return &sinktest.Target{
			New:        func() (connector.Sink, error) { return f.sink(Config{}) },
			Rows:       f.spots,
			Timeout:    2 * time.Second,
			Recovers:   2 * time.Minute,
			Large:      100_000 / slower,
			Histories:  max(4, 20/slower),
			Outage:     sinktest.Hook{Do: f.lock, Undo: f.unlock},
			Restart:    sinktest.Hook{Lacks: noServer},
			Freeze:     sinktest.Hook{Lacks: noServer + "; a lock that is held is the outage here"},
			Slow:       sinktest.Hook{Lacks: noServer},
			LostAnswer: sinktest.Hook{Do: func() error { f.lose.Store(true); return nil }},
			Cut: func(bytes int64) sinktest.Hook {
				return sinktest.Hook{
					Do:   func() error { f.cutAfter.Store(bytes / 4000); return nil },
					Undo: func() error { f.cutAfter.Store(-1); return nil },
				}
			},
			Child:    sinktest.Child{Args: []string{f.path}},
			Whole:    true,
			Pressure: sinktest.FullDisk(t, disk),
			Forget:   sinktest.Hook{Lacks: "the delivered set stands beside the rows"},
			Double:   sinktest.Deletion{Lacks: "the key is unique"},
			Delete:   sinktest.Deletion{Do: f.remove},
			Denied:   sinktest.Variant{Lacks: "a file has no credentials"},
			Unfit: sinktest.Variant{Column: "frequency", New: func() (connector.Sink, error) {
				s, err := f.sink(Config{Table: "narrow"})
				if err != nil {
					return nil, err
				}
				ddl := spotsKey().CreateTable(quote("narrow"), quote, declared)
				_, err = f.db.Exec(strings.Replace(ddl, `"frequency" INTEGER`, `"frequency" TEXT`, 1))
				return s, err
			}},
			Refused: sinktest.Rows{Spots: outOfRange()},
			Poison:  sinktest.Rows{Lacks: "each refused row is found and told alone"},
		}
	})
}

// outOfRange are spots that SQLite can't hold.
func outOfRange() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 3)
	spots[0].ID = math.MaxInt64 + 1
	spots[1].Frequency = math.MaxUint64
	spots[2].TxLat = float32(math.NaN())
	return spots
}
