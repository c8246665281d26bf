package influxdb

import (
	"strings"
	"testing"

	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// TestContract runs the suite on a real server; the case of a full disk has its data on a small one. There
// the server is started again once there is room: before that, 1.6.7 goes on refusing what it is given.
func TestContract(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) *sinktest.Target {
		if !strings.HasSuffix(t.Name(), "/back-pressure") {
			return newServer(t, "").target()
		}
		disk := testenv.SmallDisk(t, 16<<20)
		s := newServer(t, disk)
		tg := s.target()
		tg.Pressure = sinktest.FullDisk(t, disk)
		roomy := tg.Pressure.Undo
		tg.Pressure.Undo = func() error {
			err := roomy()
			s.Restart()
			return err
		}
		return tg
	})
}
