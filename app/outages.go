package app

import (
	"context"
	"time"

	"holdfast/connector"
)

// Outages are what a person can switch on to see how jobs take it: a tour has some. The jobs know nothing of them.
type Outages interface {
	// Switches are the outages as they are switched.
	Switches() []Outage
	// Switch begins an outage, or ends it. A NotFound fault says that there is none of that name.
	Switch(ctx context.Context, name string, on bool) error
	// DiskIsFull is what the engine is told of its disk.
	DiskIsFull() bool
	// Broker returns the embedded broker as jobs get it. It may be called by several of them at a time.
	Broker(b connector.Broker) connector.Broker
}

// Outage is one that can be switched.
type Outage struct {
	Name  string    `json:"name"`
	Title string    `json:"title"`
	Text  string    `json:"text"` // what happens
	Look  string    `json:"look"` // what to look at, and what follows when it ends
	Jobs  []string  `json:"jobs"` // that notice
	On    bool      `json:"on"`
	Since time.Time `json:"since,omitzero"`
	// Moment: it is over by itself.
	Moment bool `json:"moment,omitempty"`
}
