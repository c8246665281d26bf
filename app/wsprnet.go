package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/strictyaml"
	"holdfast/connector/clickhouse"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet"
)

// WsprnetFlags are the flags of the old scraper's command line, and ours besides. A nil pointer is
// a flag that was not given.
type WsprnetFlags struct {
	SessionFile        *string
	Username, Password *string
	ClickHouseUser     *string
	ClickHousePassword *string
	ReadonlyUser       *string
	ReadonlyPassword   *string
	Config             string
	CacheDir           *string
	Loop               *int // seconds; nil is one cycle
	DataDir            string
	Listen             string
}

// WsprnetKeys are the keys of the old scraper's JSON file, with its defaults.
type WsprnetKeys struct {
	MaxBytesPerSecond  *whole  `json:"max_bytes_per_second"` // 20000
	RequestTimeout     *number `json:"request_timeout"`      // seconds; 120
	ClickHouseHost     *string `json:"clickhouse_host"`      // localhost
	ClickHousePort     *number `json:"clickhouse_port"`      // 8123
	ClickHouseUser     *string `json:"clickhouse_user"`
	ClickHousePassword *string `json:"clickhouse_password"`
	ClickHouseDatabase *string `json:"clickhouse_database"` // wsprnet
	ClickHouseTable    *string `json:"clickhouse_table"`    // spots
	URL                *string `json:"wsprnet_url"`
	LoginURL           *string `json:"wsprnet_login_url"`
	Band               *word   `json:"band"`            // All
	ExcludeSpecial     *number `json:"exclude_special"` // 0
	LoopInterval       *number `json:"loop_interval"`   // seconds; 120; taken when --loop has no value
	CacheDir           *string `json:"cache_dir"`
	BatchRows          *number `json:"batch_flush_rows"`    // 100000
	BatchSeconds       *number `json:"batch_flush_seconds"` // 10
	BadFiles           *number `json:"bad_dir_max_files"`   // 1000; nothing is put there any more
	// These were flags only; a file is a better place for a password than a command line.
	Username    *string `json:"username"`
	Password    *string `json:"password"`
	SessionFile *string `json:"session_file"`
}

// number is a JSON number, or one in quotes. Above most it is a mistake, and as seconds no time.
type number float64

const most = 1e9

func (n *number) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err != nil || !(f >= 0 && f <= most) { // NaN is neither
		return errors.New("want a number from 0 to 1000000000")
	}
	*n = number(f)
	return nil
}

// whole is a whole JSON number, or one in quotes.
type whole int

func (n *whole) UnmarshalJSON(b []byte) error {
	i, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 32)
	if err != nil {
		return errors.New("want a whole number, at most 2147483647")
	}
	*n = whole(i)
	return nil
}

// word is a JSON string or number.
type word string

func (w *word) UnmarshalJSON(b []byte) error {
	if bytes.ContainsAny(b, "{[") {
		return errors.New("want a name or a number")
	}
	*w = word(strings.Trim(string(b), `"`))
	return nil
}

// Wsprnet makes a plan of the old scraper's flags and JSON file.
func Wsprnet(f WsprnetFlags, log *slog.Logger) (*Plan, error) {
	k := WsprnetKeys{}
	if f.Config != "" {
		if err := k.read(f.Config, log); err != nil {
			return nil, err
		}
	}
	k.override(f)
	place, err := datadir.Locate(f.DataDir, "wsprnet")
	if err != nil {
		return nil, err
	}
	src, err := k.source(f, place)
	if err != nil {
		return nil, err
	}
	name, sinkCfg, err := k.sink(f)
	if err != nil {
		return nil, err
	}
	p := &Plan{Place: place, Listen: orElse(f.Listen, NoListen), Log: log, Once: f.Loop == nil,
		Checkpoints: (&Config{}).WithDefaults().Checkpoints}
	if err := CheckListen(p.Listen, ""); err != nil {
		return nil, err
	}
	b := batch{Rows: int(orElse(deref(k.BatchRows), 100_000)),
		Every: seconds(orElse(deref(k.BatchSeconds), 10))}
	if p.readonly, err = wantReadonly(f, sinkCfg, p); err != nil {
		return nil, err
	}
	job, err := wsprnetJob(src, name, sinkCfg, b)
	if err != nil {
		return nil, err
	}
	if p.Once {
		job.EndWhenDone()
	}
	job.work.(*collectConfig).onStart = cacheDirs(deref(k.CacheDir), log).take
	p.Jobs = []Job{job}
	return p, nil
}

