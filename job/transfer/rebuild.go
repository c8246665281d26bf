package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/connector"
	"holdfast/kernel/store"
)

// Rebuild makes the entries of a ledger that was lost, or lacks some, from what stands at the destinations and what is known
// of the originals. It removes no entry, and may be repeated: what the ledger has is not looked at again.
type Rebuild struct {
	Ledger       connector.Ledger
	Destinations []Destination
	// Root is the directory that the originals stand in, or their packed forms.
	Root string
	Pack *Packer // nil: nothing is packed
	// Replaces says that packed forms take the place of originals: one that stands alone is not an original itself.
	Replaces bool
	Meta     *regexp.Regexp
	// Store is that of the job, nil if it has none. Its records are believed first.
	Store *store.Store
	Dir   string // for what is fetched and unpacked, one file at a time
	Dry   bool   // nothing is written
	// Tell is told of progress in files; Left of each that no entry can be made of.
	Tell func(done, total int64)
	Left func(Difference)

	perPass int // for tests; 0 for mostNames
}

// Rebuilt is what a rebuild did.
type Rebuilt struct {
	Known int64 // shipments that the ledger has
	Added int64 // shipments that it was given; with Dry, that it would be
	Left  int64 // files at destinations that no entry can be made of
}

// mostNames is how many names are held in memory. If there are more, the files are gone through in several passes; each pass
// has the names whose hash falls into its part.
const mostNames = 1 << 20

// Run goes through all files of all destinations.
func (b *Rebuild) Run(ctx context.Context) (Rebuilt, error) {
	r := &rebuilding{Rebuild: b}
	for _, t := range b.Destinations {
		if err := meet(ctx, t.To); err != nil {
			return r.found, err
		}
	}
	most := b.perPass
	if most == 0 {
		most = mostNames
	}
	p := &pass{of: 1}
	n, err := r.gather(ctx, p, most)
	if err != nil {
		return r.found, err
	}
	r.total = p.files
	passes := 1
	if n > most {
		passes = 2*n/most + 1
	}
	for i := range passes {
		if passes > 1 {
			p = &pass{n: uint32(i), of: uint32(passes)}
			if _, err := r.gather(ctx, p, n); err != nil {
				return r.found, err
			}
		}
		if err := r.work(ctx, p); err != nil {
			return r.found, err
		}
	}
	return r.found, nil
}

// rebuilding is a rebuild at work.
type rebuilding struct {
	*Rebuild
	found       Rebuilt
	done, total int64
}

// pass is the names that are held in memory at one time.
type pass struct {
	n, of uint32
	there map[string]uint64   // names at the destinations: a bit for each that has it, and the ledger does not know
	local map[string][]string // paths below the root, by stem
	files int64               // at destinations
}

// stem is what a file and its packed form have in common.
func (b *Rebuild) stem(name string) string {
	if b.Pack == nil {
		return path.Base(name)
	}
	return strings.TrimSuffix(path.Base(name), b.Pack.Suffix)
}

// has reports whether a name is one of the pass.
func (p *pass) has(stem string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(stem))
	return h.Sum32()%p.of == p.n
}

// gather finds the names of a pass, and returns how many there are; if those are more than most, it holds none.
func (r *rebuilding) gather(ctx context.Context, p *pass, most int) (n int, err error) {
	p.there, p.local = map[string]uint64{}, map[string][]string{}
	took := func() bool {
		if n++; n == most+1 {
			p.there, p.local = nil, nil
		}
		return n <= most
	}
	for i, t := range r.Destinations {
		err := t.To.List(ctx, "", func(f connector.Found) error {
			if p.files++; r.Tell != nil {
				r.Tell(r.done, r.total)
			}
			if p.has(r.stem(f.Name)) && took() {
				p.there[f.Name] |= 1 << i
			}
			return ctx.Err()
		})
		if err != nil {
			return n, fmt.Errorf("list %s: %w", t.To.Traits().Root, err)
		}
	}
	err = filepath.WalkDir(r.Root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || connector.UnderWay(name) {
			return err
		}
		if stem := r.stem(name); p.has(stem) && took() {
			rel, err := filepath.Rel(r.Root, name)
			if err != nil {
				return err
			}
			p.local[stem] = append(p.local[stem], rel)
		}
		return ctx.Err()
	})
	if err != nil {
		return n, fmt.Errorf("look for originals: %w", err)
	}
	return n, nil
}

