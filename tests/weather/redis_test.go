package weather

import (
	"context"
	"testing"

	"github.com/redis/rueidis"

	"holdfast/tests/testenv"
)

// dialRedis connects to the server itself.
func dialRedis(t testing.TB, s *testenv.RedisServer) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, Password: secret, DisableCache: true,
		ForceSingleClient: true})
	if err != nil {
		t.Fatalf("connect to Redis: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// redisAsk asks Redis for a whole number.
func redisAsk(t testing.TB, c rueidis.Client, command ...string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	n, err := c.Do(ctx, c.B().Arbitrary(command...).Build()).AsInt64()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return n
}

// awaitListeners waits until so many patterns of channels are listened to.
func (s *station) awaitListeners(patterns int64) {
	s.t.Helper()
	c := dialRedis(s.t, s.redis)
	defer c.Close() // it would look for a server that is killed
	testenv.Until(s.t, soon, "the roles listen", func() bool {
		return redisAsk(s.t, c, "PUBSUB", "NUMPAT") >= patterns
	})
}
