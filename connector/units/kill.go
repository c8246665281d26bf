package units

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// Kill sends a signal, by its name without SIG, to all processes of a unit, over the bus at a socket ("" for this
// machine's). Kinds as those of Do.
func Kill(ctx context.Context, socket, unit, signal string) error {
	number := unix.SignalNum("SIG" + signal)
	if number == 0 {
		return fault.New(fault.Invalid, "signal %s: there is no SIG%s", unit, signal)
	}
	if err := checkUnit(unit); err != nil {
		return fault.New(fault.Invalid, "signal: %w", err)
	}
	c, err := connect(ctx, cmp.Or(socket, Socket()))
	if err != nil {
		return fmt.Errorf("signal %s: %w", unit, err)
	}
	defer c.Close()
	return refusal("signal", unit, c.Object(systemd, root).CallWithContext(ctx, managerIs+".KillUnit", 0, unit, "all", int32(number)).Err)
}

// Socket is that of the system bus: what DBUS_SYSTEM_BUS_ADDRESS names (D-Bus Specification, "Well-known Message Bus
// Instances"), else the usual one.
func Socket() string {
	if path, ok := strings.CutPrefix(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), "unix:path="); ok {
		return path
	}
	return usualBus
}
