package app

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/base/secret"
	"holdfast/base/strictyaml"
	"holdfast/base/web"
)

// Config is a configuration file.
type Config struct {
	// DataDir is the directory where everything is kept; default that of $HOLDFAST_DATA_DIR, else /var/lib/holdfast for root,
	// else holdfast below $XDG_STATE_HOME or ~/.local/state.
	DataDir string `yaml:"data_dir"`
	// Listen is the host:port of the API and the console, or none; default 127.0.0.1:8420. Other addresses than those of this
	// machine want a token.
	Listen string `yaml:"listen"`
	// Token must come with every request; needed where listen is not on loopback. Without one only questions are answered.
	Token secret.Text `yaml:"token"`
	// ReadToken: it may come in the place of token with a request that only asks.
	ReadToken secret.Text `yaml:"read_token"`
	// Checkpoints are copies of a job's state to which it can be set back: when they are made by themselves.
	Checkpoints Checkpoints `yaml:"checkpoints"`
	// Disk are the watermarks of the file system that holds the data.
	Disk Disk `yaml:"disk"`
	// Notify are the places where people are told, by names of your own: each a URL of shoutrrr.
	Notify map[string]secret.Text `yaml:"notify"`
	// Alerts are when people are told, and how often.
	Alerts Alerts `yaml:"alerts"`
	// Jobs are what is done, by names of your own: up to 64 letters, digits, - and _.
	Jobs jobList `yaml:"jobs"`

	file string // where it was read from, "" if from nowhere
}

// Checkpoints says when checkpoints are made by themselves.
type Checkpoints struct {
	// Every is the time between two; default 1h, 0s for none.
	Every *time.Duration `yaml:"every"`
	// Keep is how many stay that nobody gave a name; default 24.
	Keep int `yaml:"keep"`
}

// Disk are the watermarks of the file system that holds the data; defaults follow its size.
type Disk struct {
	// Soft: with less room free, sources that can wait are paused; default a tenth of the file system, but no more than 1GiB.
	Soft Bytes `yaml:"soft"`
	// Hard: with less room free, nothing is taken in; default half of soft, and at most 256MiB.
	Hard Bytes `yaml:"hard"`
}

// jobConfig is what a kind of job makes of its part of the file.
type jobConfig interface {
	// check adds what is wrong with it, once all of it is read.
	check(d *decoder, n ast.Node, path string)
}

type jobList []Job

func (l *jobList) decode(d *decoder, n ast.Node, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	for _, e := range entries {
		if why := identifier.Check("job", e.Key); why != "" {
			d.Bad(e.At, path, "%s", why)
			continue
		}
		if job, ok := d.job(e, strictyaml.Join(path, e.Key)); ok {
			*l = append(*l, job)
		}
	}
}

// job decodes one job: the key below its name is its kind.
func (d *decoder) job(e entry, path string) (Job, bool) {
	names := make([]string, len(jobs))
	for i, k := range jobs {
		names[i] = k.name
	}
	kind, at, ok := d.one(e, path, "kind of job", names, nil)
	if !ok {
		return Job{}, false
	}
	i := slices.Index(names, kind.Key)
	work := jobs[i].config()
	path = strictyaml.Join(path, kind.Key)
	d.Decode(kind.Value, reflect.ValueOf(work).Elem(), path)
	if strictyaml.Empty(kind.Value) {
		d.Bad(at, path, "there is nothing below it")
		return Job{}, false
	}
	work.check(d, kind.Value, path)
	return Job{Name: e.Key, Kind: kind.Key, Text: d.masked(e.Value), work: work,
		sum: d.sum(e.Value)}, true
}

// one returns the only entry of a mapping whose key is in names; entries in besides are passed
// over.
func (d *decoder) one(e entry, path, what string, names, besides []string) (kind entry, at ast.Node,
	ok bool) {
	entries, ok := d.Entries(e.Value, path)
	if !ok {
		return entry{}, nil, false
	}
	found := 0
	for _, k := range entries {
		switch {
		case slices.Contains(names, k.Key):
			if found++; found == 1 {
				kind = k
				continue
			}
			d.Bad(k.At, path, "there is a second %s; want one", what)
		case !slices.Contains(besides, k.Key):
			d.Unknown(k.At, path, k.Key, append(slices.Clone(names), besides...))
		}
	}
	if found == 0 {
		if len(entries) == 0 || allKnown(entries, besides) {
			d.Bad(e.At, path, "the %s is missing; want one of: %s", what, strings.Join(names, ", "))
		}
		return entry{}, nil, false
	}
	return kind, kind.At, true
}

