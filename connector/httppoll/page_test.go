package httppoll

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Every way in which a value does not fit is told by column and reason.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		column Column
		value  string // JSON
		want   string // the row's value, or the reason
	}{
		{Column{Type: "int64"}, `3.5`, "is 3.5, want a whole number"},
		{Column{Type: "int64"}, `9223372036854775808`, "is out of range"},
		{Column{Type: "int64"}, `"7"`, "is text, want a number"},
		{Column{Type: "int64", Convert: true}, `"7"`, `7`},
		{Column{Type: "int64"}, `null`, "is missing"},
		{Column{Type: "int64", Optional: true}, `null`, `null`},
		{Column{Type: "uint64"}, `18446744073709551615`, `18446744073709551615`},
		{Column{Type: "uint64"}, `-1`, "is out of range"},
		{Column{Type: "float64"}, `1e999`, "is out of range"},
		{Column{Type: "float64", Convert: true}, `"1.5"`, `1.5`},
		{Column{Type: "float64", Convert: true}, `"NaN"`, "is not a finite number"},
		{Column{Type: "float64", From: "nan"}, `1`, "is not a finite number"},
		{Column{Type: "float64", From: ".v, .v"}, `1`, "several values"},
		{Column{Type: "float64", From: ".v.w"}, `1`, "looks for w in a number"},
		{Column{Type: "text"}, `1`, "is a number, want text"},
		{Column{Type: "text", Convert: true}, `1.50`, `"1.50"`},
		{Column{Type: "text"}, `""`, `""`},
		{Column{Type: "bool"}, `1`, "is a number, want a truth value"},
		{Column{Type: "bool", Convert: true}, `1`, `true`},
		{Column{Type: "bool", Convert: true}, `"false"`, `false`},
		{Column{Type: "json"}, `{"b":[1.50],"a":null}`, `"{\"a\":null,\"b\":[1.50]}"`},
		{Column{Type: "time"}, `"2024-05-01T10:00:00.123456789+02:00"`, `"2024-05-01T08:00:00.123456Z"`},
		{Column{Type: "time"}, `"yesterday"`, `is "yesterday", want a time like`},
		{Column{Type: "time"}, `17`, "is a number, want a time as text"},
		{Column{Type: "time", Format: "unix"}, `1714550400.5`, `"2024-05-01T08:00:00.5Z"`},
		{Column{Type: "time", Format: "unix_ms"}, `1714550400123`, `"2024-05-01T08:00:00.123Z"`},
		{Column{Type: "time", Format: "unix"}, `1714550400123`, "is out of range"},
		{Column{Type: "time", Format: "unix"}, `"1714550400"`, "is text, want a number"},
		{Column{Type: "time", Format: "2006-01-02"}, `"2024-05-01"`, `"2024-05-01T00:00:00Z"`},
	} {
		k := idConfig(serve(t, text(`[{"id":2,"v":`+c.value+`}]`)))
		c.column.Name = "v"
		k.Columns = []Column{k.Columns[0], c.column}
		p := fetch(t, open(t, k), nil)
		got := append(rows(t, p), "")
		if len(p.Rejected) > 0 {
			rej := p.Rejected[0]
			if rej.Key != "2" || string(rej.Raw) != `{"id":2,"v":`+c.value+`}` {
				t.Errorf("%s as %+v: got reject %+v", c.value, c.column, rej)
			}
			got[0] = rej.Reason
		}
		all := strings.Join(got, " ")
		if !strings.Contains(all, c.want) {
			t.Errorf("%s as %+v: got %s, want %s", c.value, c.column, all, c.want)
		}
	}
}

func TestBadKeys(t *testing.T) {
	p := fetch(t, open(t, idConfig(serve(t, text(`[{"id":-1},{"id":"x"},{},7,{"id":4}]`)))), nil)
	same(t, "rows", rows(t, p), `[{"id":4,"v":null}]`)
	var reasons []string
	for _, r := range p.Rejected {
		reasons = append(reasons, r.Key+strings.TrimPrefix(r.Reason, "column "))
	}
	same(t, "reasons", reasons, []string{"id: a key can't be below 0", "id: is text, want a number",
		"id: is missing", "id: looks for id in a number; column v: looks for v in a number"})
}

func TestJoinedKey(t *testing.T) {
	c := idConfig(serve(t, text(`[{"id":1,"s":"a|b"},{"id":1,"s":"a\\|b"}]`)))
	c.Columns, c.Key = append(c.Columns, Column{Name: "s", Type: "text"}), "s, id"
	s := open(t, c)
	got := rows(t, fetch(t, s, nil))
	if !strings.Contains(got[0], `"key":"a\\|b|1"`) || !strings.Contains(got[1], `"key":"a\\\\\\|b|1"`) {
		t.Errorf("got %v", got)
	}
	if s.Schema().Field(s.Schema().Key).Name != "key" {
		t.Errorf("got the schema %v", s.Schema())
	}
}

