package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/brokertest"
	"holdfast/tests/testenv"
)

func TestBrokerContract(t *testing.T) {
	for name, streams := range map[string]bool{"channels": false, "streams": true} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) brokertest.Rig {
				s := testenv.Redis(t)
				open := func(password secret.Text) func(*testing.T) connector.Broker {
					return func(t *testing.T) connector.Broker {
						b, err := OpenBroker(BrokerConfig{URL: "redis://" + s.Addr(), Password: password,
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

// TestPublishBehindARestart: who notices by its hearing that the server went away and heard it come back can publish
// at once: the connection that died is not tried once more.
func TestPublishBehindARestart(t *testing.T) {
	s := testenv.Redis(t)
	b, err := OpenBroker(BrokerConfig{URL: "redis://" + s.Addr(), Password: "geheim123", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	m := connector.Message{Topic: "a", Key: "1"}
	hear := func(during func()) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return b.Listen(ctx, connector.Listener{Topics: []string{"a"}, Ready: during,
			Hear: func(connector.Heard) error { return errors.New("heard") }})
	}
	if err := b.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := hear(s.Kill); err == nil {
		t.Fatal("the hearing did not end with the server")
	}
	s.Restart()
	published := make(chan error, 1)
	if err := hear(func() { go func() { published <- b.Publish(t.Context(), m) }() }); err == nil || err.Error() != "heard" {
		t.Errorf("got %v, want the message", err)
	}
	if err := <-published; err != nil {
		t.Errorf("the first message behind the restart: %v", err)
	}
}
