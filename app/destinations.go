package app

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/identifier"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/localdir"
	"holdfast/connector/s3"
	"holdfast/connector/sftp"
	"holdfast/job/transfer"
)

// namedDestinations are the destinations of a job, in order.
type namedDestinations []destination

type destination struct {
	name  string
	root  string
	local bool   // it is not over the network
	path  string // of a local one
	open  func(o opening) (connector.Destination, error)
}

// directoryKind is the kind of destination that is a directory of this machine.
const directoryKind = "directory"

// destinations are all kinds of destinations that a transfer job can bring files to.
var destinations = []kind[connector.Destination]{
	kindOf(directoryKind, localdir.Config{}, localdir.Config.Validate, nil,
		func(c localdir.Config, o opening) (connector.Destination, error) {
			c.Path = below(o.dataDir, c.Path)
			return localdir.New(c)
		}),
	kindOf("s3", s3.Config{}, s3.Config.Validate, nil,
		func(c s3.Config, _ opening) (connector.Destination, error) { return s3.New(c) }),
	kindOf("sftp", sftp.Config{}, sftp.Config.Validate, nil,
		func(c sftp.Config, _ opening) (connector.Destination, error) { return sftp.New(c) }),
}

func (t *namedDestinations) decode(d *decoder, n ast.Node, path string) {
	if word, ok := strictyaml.Text(n); ok {
		if word, ok = d.Expand(n, word, path, d.env); ok {
			*t = append(*t, d.place(n, word, path))
		}
		return
	}
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	for _, e := range entries {
		why := identifier.Check("destination", e.Key)
		if slices.Contains(transfer.OwnGates, e.Key) {
			why = fmt.Sprintf("destination %s: a gate of the job itself is called so", e.Key)
		}
		if why != "" {
			d.Bad(e.At, path, "%s", why)
			continue
		}
		p := strictyaml.Join(path, e.Key)
		if word, ok := strictyaml.Text(d.Resolve(e.Value)); ok {
			if word, ok = d.Expand(e.Value, word, p, d.env); ok {
				to := d.place(e.Value, word, p)
				to.name = e.Key
				*t = append(*t, to)
			}
			continue
		}
		kind, _, ok := d.one(e, p, "kind of destination", kindNames(destinations), nil)
		if !ok {
			continue
		}
		k := destinations[slices.Index(kindNames(destinations), kind.Key)]
		c := k.decode(d, kind, strictyaml.Join(p, kind.Key))
		made := destination{name: e.Key, root: fmt.Sprint(c), local: kind.Key == directoryKind, open: k.with(c)}
		if l, ok := c.(localdir.Config); ok {
			made.path = l.Path
		}
		*t = append(*t, made)
	}
}

// open opens all of them; those that were opened are in open, also when one fails.
func (t namedDestinations) open(o opening, open *opens) (all []transfer.Destination, err error) {
	for _, d := range t {
		to, err := d.open(o)
		if err != nil {
			return nil, fmt.Errorf("open destination %s: %w", d.name, err)
		}
		*open = append(*open, to)
		all = append(all, transfer.Destination{Name: d.name, To: to, Limited: !d.local})
	}
	return all, nil
}

// place is a destination in one word, as scp takes it.
func (d *decoder) place(n ast.Node, word, path string) destination {
	if c, ok := sftp.ParseRemote(word); ok {
		for _, err := range c.Validate() {
			d.Bad(n, path, "%v", err)
		}
		return destination{name: "remote", root: word, open: func(opening) (connector.Destination, error) { return sftp.New(c) }}
	}
	return destination{name: "local", root: word, local: true, path: word, open: func(o opening) (connector.Destination, error) {
		return localdir.New(localdir.Config{Path: below(o.dataDir, word)})
	}}
}