func TestExtraColumns(t *testing.T) {
	c := idConfig(serve(t, text(`[{"id":1,"i":1,"f":1,"b":true,"m":1,"o":{"x":1},"n":null},
		{"id":2,"i":-2,"f":2.5,"b":false,"m":"x","big":9007199254740993},{"id":3,"big":1.5,"v":"bad"}]`)))
	c.Extra = columns.ExtraKeep
	s := open(t, c)
	p := fetch(t, s, nil)
	var names []string
	for i, f := range p.Rows.Schema().Fields() {
		if record.IsOptional(f) != (i >= len(s.Schema().Fields())) {
			t.Errorf("column %s: optional %v", f.Name, record.IsOptional(f))
		}
		names = append(names, f.Name+" "+f.Type.Name())
	}
	same(t, "columns", names, "[id int64 v float64 b bool big int64 f float64 i int64 m utf8 o utf8]")
	same(t, "rows", rows(t, p)[0],
		`{"b":true,"big":null,"f":1,"i":1,"id":1,"m":"1","o":"{\"x\":1}","v":null}`)
	if sch, err := record.SchemaOf(p.Rows.Schema()); err != nil || sch.Key != 0 {
		t.Errorf("the marks are lost: %+v %v", sch, err)
	}
}

// A name that a column has already does not make another column of that name.
func TestExtraNameTaken(t *testing.T) {
	c := idConfig(serve(t, text(`[{"n":1,"id":"x"}]`)))
	c.Columns[0].From, c.Extra = ".n", columns.ExtraKeep
	same(t, "rows", rows(t, fetch(t, open(t, c), nil)), `[{"id":1,"id_":"x","v":null}]`)
}

// One wrong year must not silence a feed that is asked by time.
func TestTimeAheadDoesNotMoveTheCursor(t *testing.T) {
	now := time.Now().UTC().Format(time.RFC3339)
	c := idConfig(serve(t, text(fmt.Sprintf(`[{"id":1,"t":%q},{"id":2,"t":"2999-01-01T00:00:00Z"}]`, now))))
	c.Columns, c.Cursor, c.Time = append(c.Columns, Column{Name: "t", Type: "time"}), Cursor{Column: "t"}, "t"
	p := fetch(t, open(t, c), nil)
	if pos, _ := readPosition(p.Cursor); pos.Cursor != now || p.Notes["cursor_ahead"] != 1 ||
		p.Rows.NumRows() != 2 {
		t.Errorf("got cursor %s, notes %v, %d rows", p.Cursor, p.Notes, p.Rows.NumRows())
	}
}

func TestLines(t *testing.T) {
	c := idConfig(serve(t, text("{\"id\":1}\n\nnonsense\n{\"id\":2}")))
	c.Format = formatJSONL
	p := fetch(t, open(t, c), nil)
	same(t, "rows", rows(t, p), `[{"id":1,"v":null} {"id":2,"v":null}]`)
	if len(p.Rejected) != 1 || string(p.Rejected[0].Raw) != "nonsense" {
		t.Errorf("got rejects %+v", p.Rejected)
	}
	c.URL = serve(t, text("{\"id\":1}\n{\"id\":")) + "/{{.Cursor}}"
	fails(t, open(t, c), nil, fault.Transient, "cut short in its last line")
}

func TestCSV(t *testing.T) {
	c := idConfig(serve(t, text("\uFEFFid;v;\"w;x\"\r\n1;\"2.5\";\r\n2;3\r\n3;x\"y;\r\n4;;\"a\r\nb\"\r\n")))
	c.Format, c.Delimiter = formatCSV, ";"
	c.Columns = append(c.Columns, Column{Name: "w;x", Type: "text", Optional: true})
	p := fetch(t, open(t, c), nil)
	same(t, "rows", rows(t, p), `[{"id":1,"v":2.5,"w;x":null} {"id":4,"v":null,"w;x":"a\nb"}]`)
	var got []string
	for _, r := range p.Rejected {
		got = append(got, fmt.Sprintf("%q %s", r.Raw, r.Reason))
	}
	same(t, "rejects", got, `["id;v;\"w;x\"\r\n2;3\r\n" the line has 2 fields, want 3 `+
		`"id;v;\"w;x\"\r\n3;x\"y;\r\n" the line is no csv: bare " in non-quoted-field]`)
	for body, words := range map[string]string{"id;v\n1;2\n3": "cut short", "id;id\n": "names \"id\" twice",
		"": "cut short", "id;v\n1;\"2\n3;4\n": "cut short"} {
		c.URL = serve(t, text(body)) + "/{{.Cursor}}"
		if _, err := open(t, c).Fetch(t.Context(), connector.Request{}); err == nil ||
			!strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v, want %q", body, err, words)
		}
	}
}
