package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/base/resident"
	"holdfast/face/api"
)

// process runs the jobs of a plan until they are done or a signal comes.
type process struct {
	plan *app.Plan
	log  *slog.Logger
	// ready is called when everything stands; beside are further things to run.
	ready  func(d *desk.Desk, api string)
	beside []func(ctx context.Context) error
	// anyPort: if the address is taken, any other will do.
	anyPort bool

	undone []string // jobs that a signal ended before their work was done; set by run
}

func (p *process) run(ctx context.Context) (err error) {
	lock, err := p.plan.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() { err = errors.Join(err, p.plan.Close()) }()
	p.plan.Ask = askOther
	ctx, stop := p.signals(ctx)
	defer stop()
	hangups := make(chan os.Signal, 1)
	if p.plan.Reloadable() {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	p.notices()
	if err := p.plan.TakeOver(ctx); err != nil {
		return err
	}
	if err := p.plan.Begin(ctx); err != nil {
		return err
	}
	eng, err := p.plan.Engine(p.storageFailed)
	if err != nil {
		return err
	}
	defer os.Unsetenv(respawnVariable)
	d := desk.New(p.plan, eng)
	g, all := errgroup.WithContext(ctx)
	serving, endServing := context.WithCancel(all)
	defer endServing()
	url, err := p.serve(serving, g, d)
	if err != nil {
		endServing()
		return errors.Join(err, g.Wait())
	}
	p.accompany(serving, g, d, hangups)
	g.Go(func() error {
		defer endServing()
		return eng.Run(all)
	})
	if p.ready != nil {
		p.ready(d, url)
	}
	notify(daemon.SdNotifyReady + "\nSTATUS=" + d.Health())
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		p.undone = eng.Undone()
	}
	// The signal that ended the work does not end this; a second one ends everything.
	if err := desk.CheckpointAtEnd(context.WithoutCancel(ctx), p.plan); err != nil {
		p.log.Warn(fmt.Sprintf("no checkpoint at the end: %v", err))
	}
	return nil
}

// askOther puts a question to the engine of another process of ours.
func askOther(ctx context.Context, dir, path string, answer any) error {
	c, err := api.Dial(dir)
	if err != nil {
		return err
	}
	return c.Do(ctx, api.Request{Method: http.MethodGet, Path: path, Result: answer})
}

// accompany runs what goes on beside the jobs until ctx ends.
func (p *process) accompany(ctx context.Context, g *errgroup.Group, d *desk.Desk, hangups <-chan os.Signal) {
	for _, f := range p.beside {
		g.Go(func() error { return f(ctx) })
	}
	g.Go(func() error { return watchdog(ctx, d.Health) })
	g.Go(func() error { return resident.Settle(ctx) })
	g.Go(func() error { return p.reloads(ctx, hangups, d) })
	g.Go(func() error { return d.KeepCheckpoints(ctx) })
	g.Go(func() error { return d.Notify(ctx) })
}

// notices tells what people must know from the start.
func (p *process) notices() {
	place := p.plan.Place
	if place.Temporary() {
		text := fmt.Sprintf("data directory %s can't be written (%s): data goes to %s, which does not "+
			"survive a reboot", place.Default, place.Why, place.Dir)
		p.plan.Notices = append(p.plan.Notices, text)
		p.log.Error(text)
		p.log.Error(fmt.Sprintf("make %s writable and start again; what is kept here is taken over then",
			place.Default))
	}
}

// serve opens the control socket and, if the plan says so, the TCP door.
func (p *process) serve(ctx context.Context, g *errgroup.Group, d *desk.Desk) (url string,
	err error) {
	h := api.Handler(d)
	sock, err := api.ListenSocket(p.plan.Place.Dir)
	if err != nil {
		return "", err
	}
	g.Go(func() error { return api.Serve(ctx, sock, h) })
	if p.plan.Listen == app.NoListen || p.plan.Listen == "" {
		return "", nil
	}
	ln, err := net.Listen("tcp", p.plan.Listen)
	if err != nil && p.anyPort {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", &exitError{Failed,
			fmt.Errorf("listen on %s: %w (choose another address with --listen)",
				p.plan.Listen, err)}
	}
	door := api.Open(h, api.Keys{Token: p.plan.Token, Read: p.plan.ReadToken, Public: p.plan.Public})
	g.Go(func() error { return api.Serve(ctx, ln, door) })
	return "http://" + ln.Addr().String(), nil
}

