package clickhouse

import (
	"strings"
	"testing"
)

func TestBadQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT 1": "",
		"select * from t where x = ';--' -- why\n and 1":       "",
		"WITH 1 AS a SELECT a":                                 "",
		"(SELECT 1) UNION ALL (SELECT 2)":                      "",
		"-- what it is\n# so\n/* ; ( */ SELECT `a\"--` FROM t": "",
		"SELECT 'it''s', 'a\\'--', \"x;\"":                     "",
		"SELECT a, b -- two of them":                           "ends within a comment",
		"SELECT a # one":                                       "ends within a comment",
		"SELECT a /* one":                                      "no */",
		"SELECT 'a":                                            "quotes",
		"SELECT 'a\\'":                                         "quotes",
		"SELECT 1; SELECT 2":                                   "semicolon",
		"SELECT 1) FROM (SELECT 2":                             ") without",
		"SELECT (1":                                            "( without",
		"INSERT INTO t SELECT 1":                               "want a SELECT",
		"DROP TABLE t":                                         "want a SELECT",
		"SHOW TABLES":                                          "want a SELECT",
		"'SELECT' 1":                                           "want a SELECT",
		"WITH 1 AS a":                                          "want a SELECT",
		"-- SELECT 1\nOPTIMIZE TABLE t":                        "want a SELECT",
		" ":                                                    "want a SELECT",
	} {
		if got := badQuery(query); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("badQuery(%q) = %q, want %q in it", query, got, want)
		}
	}
}
