package frontier

import (
	"encoding/binary"
	"testing"
)

// FuzzEntry: what is written of a URL is read again, whatever it is; what is read of other bytes is written as it was, or
// refused.
func FuzzEntry(f *testing.F) {
	f.Add("http://example.com/a?b", "http://(com,example,)/a?b", "com,example,", "LLE", "http://example.com/", 3, []byte{1})
	f.Add("https://example.com:8443/A", "http://(com,example,:8443)/a\x00s", "com,example,#8443", "", "", 0, []byte{1, 0, 0, 0, 0, 0})
	f.Add("", "", "", "", "", 0, []byte(nil))
	f.Add("x", "http://(q)x", "q#1#2", "R", "xyz", 1, binary.AppendUvarint([]byte{1, 0, 0, 0, 0}, 1<<63))
	f.Fuzz(func(t *testing.T, url, key, queue, hops, via string, attempts int, other []byte) {
		want := entry{item: Item{URL: url, Key: key, Queue: queue, Hops: hops, Via: via}, attempts: attempts & 0xffff,
			source: uint32(len(via))}
		var got entry
		if !got.decode(want.encode(), queue) || got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		_ = new(entry).decode(other, queue)
		_ = new(record).decode(other)
		for n := range want.encode() {
			if new(entry).decode(want.encode()[:n], queue) {
				t.Errorf("%d bytes of %x are an entry", n, want.encode())
			}
		}
	})
}

// FuzzRecord: what is written of a host is read again.
func FuzzRecord(f *testing.F) {
	f.Add("com,example,", uint64(1), uint64(2), uint64(1)<<40, true, false, true)
	f.Fuzz(func(t *testing.T, name string, queued, done, bytes uint64, held, spent, own bool) {
		want := record{name: name, queued: queued, waiting: 3, done: done, failed: 4, left: 5, bytes: bytes, due: 6,
			head: place{7, 8}, stale: 9, patterns: 10, held: held, spent: spent}
		if own {
			want.own = &Limits{queued, bytes}
		}
		var got record
		if !got.decode(want.encode()) {
			t.Fatalf("%x is none", want.encode())
		}
		if (got.own == nil) != (want.own == nil) || got.own != nil && *got.own != *want.own {
			t.Errorf("limits %+v, want %+v", got.own, want.own)
		}
		if got.own = want.own; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
