package nats

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// BrokerConfig is a NATS server.
type BrokerConfig struct {
	// URL of one server or several, separated by commas: nats://host:4222, or tls://host:4222.
	URL string `yaml:"url" jsonschema:"required"`
	// User with a password is one of three ways to say who we are, beside token and credentials. None is needed where
	// the server does not ask.
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Token says who we are, in the place of a user.
	Token secret.Text `yaml:"token"`
	// Credentials is the path of a .creds file (a JWT with its key), in the place of a user.
	Credentials string `yaml:"credentials"`
	// Streams keeps messages in streams of JetStream until they are acknowledged; default false, by which a listener that
	// is away misses them, and asks for them again.
	Streams bool `yaml:"streams"`
	// Timeout is how long the server may be silent where it has to answer; default 5s.
	Timeout time.Duration `yaml:"timeout"`

	embedded *Embedded // the server of this process, in the place of URL
}

// WithDefaults returns c with everything filled in that has a default.
func (c BrokerConfig) WithDefaults() BrokerConfig {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

func (c BrokerConfig) server() server {
	return server{url: c.URL, user: c.User, password: c.Password, token: c.Token, credentials: c.Credentials,
		timeout: c.Timeout, embedded: c.embedded}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c BrokerConfig) Validate() []error { return c.WithDefaults().server().validate() }

// Broker carries messages over subjects: a channel with dots in the place of colons. With streams, all topics
// whose first word is the same are one stream of that name.
type Broker struct {
	cfg BrokerConfig

	mu      sync.Mutex      // guards the below
	session *session        // of Publish; nil while there is none
	made    map[string]bool // streams that this session has seen
}

var _ connector.Broker = (*Broker)(nil)

// OpenBroker returns the broker. It asks the server nothing yet.
func OpenBroker(cfg BrokerConfig) (*Broker, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open nats broker: %w", errors.Join(errs...))
	}
	return &Broker{cfg: cfg.WithDefaults()}, nil
}

// Traits: streams keep what they are given. How large a message may be the server says (1 MiB by default).
func (b *Broker) Traits() connector.BrokerTraits {
	t := connector.BrokerTraits{Durable: b.cfg.Streams}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.cfg.embedded != nil:
		t.MaxPayload = embeddedPayload
	case b.session != nil:
		t.MaxPayload = int(b.session.nc.MaxPayload())
	}
	return t
}

// at begins what is said of the server: which one it is.
func (b *Broker) at() string {
	if b.cfg.embedded != nil {
		return "embedded broker: "
	}
	return b.cfg.URL + ": " // it holds no secret
}

// subject is a channel as NATS names it.
func subject(channel string) string { return strings.ReplaceAll(channel, ":", ".") }

// root is the name of the stream that holds a topic.
func root(topic string) string {
	name, _, _ := strings.Cut(topic, ":")
	return name
}

// Publish sends the message, and with streams waits until it is stored.
func (b *Broker) Publish(ctx context.Context, m connector.Message) error {
	if err := m.Check(); err != nil {
		return fault.New(fault.Permanent, "publish: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	s, err := b.publisher(ctx, root(m.Topic))
	if err == nil {
		if b.cfg.Streams {
			_, err = s.js.Publish(ctx, subject(m.Channel()), m.Payload)
		} else if err = s.nc.Publish(subject(m.Channel()), m.Payload); err == nil {
			err = s.flush(ctx)
		}
		if err != nil {
			b.drop(s)
		}
	}
	return classify(b.at()+"publish to "+m.Channel(), err)
}

// flush waits until the server has all that was sent, or said what is wrong with it.
func (s *session) flush(ctx context.Context) error {
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return errors.Join(err, s.why())
	}
	select {
	case <-s.told:
		return s.why()
	default:
		return nil
	}
}

// publisher returns the connection of Publish; a stream that a topic needs is there then.
func (b *Broker) publisher(ctx context.Context, name string) (*session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil && !b.session.alive() {
		b.session.close()
		b.session = nil
	}
	if b.session == nil {
		s, err := b.cfg.server().connect(ctx)
		if err != nil {
			return nil, err
		}
		b.session, b.made = s, map[string]bool{}
	}
	if b.cfg.Streams && !b.made[name] {
		if err := b.session.makeStream(ctx, name); err != nil {
			return nil, err
		}
		b.made[name] = true
	}
	return b.session, nil
}

// makeStream makes the stream of all topics that begin with this word, if it is not there.
func (s *session) makeStream(ctx context.Context, name string) error {
	_, err := s.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // it is there with other settings, which a person gave it
	}
	return err
}

// drop ends a connection on which something went wrong.
func (b *Broker) drop(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session == s {
		s.close()
		b.session = nil
	}
}

