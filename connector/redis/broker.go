package redis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/connector"
)

// BrokerConfig is a Redis server.
type BrokerConfig struct {
	// URL of the server: redis://host:6379, or rediss:// with TLS; a path is the database's number.
	URL string `yaml:"url" jsonschema:"required"`
	// User of the server; without one a password is that of the user "default".
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Streams keeps messages in streams until they are acknowledged; default false, by which they are published to
	// channels: a listener that is away misses them, and asks for them again.
	Streams bool `yaml:"streams"`
	// Timeout is how long the server may be silent where it has to answer; default 5s.
	Timeout time.Duration `yaml:"timeout"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c BrokerConfig) WithDefaults() BrokerConfig {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

func (c BrokerConfig) server() server {
	return server{url: c.URL, user: c.User, password: c.Password, timeout: c.Timeout}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c BrokerConfig) Validate() []error { return c.WithDefaults().server().validate() }

// server is where a server is, and who we are to it.
type server struct {
	url      string
	user     string
	password secret.Text
	timeout  time.Duration
}

func (v server) validate() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if u, err := url.Parse(v.url); err == nil && u.User != nil {
		add("url: holds a user name; put it into user and password")
	} else if err == nil && web.BadPort(u) != "" {
		add("url: %s", web.BadPort(u))
	} else if _, err := rueidis.ParseURL(v.url); err != nil || v.url == "" {
		add("url: want redis://host:6379 or rediss://host:6379")
	}
	if v.user != "" && v.password == "" {
		add("password: is missing, and there is a user")
	}
	if v.timeout < time.Millisecond {
		add("timeout: got %v, want 1ms or more", v.timeout)
	}
	return errs
}

// Broker carries messages over channels, or over streams with one group of consumers each.
type Broker struct {
	cfg BrokerConfig

	mu   sync.Mutex  // guards conn
	conn *connection // of Publish; nil while there is none
}

var _ connector.Broker = (*Broker)(nil)

// OpenBroker returns the broker. It asks the server nothing yet.
func OpenBroker(cfg BrokerConfig) (*Broker, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open redis broker: %w", errors.Join(errs...))
	}
	return &Broker{cfg: cfg.WithDefaults()}, nil
}

// Traits: streams keep what they are given as long as the server keeps its data.
func (b *Broker) Traits() connector.BrokerTraits {
	return connector.BrokerTraits{Durable: b.cfg.Streams, MaxPayload: 512 << 20}
}

// The fields of an entry of a stream.
const (
	fieldKey     = "key"
	fieldPayload = "payload"
)

// Publish sends the message: as an entry of the stream that is named like its topic, or to its channel.
func (b *Broker) Publish(ctx context.Context, m connector.Message) error {
	if err := m.Check(); err != nil {
		return fault.New(fault.Permanent, "publish: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	c, err := b.publisher(ctx)
	if err == nil {
		payload := rueidis.BinaryString(m.Payload)
		cmd := c.B().Publish().Channel(m.Channel()).Message(payload).Build()
		if b.cfg.Streams {
			cmd = c.B().Xadd().Key(m.Topic).Id("*").FieldValue().FieldValue(fieldKey, m.Key).
				FieldValue(fieldPayload, payload).Build()
		}
		if err = c.Do(ctx, cmd).Error(); err != nil {
			b.drop(c, err)
		}
	}
	return classify(ctx, b.at()+"publish to "+m.Channel(), err)
}

// publisher returns the connection of Publish.
func (b *Broker) publisher(ctx context.Context) (c *connection, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		b.conn, err = dial(ctx, b.cfg.server())
	}
	return b.conn, err
}

// drop ends a connection that did not answer: what comes on it later would be an answer to something else.
func (b *Broker) drop(c *connection, err error) {
	if _, answered := errors.AsType[*rueidis.RedisError](err); answered {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == c {
		b.conn = nil
	}
	c.close()
}

// at begins what is said of the server: which one it is.
func (b *Broker) at() string {
	u, err := url.Parse(b.cfg.URL)
	if err != nil {
		return ""
	}
	return "redis " + u.Host + ": "
}

// Close ends the connection of Publish, which makes another if it is called again.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.close()
		b.conn = nil
	}
	return nil
}

// Listen hears the channels below the topics, or reads their streams.
func (b *Broker) Listen(ctx context.Context, l connector.Listener) error {
	err := b.listen(ctx, l)
	if h, ok := errors.AsType[hearError](err); ok {
		return h.error
	}
	if err != nil && ctx.Err() == nil { // what Publish holds may be dead too, and would fail once more when the server is back
		_ = b.Close()
	}
	return classify(ctx, b.at()+"listen to "+strings.Join(l.Topics, ", "), err)
}

// hearError marks what Hear returned.
type hearError struct{ error }

func (b *Broker) listen(ctx context.Context, l connector.Listener) error {
	c, err := dial(ctx, b.cfg.server())
	if err != nil {
		return err
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.cut) // the library would wait for the server's answer
	defer stop()
	if b.cfg.Streams {
		r := &groupReader{connection: c, broker: b, Listener: l}
		return r.read(ctx)
	}
	return c.subscribe(ctx, l)
}

// subscribe hears channels until the connection ends. The library asks an idle server every second whether it
// is there.
func (c *connection) subscribe(ctx context.Context, l connector.Listener) error {
	patterns, topics := make([]string, len(l.Topics)), map[string]string{}
	for i, topic := range l.Topics {
		patterns[i] = topic + ":*"
		topics[patterns[i]] = topic
	}
	var refused error
	left := len(patterns)
	hook := rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
		if left--; left == 0 { // by one goroutine, which reads the connection
			l.Ready()
		}
	})
	timer := time.AfterFunc(c.timeout, c.cut)
	defer timer.Stop()
	ready := l.Ready
	l.Ready = func() {
		timer.Stop()
		ready()
	}
	err := c.Receive(hook, c.B().Psubscribe().Pattern(patterns...).Build(), func(m rueidis.PubSubMessage) {
		if refused != nil {
			return
		}
		topic := topics[m.Pattern]
		refused = l.Hear(connector.Heard{Ack: func(context.Context) error { return nil },
			Message: connector.Message{Topic: topic, Key: strings.TrimPrefix(m.Channel, topic+":"),
				Payload: []byte(m.Message)}})
		if refused != nil {
			c.cut()
		}
	})
	switch {
	case refused != nil:
		return hearError{refused}
	case err == nil:
		return errors.New("the server ended the subscription")
	}
	return err
}
