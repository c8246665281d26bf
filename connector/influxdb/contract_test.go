package influxdb

import (
	"testing"

	"holdfast/connector/sinktest"
)

func TestContract(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) *sinktest.Target { return newServer(t, "").target() })
}
