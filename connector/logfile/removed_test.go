package logfile

import (
	"os"
	"sync"
	"testing"
	"time"
)

// Files that were removed before they were begun are a gap, if nobody can say that there were none.
func TestRemovedUnread(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*log)
		want []string
	}{
		// The kernel told that one file came.
		"not kept": {func(l *log) { must(t, os.Remove(l.cfg.Path)); l.write("two\n") }, []string{"one", "two"}},
		"not kept, twice": {func(l *log) {
			must(t, os.Remove(l.cfg.Path))
			l.write("lost\n")
			must(t, os.Remove(l.cfg.Path))
			l.write("two\n")
		}, []string{"one", "GAP may have been", "two"}},
		"one kept, twice": {func(l *log) {
			l.rename("", ".1")
			l.write("lost\n")
			l.rename("", ".1")
			l.write("two\n")
			l.rename("", ".1")
			l.write("three\n")
		}, []string{"one", "GAP may have been", "two", "three"}},
		// An older one is there still: then none behind it was removed.
		"one too many kept": {func(l *log) {
			l.rename("", ".2")
			l.write("two\n")
			must(t, os.Remove(l.path(".2")))
			l.rename("", ".1")
			appendTo(t, l.path(".3"), "old\n")
			must(t, os.Chtimes(l.path(".3"), time.Time{}, time.Now().AddDate(0, 0, -1)))
			l.write("three\n")
		}, []string{"one", "two", "three"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.cfg.Settle = 300 * time.Millisecond
			l.write("before\n")
			l.start()
			l.Ready()
			// The reader is held until all is done: else it may have come as far as the second file, before that is removed too.
			holds, goOn := make(chan struct{}), make(chan struct{})
			first := sync.OnceFunc(func() { close(holds); <-goOn })
			l.Refuse(func() error { first(); return nil })
			l.write("one\n")
			<-holds
			c.do(l)
			close(goOn)
			l.Tells(c.want...)
		})
	}
}

// A file of which nothing was read is known by its inode and its birth alone.
func TestRemovedUntouched(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*log)
		want []string
	}{
		"there":   {func(l *log) { l.write("one\n") }, []string{"one"}},
		"renamed": {func(l *log) { l.write("one\n"); l.rename("", ".1"); l.write("two\n") }, []string{"one", "two"}},
		"removed": {func(l *log) {
			l.write("lost\n")
			must(t, os.Remove(l.cfg.Path))
			l.write("two\n")
		}, []string{"GAP may have been", "two"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.write("")
			l.start()
			l.Ready()
			l.Stop()
			c.do(l)
			l.start()
			l.Tells(c.want...)
		})
	}
}

// A file that was read is not what follows it, though it was packed when that was asked for.
func TestPackedJustNow(t *testing.T) {
	l := newLog(t)
	appendTo(t, l.path(".1"), "one\n")
	s, err := open(l.path(".1"))
	must(t, err)
	defer s.f.Close()
	p := place{known: known{s.identity, print{Offset: 4, Head: hash([]byte("one\n"))}}, Mod: s.mod.UnixNano()}
	pack(t, l.path(".1"))
	l.write("two\n")
	if e, err := l.cfg.files().next(&p); err != nil || e.path != l.cfg.Path || !e.sure {
		t.Errorf("got %+v, %v", e, err)
	}
}

// Some that pack files (pigz) keep no more of the time than the second.
func TestPackedByTheSecond(t *testing.T) {
	l := newLog(t)
	l.write("before\n")
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.Stop()
	l.write("two\n")
	l.rename("", ".1")
	info, err := os.Stat(l.path(".1"))
	must(t, err)
	pack(t, l.path(".1"))
	must(t, os.Chtimes(l.path(".1.gz"), time.Time{}, info.ModTime().Truncate(time.Second)))
	l.write("three\n")
	l.start()
	l.Tells("one", "two", "three")
}
