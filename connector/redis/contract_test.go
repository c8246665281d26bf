package redis

import (
	"testing"

	"holdfast/connector"
	"holdfast/connector/sourcetest"
	"holdfast/tests/testenv"
)

func TestStreamContract(t *testing.T) {
	for name, change := range map[string]func(*Config){"stream": func(*Config) {}, "channel": hears} {
		t.Run(name, func(t *testing.T) {
			sourcetest.RunStream(t, func(t *testing.T) sourcetest.Flow {
				r := start(t)
				f := sourcetest.Flow{
					Open: func(*testing.T) connector.Source {
						return r.source(change, func(c *Config) { c.Rows, c.Buffer = 400, 1000 })
					},
					Publish: func(from, to uint64) { r.publish(int(from), int(to)) },
					Leaks:   testenv.ProxyLeaks(),
				}
				if name == "channel" {
					f.Publish = func(from, to uint64) { r.say(int(from), int(to)) }
					f.Listening = func() { r.listening(1) }
				}
				return f
			})
		})
	}
}