// wsprnetJob is the configuration as a file would have it; its text goes through the same decoder.
func wsprnetJob(src wsprnet.Config, sinkName string, sinkCfg any, b batch) (Job, error) {
	type m = yaml.MapSlice
	text, err := yaml.Marshal(m{{Key: "collect", Value: m{
		{Key: "source", Value: m{{Key: "wsprnet", Value: src}}},
		{Key: "sinks", Value: m{{Key: sinkName, Value: m{
			{Key: sinkName, Value: sinkCfg}, {Key: "batch", Value: b}}}}}}}})
	if err != nil {
		return Job{}, fmt.Errorf("write configuration: %w", err)
	}
	// The text has *** for secrets, so the connectors are opened with the configurations themselves.
	work := &collectConfig{Source: source{kind: "wsprnet", open: opener(sources, "wsprnet", src)},
		Sinks: sinkList{{name: sinkName, kind: sinkName, batch: b, open: opener(sinks, sinkName,
			sinkCfg)}}}
	return Job{Name: "wsprnet", Kind: "collect", Text: string(text), work: work}, nil
}

// quoted is text of the file in a message of the JSON reader: it may be of a password.
var quoted = regexp.MustCompile(`character ('(\\.|[^\\])+'|"'")`)

// read reads the JSON file. A key that means nothing is told and passed over, as ever; a value of
// the wrong kind is a mistake.
func (k *WsprnetKeys) read(file string, log *slog.Logger) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fault.NewUsage("give the JSON file with --config", "read configuration: %w", err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(b, strictyaml.ByteOrderMark), &raw); err != nil {
		m := Mistake{File: file, Text: "want a JSON object: " +
			quoted.ReplaceAllString(err.Error(), "character")}
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			m.Line, m.Column = position(b, e.Offset)
		}
		return Mistakes{m}
	}
	var all Mistakes
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		line, column := keyPosition(b, key)
		one, _ := json.Marshal(map[string]json.RawMessage{key: raw[key]})
		dec := json.NewDecoder(bytes.NewReader(one))
		dec.DisallowUnknownFields()
		err := dec.Decode(k)
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), "unknown field") {
			log.Warn(fmt.Sprintf("%s:%d: unknown key %q is passed over", file, line, key))
			continue
		}
		text := err.Error()
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			text = fmt.Sprintf("want a %s, got a %s", e.Type, e.Value)
		}
		all = append(all, Mistake{File: file, Line: line, Column: column, Path: key, Text: text})
	}
	return all.Err()
}

