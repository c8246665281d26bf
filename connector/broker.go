package connector

import (
	"context"
	"fmt"
	"strings"
)

// Message is what one role of a stream tells another over a broker. On the wire its channel is the topic and
// the key with a colon between them: weather_channel:data and 0:7 are weather_channel:data:0:7.
type Message struct {
	Topic   string // what kind of message it is: words of letters, digits, - and _ with colons between them
	Key     string // what it is about, likewise
	Payload []byte // any bytes
}

// Channel is the topic and the key.
func (m Message) Channel() string { return m.Topic + ":" + m.Key }

// Check says what is wrong with the names of a message: every broker must be able to carry them as they are.
func (m Message) Check() error {
	for word := range strings.SplitSeq(m.Channel(), ":") {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool {
			return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
		}) {
			return fmt.Errorf("channel %.100q: want words of letters, digits, - and _ with colons between them",
				m.Channel())
		}
	}
	return nil
}

// BrokerTraits says what a broker can do.
type BrokerTraits struct {
	// Durable: what Publish took is kept for every group that has listened to its topic until that group
	// acknowledges it, as long as the broker keeps its data. Of another broker, a listener hears what is published
	// while it listens, and nobody keeps the rest.
	Durable bool
	// MaxPayload is the most bytes of a message, 0 if that is known only once the server is asked.
	MaxPayload int
}

// Heard is a message as a listener gets it.
type Heard struct {
	Message
	// Ack tells a durable broker that the message is safe; it comes again in a later Listen until then. It may be
	// called after Hear has returned and by any goroutine; once its Listen has ended it may fail, and the message
	// comes again. For another broker it does nothing.
	Ack func(ctx context.Context) error
}

// Listener is what a Listen hears, and where messages go.
type Listener struct {
	// Topics are what it hears, every key of each.
	Topics []string
	// Group is its name, under which a durable broker keeps what it has not acknowledged. A topic has one group.
	Group string
	// Ready is called once: whatever is published from then on will be heard, or Listen ends. It must not block. It does
	// not wait until Hear has taken what a durable broker kept.
	Ready func()
	// Hear takes the messages, one after the other, in the order in which one publisher sent those of a topic.
	// While it blocks, messages wait; a broker that does not keep them ends Listen before it drops one.
	Hear func(m Heard) error
}

// Broker carries messages. Its methods may be called by several goroutines at once.
type Broker interface {
	Traits() BrokerTraits
	// Publish gives a message to the broker. Nil says that the broker has taken it: a durable one has stored it,
	// another has sent it to whoever listens. With an error it may have been taken or not.
	Publish(ctx context.Context, m Message) error
	// Listen hears until ctx ends, Hear returns an error, which it returns then, or the connection can't be
	// trusted any more, which it notices within the broker's time-out also when nothing is published. It
	// never connects a second time: what is published until the next Listen may be lost, if the broker is not
	// durable.
	Listen(ctx context.Context, l Listener) error
	// Close ends what Publish holds. Listen is ended by its context.
	Close() error
}
