package nats

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/brokertest"
	"holdfast/tests/testenv"
)

func TestBrokerContract(t *testing.T) {
	for name, streams := range map[string]bool{"subjects": false, "streams": true} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) brokertest.Rig {
				s := testenv.NATS(t)
				open := func(password secret.Text) func(*testing.T) connector.Broker {
					return func(t *testing.T) connector.Broker {
						b, err := OpenBroker(BrokerConfig{URL: s.URL(s.Addr()), User: "writer", Password: password,
							Streams: streams, Timeout: time.Second})
						if err != nil {
							t.Fatal(err)
						}
						return b
					}
				}
				return brokertest.Rig{Open: open("geheim123"), Stranger: open("wrong"),
					Kill: s.Kill, Restart: s.Restart, Freeze: s.Freeze, Thaw: s.Thaw,
					Leaks: testenv.ProcessLeaks()}
			})
		})
	}
}

func TestEmbeddedContract(t *testing.T) {
	for name, streams := range map[string]bool{"subjects": false, "streams": true} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) brokertest.Rig {
				var e *Embedded
				return brokertest.Rig{
					Open: func(t *testing.T) connector.Broker {
						e = embedded(t, EmbeddedConfig{Dir: t.TempDir(), Token: "t0ken"})
						return e.broker(t, streams)
					},
					Stop: func() { _ = e.Close() },
				}
			})
		})
	}
}

func embedded(t *testing.T, cfg EmbeddedConfig) *Embedded {
	t.Helper()
	e, err := StartEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func (e *Embedded) broker(t *testing.T, streams bool) *Broker {
	t.Helper()
	b, err := e.Broker(streams)
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.Timeout = time.Second
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestEmbeddedForOthers: another process finds the server where it listens, with the token alone, and what one
// life of it took is there in the next.
func TestEmbeddedForOthers(t *testing.T) {
	cfg := EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "t0ken"}
	e := embedded(t, cfg)
	for token, want := range map[secret.Text]fault.Kind{"t0ken": fault.Unknown, "wrong": fault.Credentials} {
		b, err := OpenBroker(BrokerConfig{URL: "nats://" + e.Addr(), Token: token, Streams: true, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		err = b.Publish(t.Context(), connector.Message{Topic: "suite:data", Key: "1", Payload: []byte("kept")})
		if fault.KindOf(err) != want {
			t.Errorf("publish with the token %q: %v", token.Reveal(), err)
		}
		_ = b.Close()
	}
	_ = e.Close()
	b := embedded(t, cfg).broker(t, true)
	enough := errors.New("enough")
	err := b.Listen(t.Context(), connector.Listener{Topics: []string{"suite:data"}, Group: "suite", Ready: func() {},
		Hear: func(m connector.Heard) error {
			if string(m.Payload) != "kept" {
				t.Errorf("got %q", m.Payload)
			}
			return enough
		}})
	if !errors.Is(err, enough) {
		t.Errorf("listen: %v", err)
	}
}

// TestEmbeddedPortTaken: a port that is taken is told at once.
func TestEmbeddedPortTaken(t *testing.T) {
	e := embedded(t, EmbeddedConfig{Listen: "127.0.0.1:0"})
	second, err := StartEmbedded(EmbeddedConfig{Listen: e.Addr()})
	if err == nil {
		_ = second.Close()
		t.Fatal("two servers listen on one port")
	}
	if !strings.Contains(err.Error(), e.Addr()) {
		t.Errorf("got %v, want the port named", err)
	}
}
