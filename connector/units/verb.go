package units

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	bus "github.com/godbus/dbus/v5"

	"holdfast/base/fault"
)

// verbs are what Do does.
var verbs = []string{"start", "stop", "restart", "reload", "reload-or-restart", "try-restart", "reset-failed"}

var methods = map[string]string{"start": "StartUnit", "stop": "StopUnit", "restart": "RestartUnit", "reload": "ReloadUnit",
	"reload-or-restart": "ReloadOrRestartUnit", "try-restart": "TryRestartUnit", "reset-failed": "ResetFailedUnit"}

// Do does a verb with a unit over the bus at a socket ("" for this machine's), and returns when systemd is done with it.
// Kinds: NotFound if there is no such unit, Credentials if we may not, Invalid if systemd tried and failed, Transient if
// the bus is away, ctx ended or another job took this one's place. What was begun goes on behind an end of ctx, and
// without a bus: a bus that comes back is asked how it went. Where ctx ends before, or nobody can say, the outcome is not
// known (ErrUnknown).
func Do(ctx context.Context, socket, verb, unit string) error {
	method := methods[verb]
	if method == "" {
		return fault.New(fault.Invalid, "%s %s: there is no verb %q; want one of %v", verb, unit, verb, verbs)
	}
	if err := checkUnit(unit); err != nil {
		return fault.New(fault.Invalid, "%s: %w", verb, err)
	}
	c, err := connect(ctx, cmp.Or(socket, Socket()))
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	defer c.Close()
	if verb == "reset-failed" {
		return refusal(verb, unit, c.Object(systemd, root).CallWithContext(ctx, managerIs+"."+method, 0, unit).Err)
	}
	return (&job{socket: cmp.Or(socket, Socket()), verb: verb, unit: unit}).do(ctx, c, method)
}

// ErrUnknown is in the error of Do when a job was begun, and how it ended is not known.
var ErrUnknown = errors.New("its outcome is not known")

// outcome is what the result of a job means (org.freedesktop.systemd1(5), JobRemoved).
func outcome(verb, unit, result string) error {
	switch result {
	case "done", "skipped": // a try-restart of what does not run is skipped
		return nil
	case "canceled", "collected":
		return fault.New(fault.Transient, "%s %s: another job took its place (%s)", verb, unit, result)
	}
	return fault.WithHint(fault.New(fault.Invalid, "%s %s: systemd says: %s", verb, unit, result), "journalctl -u %s says why", unit)
}

// refusal is why systemd began nothing, with its kind.
func refusal(verb, unit string, err error) error {
	if err == nil {
		return nil
	}
	kind := cmp.Or(fault.KindOf(err), fault.Transient)
	if e, ok := errors.AsType[bus.Error](err); ok {
		switch e.Name {
		case systemd + ".NoSuchUnit", systemd + ".LoadFailed":
			kind = fault.NotFound
		case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
			"org.freedesktop.DBus.Error.AuthFailed":
			kind = fault.Credentials
		case systemd + ".UnitMasked", systemd + ".JobTypeNotApplicable", systemd + ".OnlyByDependency", "org.freedesktop.DBus.Error.InvalidArgs":
			kind = fault.Invalid
		}
	}
	return fault.New(kind, "%s %s: %w", verb, unit, err)
}
