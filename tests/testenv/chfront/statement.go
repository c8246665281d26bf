package main

import "regexp"

// statement is one query as the engine is to see it.
type statement struct {
	sql     string
	writes  bool // it may change something
	hasData bool // an INSERT with data beside its text
	data    []byte
	target  int    // where in sql the INSERT's table and columns end
	format  string // added when the statement names none
}

var (
	insertTarget = regexp.MustCompile("(?is)^\\s*insert\\s+into\\s+(?:table\\s+)?" +
		"(?:[\\w.]+|`[^`]*`|\"[^\"]*\")+(?:\\s*\\([^)]*\\))?")
	insertFormat = regexp.MustCompile(`(?is)^(?:\s+settings\s+[^()]*?)?\s+format\s+\w+`)
	insertValues = regexp.MustCompile(`(?is)^\s*values`)
	reads        = regexp.MustCompile(
		`(?is)^\s*\(*\s*(select|show|desc|describe|exists|explain|with)\b`)
)

// parseStatement puts a request's query parameter and body together: the body is the query when
// the parameter is empty, else the data. An INSERT's data may also follow its text.
func parseStatement(query string, body []byte) statement {
	s := statement{sql: query, data: body, hasData: len(body) > 0}
	if query == "" {
		s = statement{sql: string(body)}
	}
	s.writes = !reads.MatchString(s.sql)
	target := insertTarget.FindStringIndex(s.sql)
	if target == nil {
		if s.hasData { // a query in two parts, as ClickHouse takes it
			s.sql, s.data, s.hasData = s.sql+"\n"+string(body), nil, false
		}
		return s
	}
	s.target = target[1]
	rest := s.sql[s.target:]
	if values := insertValues.FindStringIndex(rest); values != nil {
		s.cut(s.target, s.target+values[1])
		s.format = " FORMAT Values"
	} else if format := insertFormat.FindStringIndex(rest); format != nil {
		s.cut(s.target+format[1], s.target+format[1])
	}
	return s
}

// cut ends the statement's text at one place and takes what follows another as the start of its
// data.
func (s *statement) cut(end, data int) {
	inline := s.sql[data:]
	s.sql = s.sql[:end]
	// One line end, or the blanks up to it, part the text from the data; the rest is data.
	inline = regexp.MustCompile(`^[ \t;]*\r?\n|^[ \t;]+`).ReplaceAllString(inline, "")
	s.data = append([]byte(inline), s.data...)
	s.hasData = true
}

// fromFile is the statement with its data read from a file.
func (s *statement) fromFile(name string) string {
	return s.sql[:s.target] + " FROM INFILE " + quote(name) + " COMPRESSION 'none'" +
		s.sql[s.target:] + s.format
}
