package influxdb

import (
	"testing"

	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// TestMain makes a process that the suite started a writer to its target.
func TestMain(m *testing.M) {
	sinktest.Main(m, func(args []string) (connector.Sink, error) { return New(spotsAt(args[0])) })
}