// signals returns a context that ends with the first SIGINT or SIGTERM. A second one ends the
// process at once; SIGQUIT shows every goroutine first. All of that is a normal exit: the stores
// are whole at every moment.
func (p *process) signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() { // ended by stop, which waits for it
		defer close(finished)
		for n := 0; ; {
			select {
			case <-done:
				return
			case s := <-got:
				if s == syscall.SIGQUIT {
					dump()
					os.Exit(Failed)
				}
				if n++; n > 1 {
					p.log.Warn(fmt.Sprintf("%v again: ending at once", s))
					os.Exit(Failed)
				}
				p.log.Info(fmt.Sprintf("%v: finishing what is under way; once more ends at once", s))
				notify(daemon.SdNotifyStopping)
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		close(done)
		<-finished
		cancel()
	}
}

// dump writes the stacks of all goroutines to stderr.
func dump() {
	b := make([]byte, 1<<20)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			os.Stderr.Write(b[:n])
			return
		}
		b = make([]byte, 2*len(b))
	}
}

func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// watchdog tells systemd that we live, if it wants to know, and how we are. It does so only while the engine
// answers: a process that hangs is killed and started again.
func watchdog(ctx context.Context, health func() string) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return nil
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			how := health()
			if ctx.Err() == nil {
				notify(daemon.SdNotifyWatchdog + "\nSTATUS=" + how)
			}
		}
	}
}

// reloads reads the configuration anew at each SIGHUP. What is wrong with it is told, and changes nothing.
func (p *process) reloads(ctx context.Context, hangups <-chan os.Signal, d *desk.Desk) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
			notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
		}
		if did, err := d.Reload(ctx); err != nil {
			var attrs []any
			if hint := fault.HintOf(err); hint != "" {
				attrs = append(attrs, "hint", hint)
			}
			what := "configuration is not read anew, everything goes on as it was"
			if did.Any() {
				what = "configuration is read anew in part"
			}
			p.log.Error(fmt.Sprintf("%s: %v", what, err), attrs...)
		}
		notify(daemon.SdNotifyReady + "\nSTATUS=" + d.Health())
	}
}

const (
	// respawnVariable counts the respawns behind each other: number@unix-seconds of the last.
	respawnVariable = "HOLDFAST_RESPAWNS"
	maxRespawns     = 5
	respawnWindow   = time.Minute
)

// respawnPause is how much longer each respawn waits than the one before it. Tests shorten it.
var respawnPause = time.Second

// storageFailed is called when a store's log can't be written: what is in memory is ahead of the
// disk, so the process must end. systemd starts us again; else we start ourselves again, and that
// start waits until there is room. It does not return.
func (p *process) storageFailed(err error) {
	p.log.Error(fmt.Sprintf("a store can't be written: %v; nothing that was acknowledged is lost",
		err))
	underSystemd := os.Getenv("INVOCATION_ID") != "" || os.Getenv("NOTIFY_SOCKET") != ""
	n := respawns(os.Getenv(respawnVariable), time.Now())
	if p.plan.Once || underSystemd || n >= maxRespawns {
		p.log.Error(fmt.Sprintf("ending with exit code %d", StorageFailed))
		os.Exit(StorageFailed)
	}
	exe, exeErr := os.Executable()
	if exeErr == nil {
		p.log.Error("starting again; work goes on when there is room")
		time.Sleep(time.Duration(n) * respawnPause)
		os.Setenv(respawnVariable, fmt.Sprintf("%d@%d", n+1, time.Now().Unix()))
		exeErr = syscall.Exec(exe, os.Args, os.Environ())
	}
	p.log.Error(fmt.Sprintf("can't start again (%v); ending with exit code %d", exeErr, StorageFailed))
	os.Exit(StorageFailed)
}

// respawns is how many respawns came close behind each other before now.
func respawns(s string, now time.Time) int {
	count, at, ok := strings.Cut(s, "@")
	n, err := strconv.Atoi(count)
	sec, err2 := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || err2 != nil || now.Sub(time.Unix(sec, 0)) > respawnWindow {
		return 0
	}
	return n
}
