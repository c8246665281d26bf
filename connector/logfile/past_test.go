package logfile

import (
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"holdfast/connector"
)

// Past tells what is in the files of a log, packed ones too, and what has no newline yet.
func TestPast(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	write := func(name, text string, age time.Duration) {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".gz" {
			z := gzip.NewWriter(f)
			_, err = z.Write([]byte(text))
			if cerr := z.Close(); err == nil {
				err = cerr
			}
		} else {
			_, err = f.WriteString(text)
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = os.Chtimes(f.Name(), time.Time{}, time.Now().Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("app.log.3.gz", "too old\n", 72*time.Hour)
	write("app.log.2.gz", "one\ntwo\n", 20*time.Hour)
	write("app.log.1", "three\n", 10*time.Hour)
	write("app.log", "four\nfive, which is being written", 0)
	f, err := New(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = f.Past(t.Context(), time.Now().Add(-24*time.Hour), func(_ context.Context, s connector.Seen) error {
		for _, e := range s.Events {
			got = append(got, string(e.Line))
		}
		return nil
	})
	if want := []string{"one", "two", "three", "four", "five, which is being written"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}