func allKnown(entries []entry, names []string) bool {
	return !slices.ContainsFunc(entries, func(e entry) bool { return !slices.Contains(names, e.Key) })
}

// masked returns the tree below n as YAML: variables as they are written, literal secrets hidden.
func (d *decoder) masked(n ast.Node) string {
	b, err := yaml.Marshal(d.plain(n, func(n ast.Node) string {
		if d.hidden[n] {
			return secret.Text("x").String()
		}
		s, _ := strictyaml.Text(n)
		return secret.Mask(s)
	}))
	if err != nil {
		return "# this configuration can't be shown: " + err.Error() + "\n"
	}
	return string(b)
}

// sum is the hash of the tree below n, with all that variables and literal secrets stand for.
func (d *decoder) sum(n ast.Node) [sha256.Size]byte {
	b, _ := yaml.Marshal(d.plain(n, func(n ast.Node) string { // of strings alone: it can't fail
		s, _ := strictyaml.Text(n)
		return strictyaml.Variables(s, func(name string) string {
			v, _ := d.env(name)
			return v
		})
	}))
	return sha256.Sum256(b)
}

// plain is the tree below n, each word as word gives it.
func (d *decoder) plain(n ast.Node, word func(ast.Node) string) any {
	n = d.Resolve(n)
	switch t := n.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.MappingNode, *ast.MappingValueNode:
		out := yaml.MapSlice{}
		entries, _ := d.Entries(t, "")
		for _, e := range entries {
			out = append(out, yaml.MapItem{Key: e.Key, Value: d.plain(e.Value, word)})
		}
		return out
	case *ast.SequenceNode:
		out := make([]any, len(t.Values))
		for i, v := range t.Values {
			out[i] = d.plain(v, word)
		}
		return out
	}
	return word(n)
}

// Load reads a configuration file. The error holds every mistake in it, each with its place.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.NewUsage("give the configuration with -c FILE", "read configuration: %w", err)
	}
	c, err := Parse(file, b, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	c.file = file
	return c, nil
}

// Peek is Load for who only asks questions: a variable that is not set reads as a hidden secret,
// and what needs it fails when it is tried.
func Peek(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.NewUsage("give the configuration with -c FILE", "read configuration: %w", err)
	}
	return Parse(file, b, leniently)
}

// leniently is the environment, where what is not set reads as hidden.
func leniently(name string) (string, bool) {
	if v, ok := os.LookupEnv(name); ok {
		return v, true
	}
	return secret.Text("x").String(), true
}

// Parse reads a configuration from its text; env gives the values of ${NAME}.
func Parse(file string, text []byte, env func(string) (string, bool)) (*Config, error) {
	d := newDecoder(file, env)
	c := &Config{}
	root := d.Parse(text)
	if root == nil {
		return nil, d.Mistakes.Err()
	}
	d.Decode(root, reflect.ValueOf(c).Elem(), "")
	c.check(d, root)
	if err := d.Mistakes.Err(); err != nil {
		return nil, err
	}
	return c.WithDefaults(), nil
}

// at returns the value below the keys from n on, n itself as far as they are not there.
func (d *decoder) at(n ast.Node, keys ...string) ast.Node {
	for _, key := range keys {
		entries, ok := d.Entries(n, "")
		if !ok {
			return n
		}
		i := slices.IndexFunc(entries, func(e entry) bool { return e.Key == key })
		if i < 0 {
			return n
		}
		if n = entries[i].Value; strictyaml.Empty(n) {
			return entries[i].At
		}
	}
	return n
}

