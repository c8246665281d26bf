package testenv

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/klauspost/compress/zstd"
)

// request is one HTTP request as ClickHouse clients send it.
type request struct {
	method   string // "" is POST
	params   url.Values
	encoding string // Content-Encoding
	body     []byte
}

// answer is what came back.
type answer struct {
	status int
	code   string // X-ClickHouse-Exception-Code
	header http.Header
	body   []byte
}

func send(t testing.TB, s *ClickHouseServer, r request) answer {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method,
		s.URL()+"/?"+r.params.Encode(), bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.encoding != "" {
		req.Header.Set("Content-Encoding", r.encoding)
	}
	client := &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("X-ClickHouse-Exception-Code"), res.Header, body}
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		v.Set(pair[0], pair[1])
	}
	return v
}

// native is a block of one column n, at revision 0, as HTTP clients write it.
func native(t testing.TB, numbers ...uint64) []byte {
	t.Helper()
	column := proto.ColUInt64(numbers)
	var b proto.Buffer
	block := proto.Block{Columns: 1, Rows: len(numbers)}
	if err := block.EncodeRawBlock(&b, 0, []proto.InputColumn{{Name: "n", Data: column}}); err != nil {
		t.Fatal(err)
	}
	return b.Buf
}

func readNative(t testing.TB, b []byte) []uint64 {
	t.Helper()
	var column proto.ColUInt64
	var block proto.Block
	r := proto.NewReader(bytes.NewReader(b))
	if err := block.DecodeRawBlock(r, 0, proto.Results{{Name: "n", Data: &column}}); err != nil {
		t.Fatalf("read Native: %v", err)
	}
	return column
}

func blocks(t testing.TB, method compress.Method, b []byte) []byte {
	t.Helper()
	w := compress.NewWriter(compress.LevelZero, method)
	if err := w.Compress(b); err != nil {
		t.Fatal(err)
	}
	return w.Data
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	return z.EncodeAll(b, nil)
}

// What both engines take, in every packing.
func TestClickHouseInserts(t *testing.T) {
	const into = "insert into t (n) format Native"
	raw := native(t, 1, 2, 3)
	cases := map[string]request{
		"plain": {params: values("query", into), body: raw},
		"gzip":  {params: values("query", into), encoding: "gzip", body: gzipped(t, raw)},
		"lz4 blocks": {params: values("query", into, "decompress", "1"),
			body: blocks(t, compress.LZ4, raw)},
		"zstd blocks": {params: values("query", into, "decompress", "1"),
			body: blocks(t, compress.ZSTD, raw)},
		"query in the body": {body: append([]byte(into+"\n"), raw...)},
		"rows": {params: values("query", "INSERT INTO t FORMAT JSONEachRow"),
			body: []byte("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n")},
		"values": {body: []byte("insert into default.t values (1),\n(2),\n(3)")},
		"values beside": {params: values("query", "insert into `t` (n) values"),
			body: []byte("(1),(2)\n,(3)")},
		"select": {body: []byte("insert into t select number + 1 from numbers(3)")},
	}
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		s.Query(t, "create table t (n UInt64) engine = MergeTree order by n")
		for name, r := range cases {
			s.Query(t, "truncate table t")
			if got := send(t, s, r); got.status != http.StatusOK {
				t.Errorf("%s: status %d: %s", name, got.status, got.body)
			}
			if got := s.Query(t, "select count(), sum(n) from t"); got != "3\t6" {
				t.Errorf("%s: got %q", name, got)
			}
		}
	})
}

// What a 2018 server does not take and a modern one does.
func TestModernInserts(t *testing.T) {
	s := ModernClickHouse(t)
	s.Query(t, "create table t (n UInt64, at DateTime64(3) default now64(3), m Map(String, UInt8)) "+
		"engine = MergeTree order by n")
	got := send(t, s, request{params: values("query", "insert into t (n) format Native"),
		encoding: "zstd", body: zstandard(t, native(t, 1, 2, 3))})
	if got.status != http.StatusOK {
		t.Errorf("zstd: status %d: %s", got.status, got.body)
	}
	got = send(t, s, request{params: values("query",
		"insert into t (n) settings async_insert = 0 format Native"), body: native(t, 4)})
	if got.status != http.StatusOK {
		t.Errorf("settings in the text: status %d: %s", got.status, got.body)
	}
	if n := s.Query(t, "select count(), sum(n) from t"); n != "4\t10" {
		t.Errorf("got %q", n)
	}
	got = send(t, s, request{params: values("query", "select {x:UInt8} + 1", "param_x", "41")})
	if string(got.body) != "42\n" {
		t.Errorf("parameter: got %d %q", got.status, got.body)
	}
}

