// Package cachefile reads and writes the files in which the old WSPRNET scraper kept spots while
// its database was away, so that what it left behind is not lost, and its users' tools go on.
//
// There are two kinds, both JSON objects in files named spots_YYYYMMDD_HHMMSS_micro.json:
//
//	{"timestamp": "20251110_142345_123456", "spot_count": 2, "spots": [[id, time, ...20], ...]}
//	{"timestamp": ..., "download_time": ..., "first_spotnum": n, "last_spotnum": n,
//	 "spot_count": 2, "spots": [{"Spotnum": "...", ...15}, ...]}
//
// Read takes either, or a mixture, and whatever whole spots a damaged or half-written file holds;
// everything else in it is a Reject, so that nothing of a file is dropped in silence and it may be
// deleted once both are kept elsewhere. A file that it can't take whole gives an error: it stays.
package cachefile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/spot"
)

const (
	// largest is the most that Read takes: a hundred times what the scraper ever wrote.
	largest = 1 << 30
	// before is the most that may stand in front of the spots.
	before = 64 << 10
)

// Result is what a file holds.
type Result struct {
	Rows     arrow.RecordBatch
	Rejected []connector.Reject
	Notes    map[string]int64
	// Count is the file's own spot_count, -1 if it does not say.
	Count int64
	// Timestamp is the file's own, "" if it does not say.
	Timestamp string
	// Damaged says what is wrong with the file as a whole, "" if nothing is.
	Damaged string
}

// header is all of a file but its spots.
type header struct {
	Timestamp string `json:"timestamp"`
	SpotCount *int64 `json:"spot_count"`
}

var spotsKey = regexp.MustCompile(`"spots"\s*:\s*\[`)

// Read reads a file of either kind. An error means that some of it could not be read at all; what
// was read before comes with it, and the file must stay.
func Read(r io.Reader) (Result, error) {
	br := bufio.NewReaderSize(r, before)
	head, err := br.Peek(before)
	if err != nil && !errors.Is(err, io.EOF) {
		return empty(""), fmt.Errorf("read cache file: %w", err)
	}
	start := bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n")
	switch {
	case len(start) == 0:
		return empty("it is empty"), nil
	case start[0] == '[':
		return items(br, nil)
	case start[0] != '{':
		return empty(""), fault.New(fault.Corrupt,
			"read cache file: it begins with %q, which is no JSON object", start[:min(len(start), 20)])
	}
	at := spotsKey.FindIndex(head)
	if at == nil {
		if len(head) == before || json.Valid(head) {
			return empty(""), fault.New(fault.Corrupt, "read cache file: it has no spots")
		}
		res := empty("it was cut before its spots")
		res.Rejected = []connector.Reject{{Raw: bytes.Clone(head),
			Reason: "a cache file: " + res.Damaged}}
		return res, nil
	}
	prefix := bytes.Clone(head[:at[0]])
	if _, err := br.Discard(at[1] - 1); err != nil {
		return empty(""), fmt.Errorf("read cache file: %w", err)
	}
	return items(br, prefix)
}

func empty(damaged string) Result {
	return Result{Rows: new(spot.Builder).Batch(), Notes: map[string]int64{}, Count: -1,
		Damaged: damaged}
}

// items reads the array of spots; prefix is what stands before it in the object, nil without one.
func items(r io.Reader, prefix []byte) (Result, error) {
	p := spot.Parse(r, spot.Limits{Bytes: largest, Rejected: 1 << 20, Broken: 1 << 20, Arrays: true})
	res := Result{Rows: p.Rows, Rejected: p.Rejected, Notes: p.Notes, Count: -1}
	delete(res.Notes, "trailing_bytes")
	switch {
	case p.ReadErr != nil:
		return res, fmt.Errorf("read cache file: %w", p.ReadErr)
	case p.Limited:
		return res, fault.New(fault.Full,
			"read cache file: it is larger than %d bytes or all garbage", int64(largest))
	}
	if len(p.Tail) > 0 {
		res.Rejected = append(res.Rejected, connector.Reject{Raw: p.Tail,
			Reason: "cut: the file ends within it"})
	}
	if !p.Whole {
		res.Damaged = "it was cut within its spots"
	}
	if prefix == nil {
		return res, nil
	}
	var h header
	doc := append(append(prefix, `"spots":null`...), p.Trailing...)
	if json.Unmarshal(doc, &h) != nil && res.Damaged == "" {
		res.Damaged = "what stands around its spots is no JSON"
	}
	// What the part in front says, if what is behind was cut.
	_ = json.Unmarshal(append(prefix, `"spots":null}`...), &h)
	res.Timestamp = h.Timestamp
	if h.SpotCount == nil {
		return res, nil
	}
	res.Count = *h.SpotCount
	have := res.Rows.NumRows() + int64(len(res.Rejected))
	if have < res.Count {
		res.Notes["missing_spots"] = res.Count - have
		if res.Damaged == "" {
			res.Damaged = fmt.Sprintf("it says that it has %d spots, and has %d", res.Count, have)
		}
	}
	return res, nil
}

// stampLayout is the time in a file's name and in its timestamp, before the microseconds.
const stampLayout = "20060102_150405"

func stamp(t time.Time) string {
	return fmt.Sprintf("%s_%06d", t.Format(stampLayout), t.Nanosecond()/1000)
}

// Name returns the name of a file written at t.
func Name(t time.Time) string { return "spots_" + stamp(t) + ".json" }

// Pattern matches the names of cache files, as filepath.Match does.
const Pattern = "spots_*.json"

// In lists the cache files of a directory, oldest first by their names. The directory's name may hold any
// characters, those of a pattern too.
func In(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if ok, _ := filepath.Match(Pattern, e.Name()); ok && !e.IsDir() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, err
}

// Write writes a file: rows of 20 columns or, raw, the later kind with the feed's own objects.
func Write(w io.Writer, rows arrow.RecordBatch, at time.Time, raw bool) error {
	bw := bufio.NewWriterSize(w, 256<<10)
	_, _ = fmt.Fprintf(bw, "{\"timestamp\": %q, ", stamp(at))
	if raw {
		lo, hi := uint64(0), uint64(0)
		spot.Read(rows, func(s *spot.Spot) bool {
			if lo == 0 || s.ID < lo {
				lo = s.ID
			}
			hi = max(hi, s.ID)
			return true
		})
		_, _ = fmt.Fprintf(bw, "\"download_time\": %q, \"first_spotnum\": %d, \"last_spotnum\": %d, ",
			at.Format(time.RFC3339), lo, hi)
	}
	_, _ = fmt.Fprintf(bw, "\"spot_count\": %d, \"spots\": [", rows.NumRows())
	var line []byte
	sep := "\n"
	spot.Read(rows, func(s *spot.Spot) bool {
		line = append(line[:0], sep...)
		if sep = ",\n"; raw {
			line = s.AppendObject(line)
		} else {
			line = s.AppendArray(line)
		}
		_, err := bw.Write(line)
		return err == nil
	})
	_, _ = bw.WriteString("\n]}\n")
	if err := bw.Flush(); err != nil { // also what any earlier write said
		return fmt.Errorf("write cache file: %w", err)
	}
	return nil
}
