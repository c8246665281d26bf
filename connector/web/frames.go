package web

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"holdfast/base/fault"
)

const (
	// maxFrame is the size of a frame, in bytes, that both sides take without being asked (RFC 9113, 4.2).
	maxFrame = 16 << 10
	// window is how many bytes of a body may be under way, and firstWindow what a connection begins with (6.9.2).
	window, firstWindow = 1 << 20, 65535
	// tableSize is that of the fields which a connection remembers, in bytes, if nobody says otherwise (6.5.2).
	tableSize = 4096
	// maxControl is how many frames may come one after the other that are not of the answer.
	maxControl = 10_000
	// lastStream is where a connection is given up for want of numbers.
	lastStream = 1<<31 - 2
)

// frames speaks HTTP/2 on a connection, one stream at a time.
type frames struct {
	r      *http2.Framer
	fields *hpack.Encoder
	block  bytes.Buffer // where fields writes to
	out    bytes.Buffer // where r writes to, sent by flush
	stream uint32       // of the exchange under way, or the last one

	touched bool // a frame of the stream came
	ended   bool // the last one did
	away    bool // the server takes no further streams

	ofConnection, ofStream uint32 // bytes that came and were not yet allowed anew
}

func newFrames(w *wire) *frames {
	f := &frames{}
	f.r = http2.NewFramer(&f.out, w)
	f.r.SetMaxReadFrameSize(maxFrame)
	f.r.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	f.r.MaxHeaderListSize = maxHead
	f.fields = hpack.NewEncoder(&f.block)
	f.out.WriteString(http2.ClientPreface)
	// Writing into memory does not fail, here and below.
	_ = f.r.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: window},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHead})
	_ = f.r.WriteWindowUpdate(0, window-firstWindow)
	return f
}

// ask2 is an exchange by HTTP/2. It reports whether the connection is good for another.
func (c *call) ask2(a *answer) (bool, error) {
	f := a.w.frames
	err := f.request(c, a.w)
	if err == nil {
		err = f.head(a)
	}
	if err != nil && !errors.Is(err, errLong) {
		if a.w.used && !f.touched && c.ctx.Err() == nil && !errors.Is(err, errTime) && !errors.Is(err, errOnlyOne) {
			err = errGone
		}
		return false, c.noAnswer(a.w, err)
	}
	if err == nil {
		a.w.clock.atBody()
		if err = a.wanted(f.ended); err == nil {
			err = f.body(a)
		}
	}
	whole, err := a.ended(err)
	return whole && err == nil && !f.away && f.stream < lastStream, err
}

// request begins a stream.
func (f *frames) request(c *call, w *wire) error {
	if f.stream == 0 {
		f.stream = 1
	} else {
		f.stream += 2
	}
	f.touched, f.ended, f.ofStream = false, false, 0
	f.block.Reset()
	scheme, _, _ := strings.Cut(c.target.origin, "://")
	f.write(":method", http.MethodGet)
	f.write(":scheme", scheme)
	f.write(":authority", c.target.authority)
	f.write(":path", c.target.path)
	for _, l := range c.lines() {
		f.write(strings.ToLower(l.name), l.value)
	}
	part := f.block.Next(maxFrame)
	_ = f.r.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: part, EndStream: true,
		EndHeaders: f.block.Len() == 0})
	for f.block.Len() > 0 {
		part = f.block.Next(maxFrame)
		_ = f.r.WriteContinuation(f.stream, f.block.Len() == 0, part)
	}
	return f.flush(w)
}

func (f *frames) write(name, value string) {
	_ = f.fields.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// flush sends what was written.
func (f *frames) flush(w *wire) error {
	if f.out.Len() == 0 {
		return nil
	}
	defer f.out.Reset()
	return w.write(f.out.Bytes())
}

// head reads up to the head of the answer proper, and keeps those before it aside.
func (f *frames) head(a *answer) error {
	for {
		frame, err := f.next(a.w)
		if err != nil {
			return err
		}
		h, ok := frame.(*http2.MetaHeadersFrame)
		if !ok {
			return fault.New(fault.Transient, "%w: a body without a head", errForm)
		}
		if h.Truncated {
			return fault.New(fault.Transient, "its head is longer than %d bytes", maxHead)
		}
		code := h.PseudoValue("status")
		status, err := strconv.ParseUint(code, 10, 16)
		if err != nil || len(code) != 3 || status < 100 {
			return fault.New(fault.Transient, "%w: the status %q", errForm, code)
		}
		text, fields := writtenOut(int(status), h.RegularFields())
		f.ended = h.StreamEnded()
		if status >= 200 {
			a.x.Status, a.x.Header, a.x.Protocol = int(status), fields, "HTTP/2"
			return a.s.write(text)
		}
		if a.x.Interim = append(a.x.Interim, text...); f.ended || len(a.x.Interim) > maxHead {
			return fault.New(fault.Transient, "%w: no answer behind those of 1xx", errForm)
		}
	}
}

// ofConnections are fields that would say something else of a message of HTTP/1.1 than they can mean here, where they are wrong.
var ofConnections = []string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}

