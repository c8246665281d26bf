package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// Options say how journals are imported.
type Options struct {
	// Item is the URL of a line as the frontier has it. ok is false for one that this crawl does not ask for: dns:, or out
	// of scope. An error makes the line a bad one. It is called from one goroutine.
	Item func(Line) (item frontier.Item, ok bool, err error)
	// RetryFailed queues URLs again that failed.
	RetryFailed bool
	// Bad is told of each line that says nothing, as a *BadLine; of some of them again when an import goes on. nil tells
	// nobody.
	Bad func(error)
	// Progress is told of what is committed, now and then; nil tells nobody.
	Progress func(Report)
}

// Report is what an import did, in all its runs.
type Report struct {
	Lines   int64    `json:"lines"`             // of all files
	Bad     int64    `json:"bad,omitempty"`     // lines that say nothing
	Foreign int64    `json:"foreign,omitempty"` // URLs that this crawl does not ask for, as often as they come
	Ended   int64    `json:"ended"`             // URLs that are known from now on as fetched, failed or left
	Queued  int64    `json:"queued"`            // URLs that were queued
	Cut     []string `json:"cut,omitempty"`     // files that are cut off or damaged, and where
	Again   bool     `json:"-"`                 // it was finished before, and nothing was done
}

// The parts of an import. What ended comes first, of all files: so a line that queues a URL may stand in front of the one that
// ends it or behind, or in another file, and no URL is queued only to be taken out again.
const (
	endedPart = iota
	settlePart
	queuePart
	finished
)

// progress says how far an import has come. It is committed together with what it is about.
type progress struct {
	Part int      `json:"part"`
	File int      `json:"file"`
	At   Position `json:"at"`
	Report
}

// urlsAtOnce is how many URLs a transaction has at most; a variable for tests.
var urlsAtOnce = 25_000

// The other bounds of a transaction.
const (
	bytesAtOnce = 8 << 20
	linesAtOnce = 1_000_000 // that have nothing for the frontier
)

// Target is what journals are imported into: the frontier of a crawl, at rest.
type Target interface {
	// Import takes over, in a transaction, URLs in the state that another crawl left them in, Queued, Done, Failed or Left, and
	// returns of how many it learned something. One that is new is queued, or known as ended from then on. One that is known
	// stays as it is, unless it stands in a queue, or another crawl ended it in a way that says less than this: Done says most,
	// then Failed, then Left.
	Import(tx *store.Tx, items []frontier.Item, states []frontier.State) (learned int, err error)
	// Settle takes URLs out of their queues that Import met there and that are ended, and reports whether more is left to do,
	// in another transaction.
	Settle(tx *store.Tx) (more bool, err error)
}

