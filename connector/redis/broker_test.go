package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"holdfast/base/fault"
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

// TestFullServer: a server whose memory is full takes nothing, not even a new group. Who listens hears what it holds all
// the same, and makes room by acknowledging; what it did not acknowledge comes again in the next hearing, and not in
// the same.
func TestFullServer(t *testing.T) {
	s := start(t)
	b, err := OpenBroker(BrokerConfig{URL: "redis://" + s.Addr(), Password: "geheim123", Streams: true, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	publish := func(n int) error {
		return b.Publish(t.Context(), connector.Message{Topic: "a:b", Key: strconv.Itoa(n), Payload: []byte("x")})
	}
	for n := range 200 {
		if err := publish(n); err != nil {
			t.Fatal(err)
		}
	}
	s.do("CONFIG SET maxmemory 1")
	if err := publish(200); !fault.Is(err, fault.Full) {
		t.Fatalf("publish: got %v, want a broker that is full", err)
	}
	// hear listens until somebody has said all of these, and acknowledges those that are even.
	hear := func(group string, want []string, during func(heard int)) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var got []string
		err := b.Listen(ctx, connector.Listener{Topics: []string{"a:b", "a:c"}, Group: group, Ready: func() {},
			Hear: func(m connector.Heard) error {
				got = append(got, m.Key)
				if n, _ := strconv.Atoi(m.Key); n%2 == 0 {
					if err := m.Ack(ctx); err != nil {
						return err
					}
				}
				during(len(got))
				if len(got) == len(want) {
					return errors.New("enough")
				}
				return nil
			}})
		if err == nil || err.Error() != "enough" || !slices.Equal(got, want) {
			t.Fatalf("got %v, and %v; want %v", err, got, want)
		}
	}
	all, odd := []string{}, []string{}
	for n := range 200 {
		all = append(all, strconv.Itoa(n))
		if n%2 == 1 {
			odd = append(odd, strconv.Itoa(n))
		}
	}
	later := make(chan error, 1)
	hear("g", append(all, "201"), func(heard int) {
		if heard == 200 { // without a group so far
			s.do("CONFIG SET maxmemory 0")
			go func() { later <- cmp.Or(s.untilGroup("a:c"), publish(201)) }() // is waited for below
		}
	})
	if err := <-later; err != nil {
		t.Fatal(err)
	}
	s.do("CONFIG SET maxmemory 1") // where there is a group, that is not made anew
	hear("g", append(odd, "201"), func(int) {})
}

// untilGroup waits until a stream has a group.
func (s *front) untilGroup(stream string) error {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, Password: "geheim123",
		DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return err
	}
	defer c.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		groups, err := c.Do(context.Background(), c.B().XinfoGroups().Key(stream).Build()).ToArray()
		if err == nil && len(groups) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("there is no group: %w", err)
		}
	}
}
