package app

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/nats"
	"holdfast/connector/redis"
)

// broker is what the roles of a stream talk over: the one key below `broker:` is its kind.
type broker struct {
	kind     string
	redis    redis.BrokerConfig
	nats     nats.BrokerConfig
	embedded embedded
}

// embedded is a NATS server in this process, which all its jobs share.
type embedded struct {
	// Listen is the host:port where other processes find it; default none: it serves this process alone.
	Listen string `yaml:"listen"`
	// Token is what other processes show; needed where listen is not on loopback.
	Token secret.Text `yaml:"token"`
	// Streams keeps messages on the disk until they are acknowledged; default false.
	Streams bool `yaml:"streams"`
}

const embeddedBroker = "embedded"

var brokerKinds = []string{embeddedBroker, "nats", "redis"}

func (b *broker) decode(d *decoder, n ast.Node, path string) {
	kind, _, ok := d.one(entry{At: n, Value: n}, path, "kind of broker", brokerKinds, nil)
	if !ok {
		return
	}
	b.kind, path = kind.Key, strictyaml.Join(path, kind.Key)
	before := len(d.Mistakes)
	switch kind.Key {
	case embeddedBroker:
		d.Decode(kind.Value, reflect.ValueOf(&b.embedded).Elem(), path)
		if why := checkBrokerListen(b.embedded); why != "" {
			d.Bad(d.at(kind.Value, "listen"), strictyaml.Join(path, "listen"), "%s", why)
		}
	case "nats":
		d.Decode(kind.Value, reflect.ValueOf(&b.nats).Elem(), path)
		if len(d.Mistakes) == before {
			d.complainAll(kind, path, b.nats.Validate())
		}
	case "redis":
		d.Decode(kind.Value, reflect.ValueOf(&b.redis).Elem(), path)
		if len(d.Mistakes) == before {
			d.complainAll(kind, path, b.redis.Validate())
		}
	}
}

// checkBrokerListen says what is wrong with where the embedded broker listens, "" if nothing is.
func checkBrokerListen(e embedded) string {
	if e.Listen == "" {
		return ""
	}
	return checkListen(e.Listen, e.Token != "")
}

func (d *decoder) complainAll(e entry, path string, errs []error) {
	for _, err := range errs {
		d.complain(e, path, err)
	}
}

// place is the broker as two configurations of it can be compared.
func (b broker) place() string {
	switch b.kind {
	case "redis":
		return samePlace(b.redis.URL, "6379")
	case "nats":
		return samePlace(b.nats.URL, "4222")
	}
	return embeddedBroker
}

// samePlace writes an address as all that mean the same are written.
func samePlace(address, port string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	host := u.Hostname()
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	path := strings.Trim(u.Path, "/")
	if path == "0" && strings.HasPrefix(u.Scheme, "redis") { // the database that a Redis has without a number
		path = ""
	}
	return strings.ToLower(net.JoinHostPort(host, orElse(u.Port(), port))) + "/" + path
}

// open returns the broker; p holds the embedded server.
func (b broker) open(p *Plan) (connector.Broker, error) {
	switch b.kind {
	case "redis":
		return redis.OpenBroker(b.redis)
	case "nats":
		return nats.OpenBroker(b.nats)
	}
	server, err := p.brokers.start(p.Place.Dir, b.embedded)
	if err != nil {
		return nil, err
	}
	own, err := server.Broker(b.embedded.Streams)
	if err != nil || p.Outages == nil {
		return own, err
	}
	return p.Outages.Broker(own), nil
}

// brokers is the embedded server of a process, which runs from its first use to the end of the process.
type brokers struct {
	mu     sync.Mutex
	server *nats.Embedded // nil before its first use; guarded by mu
}

// brokerDir is where the embedded broker keeps its streams, in the data directory.
const brokerDir = "broker"

func (b *brokers) start(dataDir string, e embedded) (*nats.Embedded, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return b.server, nil
	}
	c := nats.EmbeddedConfig{Listen: e.Listen, Token: e.Token}
	if e.Streams {
		c.Dir = filepath.Join(dataDir, brokerDir)
	}
	server, err := nats.StartEmbedded(c)
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	b.server = server
	return server, nil
}

// alone is for how long nobody must be connected until the others count as gone: who lost its connection comes again
// within a second.
const alone = 2 * time.Second

// untilAlone waits until no other process uses the embedded server, or ctx ends.
func (b *brokers) untilAlone(ctx context.Context) {
	look := time.NewTicker(alone / 20)
	defer look.Stop()
	for last := time.Now(); time.Since(last) < alone; {
		b.mu.Lock()
		if b.server != nil && b.server.Guests() > 0 {
			last = time.Now()
		}
		b.mu.Unlock()
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// hosts reports whether other processes may use the server of this one.
func (b broker) hosts() bool { return b.kind == embeddedBroker && b.embedded.Listen != "" }

// Close ends the server, if there is one.
func (b *brokers) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	err := b.server.Close()
	b.server = nil
	return err
}
