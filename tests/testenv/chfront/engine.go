package main

import (
	"fmt"
	"regexp"
	"strconv"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine is the one ClickHouse of this process. It is not safe for concurrent use.
type engine struct {
	conn *unsafe.Pointer // chdb_connection*

	closeConn   func(conn *unsafe.Pointer)
	query       func(conn unsafe.Pointer, q *byte, n uintptr, f *byte, fn uintptr) unsafe.Pointer
	destroy     func(result unsafe.Pointer)
	buffer      func(result unsafe.Pointer) *byte
	length      func(result unsafe.Pointer) uintptr
	failure     func(result unsafe.Pointer) string
	rowsWritten func(result unsafe.Pointer) uint64
}

// engineError is what the engine refused, in its own words.
type engineError struct {
	code int // ClickHouse's error code, 0 if it gave none
	text string
}

func (e *engineError) Error() string { return e.text }

var errorCode = regexp.MustCompile(`Code: (\d+)\.`)

// openEngine loads the library and opens, or makes, the database in dir.
func openEngine(lib, dir string) (*engine, error) {
	handle, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("load engine: %w", err)
	}
	var connect func(argc int, argv []*byte) *unsafe.Pointer
	e := &engine{}
	for name, f := range map[string]any{
		"chdb_connect":              &connect,
		"chdb_close_conn":           &e.closeConn,
		"chdb_query_n":              &e.query,
		"chdb_destroy_query_result": &e.destroy,
		"chdb_result_buffer":        &e.buffer,
		"chdb_result_length":        &e.length,
		"chdb_result_error":         &e.failure,
		"chdb_result_rows_written":  &e.rowsWritten,
	} {
		purego.RegisterLibFunc(f, handle, name)
	}
	e.conn = connect(2, []*byte{cString("clickhouse"), cString("--path=" + dir)})
	if e.conn == nil || *e.conn == nil {
		return nil, fmt.Errorf("open database %s: the engine refused", dir)
	}
	return e, nil
}

func cString(s string) *byte {
	b := append([]byte(s), 0)
	return &b[0]
}

// run runs one statement and returns its answer in the given format, unless the statement names
// another, and how many rows it wrote.
func (e *engine) run(sql, format string) ([]byte, uint64, error) {
	r := e.query(*e.conn, cString(sql), uintptr(len(sql)), cString(format), uintptr(len(format)))
	if r == nil {
		return nil, 0, &engineError{text: "the engine gave no result"}
	}
	defer e.destroy(r)
	if text := e.failure(r); text != "" {
		failed := &engineError{text: text}
		if m := errorCode.FindStringSubmatch(text); m != nil {
			failed.code, _ = strconv.Atoi(m[1])
		}
		return nil, 0, failed
	}
	// The engine owns its buffer until destroy.
	out := append([]byte(nil), unsafe.Slice(e.buffer(r), e.length(r))...)
	return out, e.rowsWritten(r), nil
}

func (e *engine) close() { e.closeConn(e.conn) }
