package desk

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"holdfast/connector/notify"
	"holdfast/kernel/engine"
)

const (
	// alarmEvery is the time between two looks at the jobs.
	alarmEvery = 15 * time.Second
	// maxUnsent is how much waits for a target that is slow or down; what comes then is dropped, and logged.
	maxUnsent = 100
)

// sendPauses are the waits before the further tries to send something.
var sendPauses = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}

// Notify tells people by the plan's targets what they must know, until ctx ends. A target that is down holds
// up nothing but itself.
func (d *Desk) Notify(ctx context.Context) error {
	if len(d.plan.Notify) == 0 || d.eng == nil {
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	var queues []chan string
	for _, name := range slices.Sorted(maps.Keys(d.plan.Notify)) {
		target, err := notify.Open(d.plan.Notify[name])
		if err != nil {
			return fmt.Errorf("notify %s: %w", name, err)
		}
		q := make(chan string, maxUnsent)
		queues = append(queues, q)
		wg.Go(func() { d.sendAll(ctx, name, target.Send, q) })
	}
	a := newAlarms(d.plan.Alerts)
	if text, err := os.ReadFile(notifiedFile(d.plan.Place.Dir)); err == nil {
		a.load(text)
	}
	tick := time.NewTicker(alarmEvery)
	defer tick.Stop()
	for {
		d.alarm(ctx, a, queues)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// alarm looks once, and hands on what is to be told.
func (d *Desk) alarm(ctx context.Context, a *alarms, queues []chan string) {
	before := a.book.Heard
	g, err := d.Gauges(ctx)
	if err != nil {
		return // told by those who work there
	}
	var heard engine.Positions
	if from, perr := engine.ParsePositions(before); perr != nil { // there are none: the past is no news
		_, heard, err = d.Events(ctx, "", 1)
		a.look(time.Now(), g, nil)
	} else {
		list, to, lerr := d.EventsBehind(ctx, "", from, 1000)
		heard, err = to, lerr
		news, _ := from.News(list, d.since) // what a job did before that was not open yet is none
		a.look(time.Now(), g, news)
	}
	if err == nil {
		a.book.Heard = heard.String()
	}
	if len(a.out) == 0 && a.book.Heard == before {
		return
	}
	d.hand(a, queues)
}

// hand gives what is to be told to the targets, and waits for none.
func (d *Desk) hand(a *alarms, queues []chan string) {
	// Before anything is sent: who ends in between must not tell it again at each start.
	if err := a.save(d.plan.Place.Dir); err != nil {
		d.plan.Log.Warn(fmt.Sprintf("what is told is not remembered: %v", err))
	}
	for _, text := range a.out {
		for _, q := range queues {
			select {
			case q <- "Holdfast: " + text:
			default:
				d.plan.Log.Warn("too much waits to be told; dropped: " + text)
			}
		}
	}
	a.out = nil
}

// sendAll sends what comes in the queue until ctx ends. What can't be sent after some tries is dropped, and
// logged.
func (d *Desk) sendAll(ctx context.Context, name string, send func(string) error, q <-chan string) {
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-q:
			err := send(text)
			for _, pause := range sendPauses {
				if err == nil {
					break
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
				err = send(text)
			}
			if err != nil {
				d.plan.Log.Warn(fmt.Sprintf("notify %s: %v; dropped: %s", name, err, text))
			}
		}
	}
}
