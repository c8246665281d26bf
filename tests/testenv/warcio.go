package testenv

import (
	"bytes"
	_ "embed"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// warcioScript reads WARC files with warcio. Arguments and output: its first lines.
//
//go:embed warcio.mjs
var warcioScript string

// Warcio is the directory of npm's warcio, a reader of WARC files that others wrote.
func Warcio(t testing.TB) string {
	t.Helper()
	dir, err := npmPackage("warcio")
	if err != nil {
		Missing(t, "npm's warcio", err)
	}
	return dir
}

// WARCRecord is a record of a WARC file as warcio reads it.
type WARCRecord struct {
	File           string
	Offset, Length int64 // of its gzip member in the file
	Version        string
	Header         map[string][]string // of the record, in the writer's case
	Size           int64               // of its block
	Status         int                 // of the HTTP answer, 0 if there is none
	PayloadSize    int64               // without the chunks of HTTP's transfer; -1 if the record has no payload
	// Block and Payload are what the digests are, recomputed: "sha1:" and Base32, "sha256:" and Base16. Payload is empty if
	// the record has none, or is a revisit, whose payload is elsewhere.
	Block, Payload []string
}

// Get is the first value of a field of the record's header, "" if there is none.
func (r WARCRecord) Get(field string) string {
	if all := r.Header[field]; len(all) > 0 {
		return all[0]
	}
	return ""
}

func (r WARCRecord) Type() string { return r.Get("WARC-Type") }
func (r WARCRecord) URI() string  { return r.Get("WARC-Target-URI") }
func (r WARCRecord) ID() string   { return r.Get("WARC-Record-ID") }
func (r WARCRecord) Date() string { return r.Get("WARC-Date") }

// Wrong says which digests of the header are not those of what it describes; empty if all are good.
func (r WARCRecord) Wrong() []string {
	var wrong []string
	for field, right := range map[string][]string{"WARC-Block-Digest": r.Block, "Holdfast-Block-Digest": r.Block,
		"WARC-Payload-Digest": r.Payload, "Holdfast-Payload-Digest": r.Payload} {
		for _, said := range r.Header[field] {
			if len(right) > 0 && !slices.Contains(right, said) {
				wrong = append(wrong, fmt.Sprintf("%s is %s, and should be one of %s", field, said, right))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// Records are the records of WARC files, in their order. The test fails for a file that gzip or warcio refuses, that warcio does
// not read to its last byte, or that has two records in one member of gzip. Files that are not compressed are told by their
// names: only those with ".gz" in it are. One process reads them all.
func Records(t testing.TB, files ...string) []WARCRecord {
	t.Helper()
	Gzipped(t, slices.DeleteFunc(slices.Clone(files), func(name string) bool { return !strings.Contains(name, ".gz") })...)
	all, refused, err := readWARC(Warcio(t), files)
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) > 0 {
		t.Fatalf("warcio refuses %d of %d files:\n%s", len(refused), len(files), strings.Join(refused, "\n"))
	}
	return all
}

// Gzipped fails the test for a file that gzip refuses, whatever its name is.
func Gzipped(t testing.TB, files ...string) {
	t.Helper()
	const script = `for f; do gzip -t <"$f" || echo "$f"; done`
	out, err := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, "sh"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("gzip -t refuses files: %v\n%s", err, out)
	}
}

func readWARC(warcio string, files []string) (all []WARCRecord, refused []string, err error) {
	cmd := exec.Command("node", "--input-type=module", "--eval", warcioScript, "--", warcio)
	cmd.Stdin = strings.NewReader(strings.Join(files, "\n"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		return nil, nil, fmt.Errorf("read WARC files with node: %w\n%s", err, stderr.Bytes())
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		one := warcioLine{Body: -1}
		if err := decoder.Decode(&one); err == io.EOF {
			return all, refused, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("read what warcio.mjs says: %w", err)
		}
		if one.Refused != "" {
			refused = append(refused, one.File+": "+one.Refused)
			continue
		}
		all = append(all, one.record())
	}
}

// warcioLine is a line of what warcio.mjs says.
type warcioLine struct {
	File, Refused, Version string
	Offset, Length         int64
	Header                 map[string][]string
	Size, Body             int64
	Status                 int
	Block, Payload         []string // SHA-1, SHA-256 as Base16
}

func (l warcioLine) record() WARCRecord {
	r := WARCRecord{File: l.File, Offset: l.Offset, Length: l.Length, Version: l.Version, Header: l.Header, Size: l.Size,
		Status: l.Status, PayloadSize: l.Body, Block: labelled(l.Block)}
	if r.Type() != "revisit" {
		r.Payload = labelled(l.Payload)
	}
	return r
}

// labelled writes digests as WARC files have them.
func labelled(sums []string) []string {
	if len(sums) != 2 {
		return nil
	}
	sum, err := hex.DecodeString(sums[0])
	if err != nil {
		return nil
	}
	return []string{"sha1:" + base32.StdEncoding.EncodeToString(sum), "sha256:" + sums[1]}
}