// Import takes what journals tell into the frontier of a store: URLs that were fetched, failed or were disregarded are never
// asked for, and those that were only queued are queued, in their order. The files are one journal in pieces, as rotations
// left them, the oldest first. As in Heritrix's own import, only lines F+, Fs, Ff and Fd count. The frontier must be at rest.
//
// It may be stopped at any moment, also by a crash: the same files again, and it goes on behind what was committed; once
// it is finished, it does nothing. Files are the same by their size and the hash of their beginning. Files without a
// single line that says something are an Invalid: they are no journal.
func Import(ctx context.Context, st *store.Store, into Target, files []string, o Options) (Report, error) {
	i := &importer{st: st, into: into, o: o}
	defer i.close()
	if err := i.open(files); err != nil {
		return Report{}, err
	}
	err := st.Latest(func(r store.Reader) error {
		_, err := r.Look(i.key, func(v []byte) error {
			if err := json.Unmarshal(v, &i.p); err != nil || i.p.File < 0 || i.p.File > len(files) {
				return fault.New(fault.Corrupt, "what is known of an import is %q: %w", v, err)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return Report{}, err
	}
	i.p.Again = i.p.Part == finished
	for i.p.Part != finished && err == nil {
		if i.p.Part == settlePart {
			err = i.settle(ctx)
		} else {
			err = i.pass(ctx)
		}
	}
	if r := i.p.Report; err == nil && r.Lines > 0 && r.Bad == r.Lines {
		err = fault.WithHint(fault.New(fault.Invalid, "%s: none of the lines is one of a recover journal", strings.Join(files, ", ")),
			"a crawl keeps its own as frontier.recover.gz, beside its logs")
	}
	return i.p.Report, err
}

// importer is an import under way.
type importer struct {
	st    *store.Store
	into  Target
	o     Options
	files []*os.File
	key   store.Key
	p     progress // committed
	part  int      // of the pass that is under way
}

const headSize = 1 << 16

// open opens the files, and names the import by them.
func (i *importer) open(files []string) error {
	if len(files) == 0 {
		return fault.New(fault.Invalid, "import a recover journal: no file is named")
	}
	h := xxh3.New()
	fmt.Fprintln(h, i.o.RetryFailed)
	for _, name := range files {
		f, err := disk.OpenRegular(name)
		if err != nil {
			return fault.As(fault.Invalid, fmt.Errorf("import a recover journal: %w", err))
		}
		i.files = append(i.files, f)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		head := make([]byte, headSize)
		n, err := f.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return err
		}
		fmt.Fprintln(h, info.Size(), xxh3.Hash(head[:n]))
	}
	sum := h.Sum128().Bytes()
	i.key = store.Key{byte(store.Job), 'J', 'i'}.Raw(sum[:])
	return nil
}

func (i *importer) close() {
	for _, f := range i.files {
		f.Close() // it was only read
	}
}

// settle does the part of the import between the two that read files.
func (i *importer) settle(ctx context.Context) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := i.commit(func(tx *store.Tx, p *progress) (err error) {
			if more, err = i.into.Settle(tx); !more {
				p.Part++
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// commit runs a transaction that also records the progress.
func (i *importer) commit(with func(tx *store.Tx, p *progress) error) error {
	p := i.p
	err := i.st.Update(func(tx *store.Tx) error {
		if err := with(tx, &p); err != nil {
			return err
		}
		v, err := json.Marshal(p)
		if err == nil {
			tx.Set(i.key, v)
		}
		return err
	})
	if err == nil {
		i.p = p
	}
	return err
}

// load is what a transaction takes from a file.
type load struct {
	items   []frontier.Item
	states  []frontier.State
	bad     []error
	lines   int64
	foreign int64
	bytes   int
	at      Position
	end     bool  // of the file
	cut     error // what is wrong with that end
}

// pass reads the rest of all files for the present part, in a goroutine of its own, and commits what they hold.
func (i *importer) pass(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	loads := make(chan *load, 1)
	file, at := i.p.File, i.p.At
	i.part = i.p.Part
	g.Go(func() error {
		defer close(loads)
		for ; file < len(i.files); file, at = file+1, (Position{}) {
			if err := i.read(ctx, i.files[file], at, loads); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		told := time.Now()
		for l := range loads {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := i.put(l); err != nil {
				return err
			}
			if i.o.Progress != nil && time.Since(told) > time.Second {
				told = time.Now()
				i.o.Progress(i.p.Report)
			}
		}
		return nil
	})
	return g.Wait()
}

// put commits what was taken from a file.
func (i *importer) put(l *load) error {
	if i.o.Bad != nil {
		for _, err := range l.bad {
			i.o.Bad(err)
		}
	}
	return i.commit(func(tx *store.Tx, p *progress) error {
		learned, err := i.into.Import(tx, l.items, l.states)
		if err != nil {
			return err
		}
		p.Bad += int64(len(l.bad))
		p.Foreign += l.foreign
		if p.At = l.at; i.part == endedPart {
			p.Lines += l.lines
			p.Ended += int64(learned)
		} else {
			p.Queued += int64(learned)
		}
		if !l.end {
			return nil
		}
		if l.cut != nil && i.part == endedPart {
			p.Cut = append(p.Cut[:len(p.Cut):len(p.Cut)], l.cut.Error())
		}
		if p.File, p.At = p.File+1, (Position{}); p.File == len(i.files) {
			p.File, p.Part = 0, p.Part+1
		}
		return nil
	})
}

// read reads a file from a position on.
func (i *importer) read(ctx context.Context, f *os.File, at Position, loads chan<- *load) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := NewReader(f, f.Name())
	if err == nil {
		err = r.Skip(at)
	}
	if err != nil {
		return err
	}
	for end := false; !end; {
		l, err := i.load(r)
		if err != nil {
			return err
		}
		end = l.end
		select {
		case loads <- l:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// load reads what a transaction takes.
func (i *importer) load(r *Reader) (*load, error) {
	l := &load{}
	for len(l.items)+len(l.bad) < urlsAtOnce && l.bytes < bytesAtOnce && l.lines < linesAtOnce {
		line, err := r.Next()
		var bad *BadLine
		switch {
		case err == io.EOF:
			l.end, l.cut = true, r.Cut()
			l.at = r.Position()
			return l, nil
		case errors.As(err, &bad):
			if l.lines++; i.part == endedPart {
				l.bad = append(l.bad, bad)
			}
			continue
		case err != nil:
			return nil, err
		}
		l.lines++
		queues := len(line) > 2 && line[0] == 'F' && line[1] == byte(Queued) && line[2] == ' '
		if queues != (i.part == queuePart) { // it is for the other part
			continue
		}
		l.bytes += len(line)
		if err := i.take(l, string(line)); err != nil {
			l.bad = append(l.bad, r.Bad(line, err))
		}
	}
	l.at = r.Position()
	return l, nil
}

// take takes a line.
func (i *importer) take(l *load, text string) error {
	line, err := Parse(text)
	if errors.Is(err, errEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	var state frontier.State
	switch line.Kind {
	case Queued:
		state = frontier.Queued
	case Fetched:
		state = frontier.Done
	case Failed:
		state = frontier.Failed
	case Disregarded:
		state = frontier.Left
	}
	if state == 0 || state == frontier.Failed && i.o.RetryFailed {
		return nil
	}
	item, ok, err := i.o.Item(line)
	if err != nil {
		return err
	}
	if !ok {
		l.foreign++
		return nil
	}
	l.items, l.states = append(l.items, item), append(l.states, state)
	return nil
}
