package nats

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast/connector"
	"holdfast/connector/sourcetest"
	"holdfast/tests/testenv"
)

func TestStreamContract(t *testing.T) {
	for name, change := range map[string]func(*SourceConfig){"stream": func(*SourceConfig) {}, "subject": hears} {
		t.Run(name, func(t *testing.T) {
			sourcetest.RunStream(t, func(t *testing.T) sourcetest.Flow {
				b := fresh(t, testenv.NATS(t))
				js := b.direct()
				f := sourcetest.Flow{
					Open: func(t *testing.T) connector.Source {
						return b.source(t, change, func(c *SourceConfig) { c.Rows, c.Buffer = 400, 1000 })
					},
					Publish: func(from, to uint64) { publish(t, js, upTo(int(from), int(to))...) },
					Leaks:   testenv.ProxyLeaks(),
				}
				if name == "stream" {
					b.create(t, jetstream.StreamConfig{})
				} else {
					f.Listening = func() { listening(t, js) }
					_, _ = js.Conn().Request("nobody", nil, time.Second) // so that what listens for answers is there
				}
				return f
			})
		})
	}
}

// listening waits until somebody hears the subject.
func listening(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	testenv.Until(t, 10*time.Second, "a subscription", func() bool {
		_, err := js.Conn().Request("spots", []byte("no row"), 20*time.Millisecond)
		return err == nil || !strings.Contains(err.Error(), "no responders")
	})
}
