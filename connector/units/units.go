// Package units is the watcher of the states of systemd's units, and does with units what systemctl does: over D-Bus, without a
// program.
//
//	from: {unit: bitcoind.service}
//
// A look has one sample for each unit, with the label unit. Its text is the active state as systemd has it (active,
// reloading, inactive, failed, activating, deactivating), or "not-found" for a unit that does not exist; its value is how
// often systemd has restarted it by itself; its fields are load, sub, result and restarts. Each change that systemd
// signals is a look of its own, with what the signal says, so that a state that is over before it could be asked for is
// told too (of changes within moments systemd itself may leave some out). Every `look` all is asked for again. While the
// bus is away looks fail, and it is connected to again.
package units

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	bus "github.com/godbus/dbus/v5"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Config is units of systemd: the state of each is a value.
type Config struct {
	// Unit is the unit that is watched.
	Unit string `yaml:"unit"`
	// Units are several of them.
	Units []string `yaml:"units"`
	// Bus is the socket of the system bus; default that of DBUS_SYSTEM_BUS_ADDRESS, else /run/dbus/system_bus_socket.
	Bus string `yaml:"bus"`
	// Look is how often all is asked for though nothing was told; default 30s.
	Look time.Duration `yaml:"look"`
}

const usualBus = "/run/dbus/system_bus_socket"

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,255}$`)

// checkUnit says what is wrong with the name of a unit.
func checkUnit(name string) error {
	if !unitName.MatchString(name) || !strings.Contains(name, ".") || name[0] == '-' {
		return fmt.Errorf("unit: %q is no name of a unit, such as bitcoind.service", name)
	}
	return nil
}

func (c Config) names() []string {
	all := slices.Clone(c.Units)
	if c.Unit != "" {
		all = append(all, c.Unit)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() (faults []error) {
	if len(c.names()) == 0 {
		faults = append(faults, errors.New("unit: is missing"))
	}
	for _, name := range c.names() {
		if err := checkUnit(name); err != nil {
			faults = append(faults, err)
		}
	}
	if c.Bus != "" && c.Bus[0] != '/' {
		faults = append(faults, fmt.Errorf("bus: is %q, want the absolute path of a socket", c.Bus))
	}
	if c.Look < 0 {
		faults = append(faults, fmt.Errorf("look: is %v, want a time above 0", c.Look))
	}
	return faults
}

// Units is the watcher of some units.
type Units struct {
	names []string
	bus   string
	look  time.Duration
}

var _ connector.Watcher = (*Units)(nil)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	c.Look = cmp.Or(c.Look, 30*time.Second)
	return c
}

// New returns a watcher. It connects to nothing yet.
func New(c Config) (*Units, error) {
	if f := c.Validate(); len(f) > 0 {
		return nil, fault.New(fault.Permanent, "watch units: %w", errors.Join(f...))
	}
	return &Units{names: c.names(), bus: cmp.Or(c.Bus, Socket()), look: c.WithDefaults().Look}, nil
}

// The names of systemd on the bus.
const (
	systemd    = "org.freedesktop.systemd1"
	managerIs  = systemd + ".Manager"
	unitIs     = systemd + ".Unit"
	serviceIs  = systemd + ".Service"
	properties = "org.freedesktop.DBus.Properties"
	root       = bus.ObjectPath("/org/freedesktop/systemd1")
)

func pathOf(unit string) bus.ObjectPath {
	return root + "/unit/" + bus.ObjectPath(dbus.PathBusEscape(unit))
}

// callWithin bounds a question to systemd.
const callWithin = 20 * time.Second

// connect connects to a bus. Signals come in their order, and none is dropped.
func connect(ctx context.Context, socket string) (*bus.Conn, error) {
	c, err := bus.Dial("unix:path="+socket, bus.WithSignalHandler(bus.NewSequentialSignalHandler()), bus.WithContext(ctx))
	if err == nil {
		if err = c.Auth(nil); err == nil {
			err = c.Hello()
		}
		if err != nil {
			c.Close()
		}
	}
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Transient, "connect to the bus at %s: %w", socket, err),
			"systemd and dbus have to run here")
	}
	return c, nil
}

// state is what is known of a unit.
type state struct {
	load, active, sub, result string
	restarts                  uint32
	at                        [2]bus.Sequence // of the answers that said it, one for each of kinds
}

// kinds are the interfaces of a unit that have what is wanted of it.
var (
	kinds  = [2]string{unitIs, serviceIs}
	wanted = []string{"LoadState", "ActiveState", "SubState", "Result", "NRestarts"}
)

// set takes a property.
func (s *state) set(name string, v any) {
	text, _ := v.(string)
	switch name {
	case "LoadState":
		s.load = text
	case "ActiveState":
		s.active = text
	case "SubState":
		s.sub = text
	case "Result":
		s.result = text
	case "NRestarts":
		s.restarts, _ = v.(uint32)
	}
}

func (s *state) sample(unit string) connector.Sample {
	text := s.active
	if s.load == "not-found" && s.active == "inactive" {
		text = s.load
	}
	fields := map[string]string{"load": s.load, "sub": s.sub, "result": s.result, "restarts": strconv.FormatUint(uint64(s.restarts), 10)}
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	return connector.Sample{Labels: map[string]string{"unit": unit}, Text: text, Value: float64(s.restarts), Fields: fields}
}

// Watch tells the states of the units until ctx ends, as connector.Watcher says. They have no past, so there is no position.
func (u *Units) Watch(ctx context.Context, _ []byte, tell func(context.Context, connector.Seen) error) error {
	w := &watch{u: u, tell: tell, ends: "the connection to the bus ended"}
	pause := pauseFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := w.live(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case w.refused != nil:
			return w.refused
		}
		if err := w.look(ctx, connector.Event{Failed: err.Error()}); err != nil {
			return err
		}
		if time.Since(began) > pauseMost {
			pause = pauseFirst
		}
		_ = connector.Sleep(ctx, pause) // the loop looks at ctx
		pause = min(pause*2, pauseMost)
	}
	return nil
}

// The waiting between two connections.
const (
	pauseFirst = 200 * time.Millisecond
	pauseMost  = 10 * time.Second
)