func TestClickHouseAnswers(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		plain := send(t, s, request{params: values("default_format", "Native",
			"query", "select toUInt64(number) as n from numbers(1000)")})
		if got := readNative(t, plain.body); len(got) != 1000 || got[999] != 999 {
			t.Errorf("Native: got %d numbers", len(got))
		}
		if got := s.Query(t, "select 1 as a, 'x' as b format JSONEachRow"); got != `{"a":1,"b":"x"}` {
			t.Errorf("format in the text: got %q", got)
		}
		got := send(t, s, request{params: values("query", "select count() ", "database", "system"),
			body: []byte("from numbers(7)")})
		if string(got.body) != "7\n" {
			t.Errorf("query in two parts: got %q", got.body)
		}
		s.Query(t, "create database other")
		s.Query(t, "create table other.here (n UInt8) engine = Memory")
		got = send(t, s, request{params: values("database", "other"), body: []byte("exists here")})
		if string(got.body) != "1\n" {
			t.Errorf("database: got %q", got.body)
		}
		if got := s.Query(t, "exists here"); got != "0" {
			t.Errorf("the database stayed: got %q", got)
		}
		show := "select value from system.settings where name = 'max_threads'"
		got = send(t, s, request{params: values("max_threads", "3"), body: []byte(show)})
		if string(got.body) != "3\n" {
			t.Errorf("setting: got %q", got.body)
		}
		if got := s.Query(t, show); got == "3" {
			t.Error("the setting stayed")
		}
	})
}

func TestModernPackedAnswers(t *testing.T) {
	s := ModernClickHouse(t)
	const query = "select toUInt64(number) as n from numbers(200000) settings max_block_size = 1000000"
	for _, method := range []string{"lz4", "zstd"} {
		packed := send(t, s, request{params: values("default_format", "Native", "compress", "1",
			"network_compression_method", method, "query", query)})
		plain, err := io.ReadAll(compress.NewReader(bytes.NewReader(packed.body)))
		if err != nil && !errors.Is(err, io.EOF) { // the reader's word for the end
			t.Fatalf("%q: read blocks: %v", method, err)
		}
		got := readNative(t, plain)
		if len(got) != 200000 || got[1] != 1 || len(packed.body) > len(plain)*3/4 {
			t.Errorf("%q: got %d numbers, %d bytes of %d",
				method, len(got), len(packed.body), len(plain))
		}
	}
}

// A trap of 18.16, kept here so that nobody falls into it: with compress=1 the last packed block
// of an answer is missing, with status 200; an answer of one block is empty. Packed inserts are
// whole.
func TestOldPackedAnswersAreCut(t *testing.T) {
	s := ClickHouse(t)
	p := values("query", "select number as n from numbers(1000)", "compress", "1")
	if got := send(t, s, request{params: p}); got.status != http.StatusOK || len(got.body) != 0 {
		t.Errorf("status %d, %d bytes: it no longer cuts packed answers", got.status, len(got.body))
	}
}

// Errors carry the engine's code and words, and leave the engine as it was.
func TestClickHouseErrors(t *testing.T) {
	cases := []struct {
		name    string
		request request
		code    string // in the body of either
		modern  int    // status
	}{
		{"no table", request{body: []byte("select * from nowhere")}, "60", 404},
		{"no database", request{params: values("database", "nope"),
			body: []byte("select 1")}, "81", 404},
		{"no setting", request{params: values("no_such_setting", "1"),
			body: []byte("select 1")}, "115", 404},
		{"no column", request{body: []byte("insert into t (zz) values (1)")}, "16", 404},
		{"syntax", request{body: []byte("selec 1")}, "62", 400},
		{"torn block", request{params: values("query", "insert into t format Native"),
			body: native(t, 1, 2, 3)[:20]}, "33", 400},
		{"torn packing", request{params: values("query", "insert into t format Native",
			"decompress", "1"), body: blocks(t, compress.LZ4, native(t, 1, 2, 3))[:30]}, "33", 400},
		{"get writes", request{method: http.MethodGet,
			params: values("query", "drop table t")}, "164", 500},
	}
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		s.Query(t, "create table t (n UInt64) engine = MergeTree order by n")
		for _, c := range cases {
			got := send(t, s, c.request)
			if got.status == http.StatusOK || !strings.Contains(string(got.body), "Code: "+c.code) {
				t.Errorf("%s: status %d, %q, want code %s", c.name, got.status, got.body, c.code)
			}
			// A server of 2018 has neither the header nor these statuses.
			if got.code != "" && (got.code != c.code || got.status != c.modern) {
				t.Errorf("%s: status %d, code %s, want %d and %s",
					c.name, got.status, got.code, c.modern, c.code)
			}
			if got := s.Query(t, "select count() from t"); got != "0" {
				t.Errorf("%s: left %s rows", c.name, got)
			}
		}
	})
}

