package units

import (
	"context"
	"fmt"
	"slices"
	"time"

	bus "github.com/godbus/dbus/v5"

	"holdfast/base/fault"
	"holdfast/connector"
)

// watch is one Watch. One goroutine uses it.
type watch struct {
	u       *Units
	tell    func(context.Context, connector.Seen) error
	refused error // what tell said
	ends    string
	looks   int

	c      *bus.Conn
	states map[string]*state
	byPath map[bus.ObjectPath]string
}

// live watches over one connection until that ends.
func (w *watch) live(ctx context.Context) error {
	c, err := connect(ctx, w.u.bus)
	if err != nil {
		return err
	}
	defer c.Close()
	w.c, w.states, w.byPath = c, map[string]*state{}, map[bus.ObjectPath]string{}
	signals := make(chan *bus.Signal, 256)
	c.Signal(signals)
	if err := w.listen(ctx); err != nil {
		return err
	}
	if err := w.askAll(ctx); err != nil {
		return err
	}
	net := time.NewTicker(w.u.look)
	defer net.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Context().Done():
			return fault.New(fault.Transient, "watch units: %s", w.ends)
		case s, ok := <-signals:
			if !ok {
				return fault.New(fault.Transient, "watch units: %s", w.ends)
			}
			err = w.signal(ctx, s)
		case <-net.C:
			err = w.askAll(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// listen asks for systemd's signals, and those of the bus when systemd comes and goes.
func (w *watch) listen(ctx context.Context) error {
	matches := [][]bus.MatchOption{
		{bus.WithMatchSender(systemd), bus.WithMatchInterface(managerIs)},
		{bus.WithMatchInterface("org.freedesktop.DBus"), bus.WithMatchMember("NameOwnerChanged"), bus.WithMatchArg(0, systemd)},
	}
	for _, name := range w.u.names {
		w.byPath[pathOf(name)] = name
		matches = append(matches, []bus.MatchOption{bus.WithMatchSender(systemd), bus.WithMatchInterface(properties),
			bus.WithMatchObjectPath(pathOf(name))})
	}
	for _, m := range matches {
		if err := w.c.AddMatchSignalContext(ctx, m...); err != nil {
			return fault.New(fault.Transient, "watch units: %w", err)
		}
	}
	_, err := w.call(ctx, root, managerIs+".Subscribe")
	return err
}

func (w *watch) call(ctx context.Context, at bus.ObjectPath, method string, args ...any) (*bus.Call, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	call := w.c.Object(systemd, at).CallWithContext(ctx, method, 0, args...)
	if call.Err != nil {
		return nil, fault.New(fault.Transient, "ask systemd: %w", call.Err)
	}
	return call, nil
}

// askAll asks for all units, and tells what they are.
func (w *watch) askAll(ctx context.Context) error {
	for _, name := range w.u.names {
		if err := w.ask(ctx, name); err != nil {
			return err
		}
	}
	return w.told(ctx)
}

// ask asks for the state of one unit. systemd loads a unit for that which it did not know of.
func (w *watch) ask(ctx context.Context, name string) error {
	s := &state{}
	for i, kind := range kinds {
		call, err := w.call(ctx, pathOf(name), properties+".GetAll", kind)
		if err != nil {
			if kind == serviceIs { // it is none
				break
			}
			return err
		}
		var all map[string]bus.Variant
		if err := call.Store(&all); err != nil {
			return fault.New(fault.Transient, "ask systemd for %s: %w", name, err)
		}
		for property, v := range all {
			s.set(property, v.Value())
		}
		s.at[i] = call.ResponseSequence
	}
	w.states[name] = s
	return nil
}

// signal takes what systemd says.
func (w *watch) signal(ctx context.Context, s *bus.Signal) error {
	switch s.Name {
	case properties + ".PropertiesChanged":
		name, ours := w.byPath[s.Path]
		if ours && len(s.Body) == 3 {
			return w.changed(ctx, name, s)
		}
	case "org.freedesktop.DBus.NameOwnerChanged":
		if len(s.Body) == 3 && s.Body[2] == "" {
			return fault.New(fault.Transient, "watch units: systemd has left the bus")
		}
		_, err := w.call(ctx, root, managerIs+".Subscribe")
		if err != nil {
			return err
		}
		return w.askAll(ctx)
	case managerIs + ".Reloading":
		if len(s.Body) == 1 && s.Body[0] == false {
			return w.askAll(ctx)
		}
	}
	// What is loaded and unloaded is not looked at: to ask for a unit loads it, and so would ask for it again and again.
	return nil
}

// changed takes what a signal says has changed. One that was sent before the unit was asked for says nothing new.
func (w *watch) changed(ctx context.Context, name string, s *bus.Signal) error {
	st := w.states[name]
	kind, _ := s.Body[0].(string)
	if i := slices.Index(kinds[:], kind); i < 0 || s.Sequence < st.at[i] {
		return nil
	}
	was := *st
	values, _ := s.Body[1].(map[string]bus.Variant)
	for property, v := range values {
		st.set(property, v.Value())
	}
	lost, _ := s.Body[2].([]string) // they have changed, and are to be asked for
	if slices.ContainsFunc(lost, func(p string) bool { return slices.Contains(wanted, p) }) {
		if err := w.ask(ctx, name); err != nil {
			return err
		}
	}
	now := *w.states[name]
	if now.at = was.at; now == was {
		return nil
	}
	return w.told(ctx)
}

// told tells a look at all units.
func (w *watch) told(ctx context.Context) error {
	var e connector.Event
	for _, name := range w.u.names {
		e.Samples = append(e.Samples, w.states[name].sample(name))
	}
	return w.look(ctx, e)
}

func (w *watch) look(ctx context.Context, e connector.Event) error {
	w.looks++
	e.Kind, e.Time = connector.EventLook, time.Now()
	e.ID = fmt.Sprintf("%d-%d", e.Time.UnixNano(), w.looks)
	w.refused = w.tell(ctx, connector.Seen{Events: []connector.Event{e}})
	return w.refused
}
