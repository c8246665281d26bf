package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// event is one of inotify.
type event struct {
	wd   int32
	mask uint32
	name string // in the directory watched; "" if it is the directory itself
}

// events cuts what inotify gave. Behind something that is no whole event nothing can be trusted.
func events(b []byte, each func(event)) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofInotifyEvent {
			return fmt.Errorf("%d bytes of an event of inotify", len(b))
		}
		wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
		size := uint64(binary.NativeEndian.Uint32(b[12:]))
		b = b[unix.SizeofInotifyEvent:]
		if size > uint64(len(b)) {
			return fmt.Errorf("an event of inotify has a name of %d bytes, and %d follow", size, len(b))
		}
		name := b[:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		each(event{wd: wd, mask: mask, name: string(name)})
		b = b[size:]
	}
	return nil
}
