package app

import (
	"time"

	"holdfast/base/secret"
	"holdfast/job/stream/report"
)

// streamConfig is one role of a stream, and what all roles of it share: windows of a data set are sent over a broker that
// may lose them, stored once, computed and shown.
type streamConfig struct {
	// Broker is what the roles talk over: its one key is its kind; default a server in this process.
	Broker broker `yaml:"broker"`
	// Channels is what the names of channels begin with; default weather_channel.
	Channels string `yaml:"channels"`
	// Window is how long a window is, in whole seconds; default 1h. They are aligned to it, in UTC.
	Window time.Duration `yaml:"window"`
	// WindowKey is what channels call a window: hour, or a layout of its beginning such as 20060102T1504; default hour.
	WindowKey string `yaml:"window_key"`
	// Rows are what a row is.
	Rows rowsOf `yaml:"rows"`
	// Database is where rows and reports are kept: its one key is its kind. All roles but the streamer need it.
	Database database `yaml:"database"`
	// Table is where the rows are, in the database; default weather_data.
	Table string `yaml:"table"`
	// Reports are what a processor makes and the API shows; default those of the preset.
	Reports report.List `yaml:"reports"`

	// Streamer is the role that sends a data set in windows.
	Streamer *streamerConfig `yaml:"streamer"`
	// Ingester is the role that stores what is sent, and asks for what is missing.
	Ingester *ingesterConfig `yaml:"ingester"`
	// Processor is the role that computes the reports of each window.
	Processor *processorConfig `yaml:"processor"`
	// API is the role that serves the reports.
	API *apiConfig `yaml:"api"`

	once bool // it ends when all is done
}

// streamerConfig is the role that sends a data set in windows.
type streamerConfig struct {
	// Input is the data set: a file, or several by a pattern such as /data/day-*.csv, read in the order of their names.
	Input string `yaml:"input" jsonschema:"required"`
	// Format of the input; default by the name's end.
	Format string `yaml:"format" jsonschema:"enum=csv,enum=jsonl,enum=parquet"`
	// Batch is the most rows of a batch; default 500.
	Batch int `yaml:"batch"`
	// Interval is the time between two windows, by the clock; default 5m.
	Interval time.Duration `yaml:"interval"`
	// Speedup, in the place of interval, is how many times as fast as the rows' own times windows are sent, or max.
	Speedup string `yaml:"speedup"`
	// Loop begins the data set again at its end, as the days behind it; default false.
	Loop bool `yaml:"loop"`
	// Retain is for how long windows can be asked for once more.
	Retain streamerRetain `yaml:"retain"`
}

// streamerRetain is what of a data set is kept behind its sending.
type streamerRetain struct {
	// Windows is how many stay that the ingester confirmed; default 48.
	Windows int `yaml:"windows"`
	// Bytes that all windows take at most, 1MiB at least; default 2GiB.
	Bytes Bytes `yaml:"bytes"`
}

// ingesterConfig is the role that stores what is sent, and asks for what is missing.
type ingesterConfig struct {
	// LostAfter is for how long nothing of a window must have come until it is lost, 1s at least; default never.
	LostAfter time.Duration `yaml:"lost_after"`
	// OldBatches is how many batches a window of WeatherVane's streamer has; with the preset those of its own, 88, else it is
	// learnt.
	OldBatches *int `yaml:"old_batches"`
	// Batch is how rows are delivered to the database.
	Batch storing `yaml:"batch"`
	// Retain is how long rows stay that are stored: these can be delivered again.
	Retain retain `yaml:"retain"`
	// Quota bounds what all rows of the job take of the disk.
	Quota quota `yaml:"quota"`
	// Sinks are further ones that get the rows beside the database, as those of a collect job.
	Sinks sinkList `yaml:"sinks"`
	// Forget names sinks that are not below sinks any more and whose pending rows are given up.
	Forget []string `yaml:"forget"`
}

// storing is how rows are delivered to the database: soon, for people look at the newest window.
type storing struct {
	// Rows is the most rows of a delivery; default 10000.
	Rows int `yaml:"rows"`
	// Every is the longest wait of a row for company; default 200ms.
	Every time.Duration `yaml:"every"`
}

// processorConfig is the role that computes the reports of each window.
type processorConfig struct {
	// Day is the day of the hours of WeatherVane's ingester, such as 2023-09-19; default the newest in the table.
	Day string `yaml:"day"`
	// Ingester is the job of this file that may still hold a window; default the only one.
	Ingester string `yaml:"ingester"`
	// Retain is how long reports stay that are stored.
	Retain retain `yaml:"retain"`
}

// apiConfig is the role that serves the reports.
type apiConfig struct {
	// Listen is host:port; default 127.0.0.1:5000. Other addresses than those of this machine want a token.
	Listen string `yaml:"listen"`
	// Token must come with every request; needed where listen is not on loopback.
	Token secret.Text `yaml:"token"`
	// Ingester is the job that knows the windows; default the only one of this file.
	Ingester string `yaml:"ingester"`
	// IngesterDir is the data directory of another process whose ingester knows them.
	IngesterDir string `yaml:"ingester_dir"`
	// Timeout is how long the database may take to answer; default 5s.
	Timeout time.Duration `yaml:"timeout"`
}
