package streamer

import (
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
)

// packVersion begins the value of a batch or a tail in the store; a zstd frame with a checksum follows.
const packVersion = 1

// mostUnpacked bounds what damaged bytes can make us unpack, far above any batch.
const mostUnpacked = 64 << 20

// An encoder is large, and serves any number of callers: there is one for all streamers of the process.
var (
	packer   = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10)))
	unpacker = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(mostUnpacked), zstd.WithDecoderConcurrency(2)))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options are ours
	}
	return v
}

func pack(text []byte) []byte {
	return packer.EncodeAll(text, append(make([]byte, 0, 64+len(text)/8), packVersion))
}

func unpack(v []byte) ([]byte, error) {
	if len(v) == 0 || v[0] != packVersion {
		return nil, fault.New(fault.Corrupt, "unpack: %d bytes are of no version that is known", len(v))
	}
	text, err := unpacker.DecodeAll(v[1:], nil)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "unpack: %w", err)
	}
	return text, nil
}