// position returns line and column of the byte before offset.
func position(b []byte, offset int64) (line, column int) {
	before := b[:min(max(offset-1, 0), int64(len(b)))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, len(before) - bytes.LastIndexByte(before, '\n')
}

func keyPosition(b []byte, key string) (line, column int) {
	return position(b, int64(bytes.Index(b, []byte(strconv.Quote(key))))+1)
}

// override lets flags win over the file.
func (k *WsprnetKeys) override(f WsprnetFlags) {
	for flag, key := range map[*string]**string{f.SessionFile: &k.SessionFile, f.Username: &k.Username,
		f.Password: &k.Password, f.ClickHouseUser: &k.ClickHouseUser,
		f.ClickHousePassword: &k.ClickHousePassword, f.CacheDir: &k.CacheDir} {
		if flag != nil {
			*key = flag
		}
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func seconds(n number) time.Duration { return time.Duration(float64(n) * float64(time.Second)) }

// source is the feed's configuration.
func (k *WsprnetKeys) source(f WsprnetFlags, place datadir.Place) (wsprnet.Config, error) {
	c := wsprnet.Config{URL: deref(k.URL), LoginURL: deref(k.LoginURL), Username: deref(k.Username),
		Password: secret.Text(deref(k.Password)), SessionFile: deref(k.SessionFile),
		Band: string(deref(k.Band)), ExcludeSpecial: int(deref(k.ExcludeSpecial)),
		MaxBytesPerSecond: int(deref(k.MaxBytesPerSecond)), RequestTimeout: seconds(deref(k.RequestTimeout))}
	switch {
	case f.Loop != nil && *f.Loop > 0:
		c.Every = time.Duration(*f.Loop) * time.Second
	case k.LoopInterval != nil:
		c.Every = seconds(*k.LoopInterval)
	}
	if c.SessionFile == "" && c.Username != "" {
		c.SessionFile = filepath.Join(place.Dir, sessionFile)
	}
	if c.SessionFile != "" {
		abs, err := filepath.Abs(c.SessionFile)
		if err != nil {
			return c, fault.NewUsage("", "find session file: %w", err)
		}
		c.SessionFile = abs
	}
	var all Mistakes
	for _, err := range append(c.Validate(), wsprnetKeys(c)...) {
		key, text := keyed(err)
		all = append(all, k.mistake(f, scraperKey(key), text))
	}
	return c, all.Err()
}

// scraperKey is the old name of a key of the source.
func scraperKey(key string) string {
	switch key {
	case "url":
		return "wsprnet_url"
	case "login_url":
		return "wsprnet_login_url"
	case "every":
		return "loop_interval"
	}
	return key
}

func (k *WsprnetKeys) mistake(f WsprnetFlags, key, text string) Mistake {
	m := Mistake{File: "command line", Path: key, Text: text}
	if f.Config != "" && !f.gave(key) {
		m.File = f.Config
		if b, err := os.ReadFile(f.Config); err == nil && bytes.Contains(b, []byte(strconv.Quote(key))) {
			m.Line, m.Column = keyPosition(b, key)
		}
	}
	m.Hint = fmt.Sprintf("set %q in the JSON file", key)
	if flag := flagOf(key); flag != "" {
		m.Hint += ", or give " + flag
	}
	return m
}

// gave reports whether the command line has the value of a key.
func (f WsprnetFlags) gave(key string) bool {
	v := map[string]*string{"session_file": f.SessionFile, "username": f.Username, "password": f.Password,
		"clickhouse_user": f.ClickHouseUser, "clickhouse_password": f.ClickHousePassword,
		"cache_dir": f.CacheDir}[key]
	return v != nil || key == "loop_interval" && f.Loop != nil && *f.Loop > 0
}

// flagOf is the flag that stands for a key, "" for those that only the file has.
func flagOf(key string) string {
	switch key {
	case "session_file", "username", "password", "clickhouse_user", "clickhouse_password", "cache_dir":
		return "--" + strings.ReplaceAll(key, "_", "-")
	case "loop_interval":
		return "--loop"
	}
	return ""
}

// clickHouse reports whether anything of ClickHouse was given: then it is the sink.
func (k *WsprnetKeys) clickHouse() bool {
	return k.ClickHouseHost != nil || k.ClickHousePort != nil || k.ClickHouseUser != nil ||
		k.ClickHousePassword != nil || k.ClickHouseDatabase != nil || k.ClickHouseTable != nil
}

// sqliteFile is the default sink of `holdfast wsprnet`, in the data directory.
const sqliteFile = "wsprnet.sqlite"

// sink is the sink's name and configuration.
func (k *WsprnetKeys) sink(f WsprnetFlags) (name string, cfg any, err error) {
	if !k.clickHouse() {
		return "sqlite", sqlite.Config{Path: sqliteFile, Table: "spots"}, nil
	}
	address, key, why := k.clickHouseURL()
	if why != "" {
		return "", nil, Mistakes{k.mistake(f, key, why)}
	}
	c := clickhouse.Config{URL: address, Database: orElse(deref(k.ClickHouseDatabase), "wsprnet"),
		Table: orElse(deref(k.ClickHouseTable), "spots"), Create: true,
		Username: deref(k.ClickHouseUser), Password: secret.Text(deref(k.ClickHousePassword)),
		Aliases: spotAliases}
	if why := passwordFault(c); why != "" {
		return "", nil, Mistakes{k.mistake(f, "clickhouse_password", why)}
	}
	if c.Username == "" {
		c.Username = map[bool]string{true: "default"}[c.Password != ""]
	}
	if err := c.Validate(); err != nil {
		var all Mistakes
		for _, e := range flat(err) {
			key, text := keyed(e)
			old, ok := map[string]string{"url": "clickhouse_host", "username": "clickhouse_user"}[key]
			if !ok {
				old = "clickhouse_" + key
			}
			all = append(all, k.mistake(f, old, text))
		}
		return "", nil, all.Err()
	}
	return "clickhouse", c, nil
}

// clickHouseURL is the address of the server, or the key that is wrong and why.
func (k *WsprnetKeys) clickHouseURL() (address, key, why string) {
	host, port := orElse(deref(k.ClickHouseHost), "localhost"), orElse(deref(k.ClickHousePort), 8123)
	if port != number(int(port)) || port > 65535 {
		return "", "clickhouse_port", fmt.Sprintf("want a port from 1 to 65535, got %v", float64(port))
	}
	if strings.HasPrefix(host, "http://") || strings.HasPrefix(host, "https://") {
		return host, "", ""
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":/@") {
		return "", "clickhouse_host", "want a host name or address alone, such as localhost (the port " +
			"has a key of its own, clickhouse_port), or http://host:port"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(port))), "", ""
}

func passwordFault(c clickhouse.Config) string {
	switch password := c.Password.Reveal(); {
	case strings.EqualFold(password, "CHANGEME"):
		return "is still the placeholder; set the password of " + orElse(c.Username, "the user")
	case password == "" && c.Username != "" && c.Username != "default":
		return "is empty; set the password of " + c.Username
	}
	return ""
}

// spotAliases are the names of the feed, under which people query a table of spots.
var spotAliases = map[string]string{"Spotnum": "id", "Date": "toUnixTimestamp(time)",
	"Reporter":     "rx_sign",
	"ReporterGrid": "rx_loc", "dB": "snr", "MHz": "frequency / 1000000", "CallSign": "tx_sign",
	"Grid": "tx_loc", "Power": "power", "Drift": "drift", "Band": "band", "rx_az": "rx_azimuth"}
