package clickhouse

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/goccy/go-yaml"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/tests/testenv"
)

func TestConfigFromYAML(t *testing.T) {
	const text = `
url: "http://db:8123"
database: wsprnet
table: spots
username: writer
password: 0123
create: true
order_by: [time, id]
aliases: {Spotnum: id}
timeout: 5s
grace: 1s
`
	var c Config
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("validate: %v", err)
	}
	if c.Password.Reveal() != "0123" || c.Timeout != 5*time.Second || c.Aliases["Spotnum"] != "id" {
		t.Errorf("decoded: got %+v", c)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want []string // all of them in one error; none for a good one
	}{
		{"least", Config{Table: "spots"}, nil},
		{"path", Config{Table: "spots", URL: "https://db.example.org/clickhouse"}, nil},
		{"nothing", Config{}, []string{"table: missing"}},
		{"no scheme", Config{Table: "t", URL: "db:8123"}, []string{"url:"}},
		{"native port's scheme", Config{Table: "t", URL: "tcp://db:9000"}, []string{"url: want http"}},
		{"password in the address", Config{Table: "t", URL: "http://u:hush@db:8123"},
			[]string{"username and password"}},
		{"bad address", Config{Table: "t", URL: "http://u:hush@db:x"}, []string{"url:"}},
		{"settings in the address", Config{Table: "t", URL: "http://db:8123/?user=u&password=hush"},
			[]string{"no ?"}},
		{"password alone", Config{Table: "t", Password: "hush"}, []string{"username: missing"}},
		{"all at once", Config{URL: "ftp://x", Compression: "gzip", Timeout: -1, OrderBy: []string{"a"}},
			[]string{"url:", "table:", `compression: got "gzip"`, "timeout:", "create: true"}},
	} {
		_, err := Open(c.cfg)
		if len(c.want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		wantFault(t, c.name, err, fault.Permanent, c.want...)
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error shows the password: %v", c.name, err)
		}
	}
}

func TestCreate(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL(), func(c *Config) {
			c.Database, c.Table = "strange 'db", "some table"
			c.PartitionBy = "toYYYYMMDD(time)"
			c.OrderBy = []string{"time", "id"}
			c.Aliases = map[string]string{"Spotnum": "id", "MHz": "frequency / 1e6"}
		})
		prepare(t, s)
		prepare(t, s) // again is no mistake
		write(t, s, delivery(t, 1, spotBatch(7, noon, 1)))
		if got := ch.Query(t, "SELECT Spotnum, toInt32(MHz) FROM `strange 'db`.`some table`"); got != "7\t14" {
			t.Errorf("aliases: got %q, want 7 and 14", got)
		}
		got := ch.Query(t, "SELECT partition_key, sorting_key FROM system.tables WHERE name = 'some table'")
		if got != "toYYYYMMDD(time)\ttime, id" {
			t.Errorf("keys: got %q", got)
		}
		if p := s.schema.parts; !p.known || p.unit != "toYYYYMMDD" {
			t.Errorf("partitions: got %+v", p)
		}
	})
}

// TestCreateFineTimes: the old server has no type for times finer than a second, and people are told what to
// do about it.
func TestCreateFineTimes(t *testing.T) {
	fine := record.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us}}, "id", "at")
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		err := open(t, ch.URL()).Prepare(soon(t), fine)
		if err != nil && !strings.Contains(fault.HintOf(err), "create the table yourself") {
			t.Errorf("got %v with the hint %q, want what to do", err, fault.HintOf(err))
		}
		if old := strings.HasSuffix(t.Name(), "18.16"); old != (err != nil) {
			t.Errorf("got %v", err)
		}
	})
}
