package whole

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver

	"holdfast/connector/wsprnet/spot"
	"holdfast/tests/testenv"
)

// columns are the 20 of a row, as every table has them.
const columns = "id, time, band, rx_sign, rx_lat, rx_lon, rx_loc, tx_sign, tx_lat, tx_lon, " +
	"tx_loc, distance, azimuth, rx_azimuth, frequency, power, snr, drift, version, code"

// texts are the columns of a row as text. Floats are written shortest, as a server does.
func texts(s spot.Spot) []string {
	f := func(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }
	n := func(v any) string { return fmt.Sprint(v) }
	return []string{n(s.ID), n(s.Time), n(s.Band), s.RxSign, f(s.RxLat), f(s.RxLon), s.RxLoc, s.TxSign,
		f(s.TxLat), f(s.TxLon), s.TxLoc, n(s.Distance), n(s.Azimuth), n(s.RxAzimuth), n(s.Frequency),
		n(s.Power), n(s.SNR), n(s.Drift), s.Version, n(s.Code)}
}

// same reports whether two texts of a column are one value.
func same(column int, a, b string) bool {
	if a == b {
		return true
	}
	switch column {
	case 4, 5, 8, 9:
		x, errX := strconv.ParseFloat(a, 32)
		y, errY := strconv.ParseFloat(b, 32)
		return errX == nil && errY == nil && float32(x) == float32(y)
	}
	return false
}

// compare fails the test unless the table, ordered by id, is exactly the rows that are wanted: none
// is missing, none is there twice, and no column differs.
func compare(t *testing.T, table string, got [][]string, want []spot.Spot) {
	t.Helper()
	faults := 0
	complain := func(format string, args ...any) {
		if faults++; faults <= 10 {
			t.Errorf(table+": "+format, args...)
		}
	}
	names := strings.Split(columns, ", ")
	i := 0
	for _, s := range want {
		w := texts(s)
		for i < len(got) && id(got[i]) < s.ID {
			complain("id %s is there twice, or is nobody's", got[i][0])
			i++
		}
		if i == len(got) || id(got[i]) != s.ID {
			complain("id %d is missing", s.ID)
			continue
		}
		for c := range w {
			if !same(c, got[i][c], w[c]) {
				complain("id %d: %s is %q, want %q", s.ID, names[c], got[i][c], w[c])
			}
		}
		i++
	}
	for ; i < len(got); i++ {
		complain("id %s is there twice, or is nobody's", got[i][0])
	}
	if faults > 0 {
		t.Errorf("%s: %d faults in %d rows, want %d rows", table, faults, len(got), len(want))
	}
}

func id(row []string) uint64 {
	n, _ := strconv.ParseUint(row[0], 10, 64)
	return n
}

var unescape = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\t`, "\t", `\n`, "\n")

// clickHouseRows reads the table of a server, ordered by id.
func clickHouseRows(t *testing.T, s *testenv.ClickHouseServer) (rows [][]string) {
	t.Helper()
	list := strings.Replace(columns, "time,", "toUInt32(time),", 1)
	text := s.Query(t, "SELECT "+list+" FROM wsprnet.spots ORDER BY id FORMAT TabSeparated")
	for line := range strings.Lines(text) {
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i := range row {
			row[i] = unescape.Replace(row[i])
		}
		rows = append(rows, row)
	}
	return rows
}

// rowCount asks a server how many rows and different ids it has; 0 while it does not answer, or has
// no table yet.
func rowCount(s *testenv.ClickHouseServer) (rows, ids int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := s.Try(ctx, "SELECT count(), uniqExact(id) FROM wsprnet.spots")
	if err != nil {
		return 0, 0
	}
	_, _ = fmt.Sscan(out, &rows, &ids)
	return rows, ids
}

// sqliteRows reads the database of an SQLite sink, ordered by id.
func (r *rig) sqliteRows(name string) (rows [][]string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", r.path(name+".sqlite"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	got, err := db.Query("SELECT " + columns + " FROM spots ORDER BY id")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = got.Close() }()
	for got.Next() {
		row := make([]string, 20)
		into := make([]any, len(row))
		for i := range row {
			into[i] = &row[i]
		}
		if err := got.Scan(into...); err != nil {
			r.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := got.Err(); err != nil {
		r.t.Fatal(err)
	}
	return rows
}
