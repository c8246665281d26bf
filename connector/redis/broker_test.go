package redis

import (
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