// Close ends the connection of Publish.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		b.session.close()
		b.session = nil
	}
	return nil
}

// Listen hears the subjects below the topics, or consumes them from their streams.
func (b *Broker) Listen(ctx context.Context, l connector.Listener) error {
	err := b.listen(ctx, l)
	if h, ok := errors.AsType[hearError](err); ok {
		return h.error
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return classify(b.at()+"listen to "+strings.Join(l.Topics, ", "), err)
}

// hearError marks what Hear returned.
type hearError struct{ error }

func (b *Broker) listen(ctx context.Context, l connector.Listener) error {
	s, err := b.cfg.server().connect(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if b.cfg.Streams {
		return b.consume(ctx, s, l)
	}
	return s.subscribe(ctx, l, b.cfg.Timeout)
}

// waiting is how many messages, and bytes of them, may wait for Hear.
const (
	waitingMessages = 4096
	waitingBytes    = 64 << 20
)

func (s *session) subscribe(ctx context.Context, l connector.Listener, timeout time.Duration) error {
	came := make(chan heard, 1)
	done := make(chan struct{})
	defer close(done)
	slow := make(chan struct{})
	s.nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) { // told once for each row of drops
			select {
			case <-slow:
			default:
				close(slow)
			}
			return
		}
		s.tell(err)
	})
	for _, topic := range l.Topics {
		sub, err := s.nc.Subscribe(subject(topic)+".>", func(m *nats.Msg) { // by one goroutine each
			select {
			case came <- heard{topic: topic, msg: m}:
			case <-done:
			}
		})
		if err != nil {
			return err
		}
		if err := sub.SetPendingLimits(waitingMessages, waitingBytes); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.flush(bounded); err != nil {
		return err
	}
	l.Ready()
	for {
		select { // before the next message: one was dropped in front of it
		case <-slow:
			return fault.New(fault.Transient, "messages came faster than they were taken, and the first of them are lost")
		default:
		}
		select {
		case h := <-came:
			if err := l.Hear(h.message()); err != nil {
				return hearError{err}
			}
		case <-slow:
		case <-s.told:
			return s.why()
		case <-s.closed:
			return s.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// heard is a message of core NATS.
type heard struct {
	topic string
	msg   *nats.Msg
}

func (h heard) message() connector.Heard {
	return connector.Heard{Ack: func(context.Context) error { return nil },
		Message: message(h.topic, h.msg.Subject, h.msg.Data)}
}

func message(topic, subj string, payload []byte) connector.Message {
	key := strings.TrimPrefix(subj, subject(topic)+".")
	return connector.Message{Topic: topic, Key: strings.ReplaceAll(key, ".", ":"), Payload: payload}
}

// ackWait is after what time the server gives a message once more to a listener that still listens.
const ackWait = 10 * time.Minute

func (b *Broker) consume(ctx context.Context, s *session, l connector.Listener) error {
	byFilter := map[string]string{}
	cfg := jetstream.ConsumerConfig{Durable: l.Group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		MaxAckPending: waitingMessages}
	for _, topic := range l.Topics {
		cfg.FilterSubjects = append(cfg.FilterSubjects, subject(topic)+".>")
		byFilter[subject(topic)+"."] = topic
		if root(topic) != root(l.Topics[0]) {
			return fault.New(fault.Permanent, "topics %s and %s do not begin with the same word", l.Topics[0], topic)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	name := root(l.Topics[0])
	if err := s.makeStream(bounded, name); err != nil {
		return err
	}
	// A consumer that is made anew gives what was not acknowledged at once, and not after ackWait.
	if err := s.js.DeleteConsumer(bounded, name, l.Group); err != nil &&
		!errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	consumer, err := s.js.CreateConsumer(bounded, name, cfg)
	if err != nil {
		return err
	}
	beat := min(max(b.cfg.Timeout/2, time.Second/2), pullExpiry/2)
	msgs, err := consumer.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(beat),
		jetstream.PullMaxMessages(64)) // they may be large
	if err != nil {
		return err
	}
	defer msgs.Stop()
	l.Ready()
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				err = errors.Join(err, s.why())
			}
			return err
		}
		topic := ""
		for prefix, of := range byFilter {
			if strings.HasPrefix(msg.Subject(), prefix) {
				topic = of
			}
		}
		err = l.Hear(connector.Heard{Message: message(topic, msg.Subject(), msg.Data()),
			Ack: func(ctx context.Context) error { return b.ack(ctx, msg) }})
		if err != nil {
			return hearError{err}
		}
	}
}

// ack waits until the server has dropped the message.
func (b *Broker) ack(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	return classify("acknowledge a message of "+msg.Subject(), msg.DoubleAck(ctx))
}
