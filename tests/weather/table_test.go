package weather

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

// odd are passes over data sets, each from a data directory of its own into one table, of which the spool alone would make
// other reports than the table.
var odd = []struct {
	name   string
	passes [][]string // zip code, state and temperature of each row
	want   map[string]float64
}{
	{"a row comes twice", [][]string{{"1,A,1", "1,A,1", "2,A,4"}}, map[string]float64{"A": 2.5}},
	{"another row with the same key", [][]string{{"1,A,1", "1,A,2", "1,A,2", "2,A,4"}}, map[string]float64{"A": 2.5}},
	{"a corrected data set", [][]string{{"1,A,1", "2,A,4"}, {"1,A,3", "2,A,6"}}, map[string]float64{"A": 2.5}},
	{"two halves", [][]string{{"1,A,1", "2,B,7"}, {"3,A,4"}}, map[string]float64{"A": 2.5, "B": 7}},
	{"the same once more", [][]string{{"1,A,1", "2,A,4"}, {"1,A,1", "2,A,4"}}, map[string]float64{"A": 2.5}},
}

// TestReportsAreOfTheTable: in one process, reports are those of the rows that the table has, whatever the spool has.
func TestReportsAreOfTheTable(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		s := bare(t)
		for i, c := range odd {
			path := s.path(fmt.Sprintf("%d.sqlite", i))
			s.fill(fmt.Sprint("s", i), "sqlite:"+path, c.passes)
			got := map[string]float64{}
			for _, row := range sqliteTables(path)(t, averagesTable) {
				got[row["state"].(string)] = row["avg_temp_c"].(float64)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("%s: the averages are %v, want %v", c.name, got, c.want)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		s, server := bare(t), testenv.Postgres(t)
		for i, c := range odd {
			server.Query(t, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
			s.fill(fmt.Sprint("p", i), server.DSN(server.Addr(), "postgres", ""), c.passes)
			got := map[string]float64{}
			for line := range strings.Lines(server.Query(t, "SELECT state, avg_temp_c FROM "+averagesTable)) {
				var state string
				var mean float64
				if _, err := fmt.Sscan(line, &state, &mean); err != nil {
					t.Fatalf("read %q: %v", line, err)
				}
				got[state] = mean
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("%s: the averages are %v, want %v", c.name, got, c.want)
			}
		}
	})
}

// fill sends data sets into one database, each from a data directory of its own. What the table refuses is a dead letter,
// which a pass ends with 3 for.
func (s *station) fill(name, database string, passes [][]string) {
	s.t.Helper()
	for i, rows := range passes {
		text := "time,zip_code,state,temp_c,pressure_mb,humidity,precip_mm\n"
		for _, row := range rows {
			text += "2023-09-19 00:00," + row + ",1000,5,0\n"
		}
		input := s.path(fmt.Sprintf("%s-%d.csv", name, i))
		if err := os.WriteFile(input, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		a := s.command("weather", "all", "--input", input, "--once", "--speedup", "max", "--database", database,
			"--data-dir", s.path(fmt.Sprintf("%s-%d", name, i)))
		if a.code != 0 && a.code != 3 {
			s.t.Fatalf("pass %d ended with %d:\n%s%s", i, a.code, a.out, a.err)
		}
	}
}

// TestAuditOfDoubles: a row that came twice is not missing because the table has it once, and a row that is gone is missing
// although another came twice.
func TestAuditOfDoubles(t *testing.T) {
	t.Parallel()
	s := bare(t)
	for i, c := range odd[:2] {
		name, path := fmt.Sprint("a", i), s.path(fmt.Sprintf("a%d.sqlite", i))
		s.fill(name, "sqlite:"+path, c.passes)
		audit := func(want int) {
			t.Helper()
			if a := s.command("audit", "--deep", "--data-dir", s.path(name+"-0")); a.code != want {
				t.Errorf("%s: audit ended with %d, want %d:\n%s%s", c.name, a.code, want, a.out, a.err)
			}
		}
		audit(0)
		db, err := sql.Open("sqlite", "file:"+path)
		if err == nil {
			_, err = db.Exec("DELETE FROM " + rowsTable + " WHERE zip_code = '2'")
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		audit(1)
	}
}