// work makes entries of the files of a pass.
func (r *rebuilding) work(ctx context.Context, p *pass) error {
	if err := r.leaveKnown(ctx, p); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(p.there))
	for some := range slices.Chunk(names, atOnce) {
		files, err := r.ask(ctx, p, some)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := r.restore(ctx, p, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveKnown takes out of a pass what the ledger has.
func (r *rebuilding) leaveKnown(ctx context.Context, p *pass) error {
	return r.Ledger.Each(ctx, time.Time{}, func(e connector.Entry) error {
		for _, s := range e.Shipments {
			for i, t := range r.Destinations {
				name, ok := nameAt(t.To.Traits(), s)
				if bit := uint64(1) << i; ok && p.there[name]&bit != 0 {
					if p.there[name] &^= bit; p.there[name] == 0 {
						delete(p.there, name)
					}
					r.found.Known++
					r.tell(1)
				}
			}
		}
		return ctx.Err()
	})
}

func (r *rebuilding) tell(n int64) {
	if r.done += n; r.Tell != nil {
		r.Tell(r.done, r.total)
	}
}

// standing is a file at destinations, with the same bytes at each.
type standing struct {
	name string
	sum  [sha256.Size]byte
	at   map[int]connector.Verified // how the sum was found out, by destination
}

// ask asks the destinations for the hashes of files.
func (r *rebuilding) ask(ctx context.Context, p *pass, names []string) (files []*standing, err error) {
	byName := map[string][]*standing{}
	for i, t := range r.Destinations {
		var here []string
		for _, name := range names {
			if p.there[name]&(1<<i) != 0 {
				here = append(here, name)
			}
		}
		if len(here) == 0 {
			continue
		}
		sums, how, refused, err := sumsOfEach(ctx, t.To, here)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", t.To.Traits().Root, err)
		}
		for _, name := range here {
			sum, ok := sums[name]
			if !ok {
				if why := refused[name]; why != nil {
					r.leave(i, name, "", fmt.Sprintf("nobody knows what it holds: %v", why))
				}
				r.tell(1) // else it went meanwhile
				continue
			}
			same := slices.IndexFunc(byName[name], func(s *standing) bool { return s.sum == sum })
			if same < 0 {
				s := &standing{name: name, sum: sum, at: map[int]connector.Verified{}}
				files, byName[name] = append(files, s), append(byName[name], s)
				same = len(byName[name]) - 1
			}
			byName[name][same].at[i] = how
		}
	}
	return files, nil
}

// sumsOfEach is Sums for a list in which a file that can't be hashed must not keep the others from being hashed.
func sumsOfEach(ctx context.Context, to connector.Destination, names []string) (sums map[string][sha256.Size]byte,
	how connector.Verified, refused map[string]error, err error) {
	sums, how, err = to.Sums(ctx, names)
	if err == nil || !lasts(err) && !ofTheFile(err) {
		return sums, how, nil, err
	}
	sums, refused = map[string][sha256.Size]byte{}, map[string]error{}
	for _, name := range names {
		one, by, err := to.Sums(ctx, []string{name})
		switch {
		case err != nil && !lasts(err) && !ofTheFile(err):
			return nil, "", nil, err
		case err != nil:
			refused[name] = err
		default:
			how = by
			maps.Copy(sums, one)
		}
	}
	return sums, how, refused, nil
}

// restore makes an entry of a file, if its original is known.
func (r *rebuilding) restore(ctx context.Context, p *pass, f *standing) error {
	defer r.tell(int64(len(f.at)))
	e, why, err := r.entry(ctx, p, f)
	if err != nil {
		return err
	}
	if e != nil {
		switch why, err = r.write(ctx, *e); {
		case err != nil:
			return err
		case why == "":
			r.found.Added += int64(len(e.Shipments))
			return nil
		}
	}
	source := ""
	if e != nil {
		source = e.Source
	}
	for i := range r.Destinations {
		if _, ok := f.at[i]; ok {
			r.leave(i, f.name, source, why)
		}
	}
	return nil
}

// leave reports a file at a destination of which the ledger gets no entry.
func (r *rebuilding) leave(destination int, name, source, why string) {
	r.found.Left++
	t := r.Destinations[destination].To.Traits()
	r.Left(Difference{Source: source, Destination: t.Root, Path: pathAt(t, name), What: why})
}

// write gives the ledger an entry, or says why it does not take it.
func (r *rebuilding) write(ctx context.Context, e connector.Entry) (why string, err error) {
	if r.Dry {
		return "", nil
	}
	added, err := r.Ledger.Restore(ctx, e)
	switch {
	case err != nil && ofTheFile(err):
		return err.Error(), nil
	case err != nil:
		return "", fmt.Errorf("restore %s: %w", e.Source, err)
	case !added:
		return "the ledger has an entry of its original already, or somebody transfers it now", nil
	}
	return "", nil
}

// entry makes the entry of a file: from the store, else from what stands in the source directory. If neither helps, why says
// what was tried.
func (r *rebuilding) entry(ctx context.Context, p *pass, f *standing) (e *connector.Entry, why string, err error) {
	if e, err := r.remembered(f); e != nil || err != nil {
		return e, "", err
	}
	o, size, why, err := r.original(ctx, p.local[r.stem(f.name)], f)
	if err != nil || why != "" {
		return nil, why, err
	}
	return r.entryOf(o, size, f, nil), "", nil
}

// mostRecords is how many records of one name are looked at.
const mostRecords = 1000

// remembered returns the entry of a file by the job's own record; nil if there is none.
func (r *rebuilding) remembered(f *standing) (e *connector.Entry, err error) {
	if r.Store == nil {
		return nil, nil
	}
	err = r.Store.Latest(func(rd store.Reader) error {
		for _, base := range slices.Compact([]string{r.stem(f.name), path.Base(f.name)}) {
			n := 0
			for rec, err := range filesOf(rd, basesKey(base).U8(0)) {
				if err != nil {
					return err
				}
				if e = r.recorded(rec, f); e != nil {
					return nil
				}
				if n++; n == mostRecords {
					break
				}
			}
		}
		return nil
	})
	return e, err
}

// recorded returns the entry that a record gives of a file, nil if the record is not of that file. A destination that has the
// same bytes and is not in the record counts as found now.
func (r *rebuilding) recorded(rec *file, f *standing) *connector.Entry {
	said, size := map[int]connector.Shipment{}, int64(0)
	for i, t := range r.Destinations {
		for _, s := range rec.To {
			at := connector.Shipment{Destination: t.To.Traits().Root, Path: string(s.Path), SHA256: s.SHA256.sha256(), Size: s.Size,
				Verified: s.Verified, At: s.At.UTC()}
			name, ok := nameAt(t.To.Traits(), at)
			if s.Name == t.Name && !s.At.IsZero() && ok && name == f.name && at.SHA256 == f.sum {
				said[i], size = at, s.Size
			}
		}
	}
	if len(said) == 0 {
		return nil
	}
	return r.entryOf(originalOf(r.Root, rec), size, f, said)
}

// entryOf returns the entry of an original, with a shipment for each destination that has the file: the one that was recorded,
// or else one as it is found now.
func (r *rebuilding) entryOf(o connector.Original, size int64, f *standing, said map[int]connector.Shipment) *connector.Entry {
	e := &connector.Entry{Original: o, Of: connector.ByHoldfast}
	for i, t := range r.Destinations {
		how, there := f.at[i]
		s, ok := said[i]
		if !there {
			continue
		}
		if traits := t.To.Traits(); !ok {
			s = connector.Shipment{Destination: traits.Root, Path: pathAt(traits, f.name), SHA256: f.sum, Size: size, Verified: how,
				At: time.Now().UTC().Truncate(time.Microsecond)}
		}
		e.Shipments = append(e.Shipments, s)
	}
	return e
}