// The modern engine drops a block whose token it knows, after kill -9 too.
func TestModernDeduplicates(t *testing.T) {
	s := ModernClickHouse(t)
	s.Query(t, "create table t (n UInt64) engine = MergeTree order by n "+
		"settings non_replicated_deduplication_window = 100")
	insert := func(token string, numbers ...uint64) {
		t.Helper()
		got := send(t, s, request{body: native(t, numbers...), params: values(
			"query", "insert into t format Native", "insert_deduplication_token", token)})
		if got.status != http.StatusOK {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
	}
	insert("a", 1, 2, 3)
	insert("a", 1, 2, 3)
	insert("b", 1, 2, 3) // the same rows as another block
	if got := s.Query(t, "select count() from t"); got != "6" {
		t.Errorf("rows: got %s, want 6", got)
	}
	s.Kill()
	s.Restart()
	insert("a", 1, 2, 3)
	insert("b", 1, 2, 3)
	if got := s.Query(t, "select count() from t"); got != "6" {
		t.Errorf("rows after kill -9: got %s, want 6", got)
	}
}

// A query id that is in use is refused, and what asks for running queries comes after them.
func TestClickHouseQueryIDs(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		slow := request{params: values("query_id", "one"),
			body: []byte("select sleep(2) format Null")}
		var wg sync.WaitGroup
		begun := time.Now()
		first := make(chan answer, 1)
		wg.Go(func() { first <- send(t, s, slow) })
		time.Sleep(500 * time.Millisecond)
		second := send(t, s, slow)
		wg.Wait()
		if got := <-first; got.status != http.StatusOK || time.Since(begun) < 2*time.Second {
			t.Errorf("first: status %d after %v: %s", got.status, time.Since(begun), got.body)
		}
		if second.status != http.StatusInternalServerError ||
			!strings.Contains(string(second.body), "Code: 216") {
			t.Errorf("second: status %d: %s", second.status, second.body)
		}
		slow.body = []byte("select 1")
		if got := send(t, s, slow); got.status != http.StatusOK {
			t.Errorf("the id again: status %d: %s", got.status, got.body)
		}
	})
}

// A sink's fence asks system.processes whether an insert is over; here every insert that was taken
// is, before that is read.
func TestModernFence(t *testing.T) {
	s := ModernClickHouse(t)
	s.Query(t, "create table t (n UInt64) engine = MergeTree order by n")
	var wg sync.WaitGroup
	wg.Go(func() { send(t, s, request{body: []byte("select sleep(0.5) format Null")}) })
	time.Sleep(100 * time.Millisecond)
	for i := range 10 {
		wg.Go(func() {
			send(t, s, request{params: values("query", "insert into t format Native"),
				body: native(t, uint64(i))})
		})
	}
	time.Sleep(200 * time.Millisecond)
	got := s.Query(t, "select count(), (select count() >= 0 from system.processes) from t")
	if got != "10\t1" {
		t.Errorf("rows when system.processes was read: got %q, want 10", got)
	}
	wg.Wait()
}

// The largest blocks that Holdfast sends.
func TestModernLargeInsert(t *testing.T) {
	s := ModernClickHouse(t)
	s.Query(t, "create table t (n UInt64) engine = MergeTree order by n")
	numbers := make([]uint64, 500_000)
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	begun := time.Now()
	got := send(t, s, request{params: values("query", "insert into t format Native",
		"decompress", "1"), body: blocks(t, compress.LZ4, native(t, numbers...))})
	t.Logf("%d rows in %v", len(numbers), time.Since(begun))
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	if got, want := s.Query(t, "select count(), max(n) from t"), fmt.Sprintf("%d\t%d",
		len(numbers), len(numbers)-1); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// One part: a block was neither split nor sent twice.
	if got := s.Query(t, "select count() from system.parts where table = 't'"); got != "1" {
		t.Errorf("parts: got %s, want 1", got)
	}
}
