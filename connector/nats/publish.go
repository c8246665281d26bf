package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
)

// How much may be on its way without an answer. A server holds back those who send more than it can
// store.
const (
	mostUnanswered      = 1024
	mostUnansweredBytes = 4 << 20
)

// What the header of a message is, but for its id.
const (
	headerStart = "NATS/1.0\r\n" + nats.MsgIdHdr + ": "
	headerEnd   = "\r\n\r\n"
)

// answer is what a stream says to one message.
type answer struct {
	jetstream.PubAck
	Error *jetstream.APIError `json:"error"`
}

// publisher sends messages and takes the answers to them, in whatever order those come.
type publisher struct {
	s       *session
	timeout time.Duration
	settle  func(row int, a answer) error
	sub     *nats.Subscription
	prefix  string
	answers chan *nats.Msg
	pending map[int]int // bytes of each row that has no answer
	bytes   int
	silence *time.Timer
}

func (s *session) publisher(timeout time.Duration, settle func(int, answer) error) (*publisher, error) {
	p := &publisher{s: s, timeout: timeout, settle: settle, prefix: s.nc.NewInbox() + ".",
		// Room for all answers there can be: else the client would drop some.
		answers: make(chan *nats.Msg, mostUnanswered), pending: map[int]int{},
		silence: time.NewTimer(timeout)}
	var err error
	p.sub, err = s.nc.ChanSubscribe(p.prefix+"*", p.answers)
	return p, err
}

func (p *publisher) close() {
	p.silence.Stop()
	_ = p.sub.Unsubscribe() // it fails on a closed connection, which has none
}

// publish sends a row's message, once there is room for its answer.
func (p *publisher) publish(ctx context.Context, row int, subject, id string, body []byte) error {
	for p.bytes > mostUnansweredBytes || len(p.pending) >= mostUnanswered {
		if err := p.one(ctx); err != nil {
			return err
		}
	}
	msg := &nats.Msg{Subject: subject, Reply: p.prefix + strconv.Itoa(row), Data: body,
		Header: nats.Header{nats.MsgIdHdr: []string{id}}}
	if err := p.s.nc.PublishMsg(msg); err != nil {
		return err
	}
	p.pending[row] = len(body)
	p.bytes += len(body)
	return nil
}

// wait takes answers until no more than so many are missing.
func (p *publisher) wait(ctx context.Context, missing int) error {
	for len(p.pending) > missing {
		if err := p.one(ctx); err != nil {
			return err
		}
	}
	return nil
}

// one takes one answer.
func (p *publisher) one(ctx context.Context) error {
	p.silence.Reset(p.timeout)
	select {
	case m := <-p.answers:
		return p.take(m)
	case <-ctx.Done():
		return fault.New(fault.Transient, "wait for acknowledgements: %w", ctx.Err())
	case <-p.s.told:
		return p.s.why()
	case <-p.s.closed:
		return p.s.why()
	case <-p.silence.C:
		return fault.New(fault.Transient, "no acknowledgement for %v", p.timeout)
	}
}

func (p *publisher) take(m *nats.Msg) error {
	row, err := strconv.Atoi(strings.TrimPrefix(m.Subject, p.prefix))
	size, asked := p.pending[row]
	if err != nil || !asked {
		return fault.New(fault.Transient, "an answer came to no question of ours: %s", m.Subject)
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return fault.New(fault.Transient, "no stream takes the subject, or it has no leader now")
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("read acknowledgement: %w", err)
	}
	delete(p.pending, row)
	p.bytes -= size
	return p.settle(row, a)
}
