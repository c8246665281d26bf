package filesource

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/connector"
	"holdfast/connector/sourcetest"
)

func TestStreamContract(t *testing.T) {
	t.Run("tail", func(t *testing.T) {
		sourcetest.RunStream(t, func(t *testing.T) sourcetest.Flow {
			path := filepath.Join(t.TempDir(), "log")
			return sourcetest.Flow{
				Open: func(t *testing.T) connector.Source {
					s, err := Open(numbers(path, modeTail), Options{})
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Publish: func(from, to uint64) { appendTo(t, path, ids(int(from), int(to))) },
			}
		})
	})
	t.Run("stdin", func(t *testing.T) {
		sourcetest.RunStream(t, func(t *testing.T) sourcetest.Flow {
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { in.Close(); out.Close() })
			return sourcetest.Flow{
				Open: func(t *testing.T) connector.Source {
					s, err := OpenStdin(StdinConfig{Format: formatJSONL, Key: "id", Columns: numbers("", "").Columns}, in)
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Publish: func(from, to uint64) {
					if _, err := out.WriteString(ids(int(from), int(to))); err != nil {
						t.Error(err)
					}
				},
				End: func() { out.Close() }, OneLife: true,
			}
		})
	})
}
