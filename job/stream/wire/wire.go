// Package wire is what the roles of a stream say to each other over a broker.
//
// The channels and payloads of WeatherVane are kept byte by byte, so that its parts and ours work together:
//
//	<prefix>:data:<batch>:<window>     a batch of rows: a JSON array of objects; the last batch is LAST
//	<prefix>:request:<batch>:<window>  send this batch once more; the payload is the window's key
//	<prefix>:processor:<window>        the window is stored; the payload is the window's key
//
// They don't say which day a window is of, how many batches it has, or whether a payload is whole. Messages of our own say
// that, each with a checksum:
//
//	<prefix>:about:manifest:<number>   a window: its number, time, and the rows and hash of each of its batches
//	<prefix>:about:beacon:<number>     the numbers of the oldest window that can be sent again and of the newest
//	<prefix>:about:gone:<number>       a window that was asked for and can't be sent again
//	<prefix>:ask:again:<number>        send the manifest of a window, and these batches of it, once more
//	<prefix>:ask:confirm:<number>      nothing is needed any more of the windows up to this one
//	<prefix>:stored:notice:<number>    a window is in the database: its time, and the rows that it lacks
//	<prefix>:stored:told:<number>      the numbers of the oldest notice that can be given again and of the newest
//	<prefix>:follow:next:<number>      a processor has all notices in front of this one, and wants those from it on
//
// A streamer numbers its windows from 1 on, without holes, within its epoch: so a whole window that was lost is
// told by the number of the next, or by a beacon. An ingester numbers its notices in the same way.
package wire

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/connector"
)

// DefaultPrefix begins the channels of WeatherVane.
const DefaultPrefix = "weather_channel"

// Names are the topics of one stream.
type Names struct{ Prefix string }

// Data is the topic of batches.
func (n Names) Data() string { return n.Prefix + ":data" }

// Request is the topic on which a streamer of old is asked for batches.
func (n Names) Request() string { return n.Prefix + ":request" }

// Processor is the topic on which a processor is told of stored windows.
func (n Names) Processor() string { return n.Prefix + ":processor" }

// About is the topic of manifests, beacons and refusals.
func (n Names) About() string { return n.Prefix + ":about" }

// Ask is the topic on which a streamer of ours is asked, and told what is not needed any more.
func (n Names) Ask() string { return n.Prefix + ":ask" }

// Stored is the topic of notices of windows that are in the database.
func (n Names) Stored() string { return n.Prefix + ":stored" }

// Follow is the topic on which an ingester of ours hears from its processor.
func (n Names) Follow() string { return n.Prefix + ":follow" }

// Check says what is wrong with the prefix.
func (n Names) Check() error {
	if err := (connector.Message{Topic: n.Prefix, Key: "0"}).Check(); err != nil {
		return fmt.Errorf("want words of letters, digits, - and _ with colons between them, got %.100q", n.Prefix)
	}
	return nil
}

// LAST stands for the index of a window's last batch.
const LAST = "LAST"

// Place is where a batch belongs, as a channel says it.
type Place struct {
	Batch  int    // from 0 on; not meant if Last
	Last   bool   // it is the last of its window, whose index the channel does not say
	Window string // the window's key: the hour without padding, by default
}

// Key is the place as the key of a channel: 0:7, LAST:7.
func (p Place) Key() string {
	if p.Last {
		return LAST + ":" + p.Window
	}
	return strconv.Itoa(p.Batch) + ":" + p.Window
}

// maxBatches bounds what a message can make us believe of a window.
const maxBatches = 1_000_000

// ParsePlace reads the key of a channel. Numbers may be padded.
func ParsePlace(key string) (Place, error) {
	batch, window, ok := strings.Cut(key, ":")
	if !ok || window == "" || strings.Contains(window, ":") {
		return Place{}, fmt.Errorf("key %.100q: want <batch>:<window>", key)
	}
	p := Place{Window: unpadded(window)}
	if batch == LAST {
		p.Last = true
		return p, nil
	}
	n, err := strconv.ParseUint(batch, 10, 32)
	if err != nil || n >= maxBatches {
		return Place{}, fmt.Errorf("key %.100q: want the number of a batch or %s, got %.100q", key, LAST, batch)
	}
	p.Batch = int(n)
	return p, nil
}

// unpadded is the one form of a window's key: 07 and 7 are the same hour.
func unpadded(key string) string {
	if strings.Trim(key, "0123456789") != "" {
		return key
	}
	if key = strings.TrimLeft(key, "0"); key == "" {
		return "0"
	}
	return key
}