// writtenOut is a head as HTTP/1.1 writes it, since that is what archives are read with. Names are lower case, as they came.
func writtenOut(status int, all []hpack.HeaderField) ([]byte, http.Header) {
	fields := make(http.Header, len(all))
	b := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
	for _, f := range all {
		if slices.Contains(ofConnections, f.Name) {
			continue
		}
		fields.Add(f.Name, f.Value)
		b = append(append(b, f.Name...), ": "...)
		b = append(append(b, f.Value...), "\r\n"...)
	}
	return append(b, "\r\n"...), fields
}

// body reads up to the end of the stream. Fields behind the body are dropped: HTTP/1.1 has a place for them only behind chunks.
func (f *frames) body(a *answer) error {
	for !f.ended {
		frame, err := f.next(a.w)
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			f.ended = frame.StreamEnded()
			if err := a.s.write(frame.Data()); err != nil {
				return err
			}
			if err := f.allow(a.w, frame.Length); err != nil {
				return err
			}
		case *http2.MetaHeadersFrame:
			if f.ended = frame.StreamEnded(); !f.ended {
				return errForm
			}
		}
	}
	return nil
}

// allow lets as many bytes come as came, when that is worth a frame.
func (f *frames) allow(w *wire, n uint32) error {
	f.ofConnection += n
	f.ofStream += n
	if f.ofConnection >= window/2 {
		_ = f.r.WriteWindowUpdate(0, f.ofConnection)
		f.ofConnection = 0
	}
	if f.ofStream >= window/2 && !f.ended {
		_ = f.r.WriteWindowUpdate(f.stream, f.ofStream)
		f.ofStream = 0
	}
	return f.flush(w)
}

// next is the next frame of the stream: a head or a part of the body. Those of the connection are dealt with.
func (f *frames) next(w *wire) (http2.Frame, error) {
	for range maxControl {
		frame, err := f.r.ReadFrame()
		if err != nil {
			return nil, err
		}
		id := frame.Header().StreamID
		f.touched = f.touched || id == f.stream
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame, *http2.DataFrame:
			if id != f.stream {
				return nil, fault.New(fault.Transient, "%w: a frame of another stream", errForm)
			}
			return frame, nil
		case *http2.RSTStreamFrame:
			if id == f.stream {
				return nil, f.reset(frame.ErrCode)
			}
		case *http2.GoAwayFrame:
			f.away = true
			if frame.ErrCode == http2.ErrCodeHTTP11Required {
				return nil, errOnlyOne
			}
			if frame.LastStreamID < f.stream {
				return nil, fault.New(fault.Transient, "the server ends the connection: %s", frame.ErrCode)
			}
		case *http2.PushPromiseFrame:
			return nil, fault.New(fault.Transient, "%w: a push that was declined", errForm)
		case *http2.SettingsFrame:
			f.settle(frame)
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.r.WritePing(true, frame.Data)
			}
		}
		if err := f.flush(w); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.Transient, "%w: more than %d frames that say nothing", errForm, maxControl)
}

// reset is what the end of a stream means. One that was refused was not looked at, so another connection may have better luck.
func (f *frames) reset(code http2.ErrCode) error {
	switch code {
	case http2.ErrCodeHTTP11Required:
		return errOnlyOne
	case http2.ErrCodeRefusedStream:
		f.touched = false
	}
	return fault.New(fault.Transient, "the server ends the stream: %s", code)
}

// settle takes the server's settings.
func (f *frames) settle(s *http2.SettingsFrame) {
	if s.IsAck() {
		return
	}
	if size, ok := s.Value(http2.SettingHeaderTableSize); ok {
		f.fields.SetMaxDynamicTableSizeLimit(size)
	}
	_ = f.r.WriteSettingsAck()
}
