package nats

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"holdfast/base/fault"
	"holdfast/base/secret"
)

// embeddedPayload is the most bytes of a message that the server of this process takes.
const embeddedPayload = 8 << 20

// EmbeddedConfig says how the server of this process runs.
type EmbeddedConfig struct {
	// Dir holds its streams; "" switches JetStream off.
	Dir string
	// Listen is host:port for other processes; "" serves this one alone.
	Listen string
	// Token is what other processes show; "" asks for none.
	Token secret.Text
}

// Embedded is a NATS server in this process.
type Embedded struct {
	server *natsserver.Server
	token  secret.Text
}

// StartEmbedded starts the server, and returns once it takes connections.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	opts := &natsserver.Options{ServerName: "holdfast", DontListen: cfg.Listen == "", NoSigs: true,
		MaxPayload: embeddedPayload, MaxPending: 64 << 20, JetStream: cfg.Dir != "", StoreDir: cfg.Dir,
		SyncAlways:    true, // what a stream took survives the power cut
		Authorization: cfg.Token.Reveal()}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fault.New(fault.Permanent, "broker: listen on %s: %w", cfg.Listen, err)
		}
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return nil, fault.New(fault.Permanent, "broker: listen on %s: the port is no number", cfg.Listen)
		}
		if opts.Host = host; opts.Port == 0 {
			opts.Port = natsserver.RANDOM_PORT
		}
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, fault.New(fault.Permanent, "start the broker of this process: %w", err)
	}
	e, log := &Embedded{s, cfg.Token}, make(faults, 1)
	s.SetLogger(log, false, false)
	s.Start()
	for deadline := time.Now().Add(10 * time.Second); !s.ReadyForConnections(100 * time.Millisecond); {
		select {
		case why := <-log:
			return nil, errors.Join(fault.New(fault.Permanent, "start the broker of this process: %s", why), e.Close())
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fault.New(fault.Transient, "start the broker of this process: it takes no "+
				"connections"), e.Close())
		}
	}
	return e, nil
}

// faults is a log of the server that keeps the first reason for which it can't go on.
type faults chan string

// Fatalf keeps a reason.
func (f faults) Fatalf(format string, args ...any) {
	select {
	case f <- fmt.Sprintf(format, args...):
	default:
	}
}

// Noticef and the others drop what concerns nobody here: connections tell their faults themselves.
func (faults) Noticef(string, ...any) {}

// Warnf drops.
func (faults) Warnf(string, ...any) {}

// Errorf drops.
func (faults) Errorf(string, ...any) {}

// Debugf drops.
func (faults) Debugf(string, ...any) {}

// Tracef drops.
func (faults) Tracef(string, ...any) {}

// Addr is the host:port where other processes find it, "" if it serves this one alone.
func (e *Embedded) Addr() string {
	if a, ok := e.server.Addr().(*net.TCPAddr); ok {
		return a.String()
	}
	return ""
}

// Guests is how many connections other processes have.
func (e *Embedded) Guests() (n int) {
	all, err := e.server.Connz(&natsserver.ConnzOptions{Limit: 1 << 16})
	if err != nil {
		return 0 // it is shut down
	}
	for _, c := range all.Conns {
		if c.IP != "" { // this process has pipes
			n++
		}
	}
	return n
}

// Broker returns a broker on the server; streams as in BrokerConfig.
func (e *Embedded) Broker(streams bool) (*Broker, error) {
	if streams && !e.server.JetStreamEnabled() {
		return nil, fault.New(fault.Permanent, "open the broker of this process: it has no directory for streams")
	}
	return &Broker{cfg: BrokerConfig{URL: "nats://127.0.0.1", Streams: streams,
		Token: e.token, embedded: e}.WithDefaults()}, nil
}

// Close ends the server and waits until it is gone.
func (e *Embedded) Close() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return nil
}