func (c *Config) check(d *decoder, root ast.Node) {
	entries, ok := d.Entries(root, "")
	if ok && !slices.ContainsFunc(entries, func(e entry) bool {
		return e.Key == "jobs" &&
			!strictyaml.Empty(e.Value)
	}) {
		d.Bad(root, "jobs", "there is no job")
	}
	c.checkStdin(d, root)
	c.checkStreams(d, root)
	if why := checkListen(c.Listen, c.Token != ""); why != "" {
		d.Bad(d.at(root, "listen"), "listen", "%s", why)
	}
	switch {
	case c.ReadToken == "":
	case c.Token == "":
		d.Bad(d.at(root, "read_token"), "read_token", "needs a token beside it: without one everybody may ask")
	case c.ReadToken == c.Token:
		d.Bad(d.at(root, "read_token"), "read_token", "is the token itself, which may do everything")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Notify)) {
		if why := checkNotify(c.Notify[name]); why != "" {
			d.Bad(d.at(root, "notify", name), "notify."+name, "%s", why)
		}
	}
	if why := c.Alerts.checkSummary(); why != "" {
		d.Bad(d.at(root, "alerts", "summary"), "alerts.summary", "%s", why)
	}
	if c.Alerts.Silence < 0 {
		d.Bad(d.at(root, "alerts", "silence"), "alerts.silence", "want a number from 1, got %d", c.Alerts.Silence)
	}
	if c.Checkpoints.Keep < 0 {
		d.Bad(d.at(root, "checkpoints", "keep"), "checkpoints.keep", "want a number from 1, got %d",
			c.Checkpoints.Keep)
	}
	if c.Disk.Soft != 0 && c.Disk.Hard > c.Disk.Soft {
		d.Bad(d.at(root, "disk", "hard"), "disk.hard", "is above disk.soft; want less")
	}
}

// checkStdin refuses a second job that reads standard input: each would get a part of every line.
func (c *Config) checkStdin(d *decoder, root ast.Node) {
	first := ""
	for _, j := range c.Jobs {
		w, ok := j.work.(*collectConfig)
		switch {
		case !ok || w.Source.kind != "stdin":
		case first == "":
			first = j.Name
		default:
			keys := []string{"jobs", j.Name, j.Kind, "source"}
			d.Bad(d.at(root, keys...), strings.Join(keys, "."), "job %s reads standard input already, and a process "+
				"has one; give another job a file, or a process of its own", first)
		}
	}
}

// NoListen is the address that means no HTTP listener.
const NoListen = "none"

const defaultListen = "127.0.0.1:8420"

// checkListen says what is wrong with an address to listen on, "" if nothing is.
func checkListen(addr string, token bool) string {
	if addr == "" || addr == NoListen {
		return ""
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Sprintf("want host:port such as %s, or none, got %q", defaultListen, addr)
	}
	return web.BadListen(addr, token)
}

// CheckListen is checkListen as an error, for an address from a flag.
func CheckListen(addr string, token secret.Text) error {
	if why := checkListen(addr, token != ""); why != "" {
		return fault.NewUsage("listen on 127.0.0.1, or set token: \"${HOLDFAST_TOKEN}\" in the configuration",
			"listen: %s", why)
	}
	return nil
}

// WithDefaults returns c with everything filled in that has a default.
func (c *Config) WithDefaults() *Config {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Checkpoints.Every == nil {
		hour := time.Hour
		c.Checkpoints.Every = &hour
	}
	if c.Checkpoints.Keep == 0 {
		c.Checkpoints.Keep = 24
	}
	return c
}

// below returns path as it is, or below dir if it is relative.
func below(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// keyed is a connector's complaint, split into the key it speaks of and the text.
func keyed(err error) (key, text string) {
	key, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || strings.ContainsAny(key, " \n") {
		return "", err.Error()
	}
	return key, text
}

// flat returns the single errors of a joined one.
func flat(err error) []error {
	for e := err; e != nil; {
		switch x := e.(type) {
		case interface{ Unwrap() []error }:
			return x.Unwrap()
		case *fault.Error:
			e = x.Err
		case interface{ Unwrap() error }:
			e = x.Unwrap()
		default:
			return []error{err}
		}
	}
	return []error{err}
}
