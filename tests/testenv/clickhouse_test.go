package testenv

import "testing"

func TestClickHouse(t *testing.T) {
	s := ClickHouse(t)
	t.Log(s.Startup(), s.Query(t, "select version()"))
	s.Kill()
	s.Restart()
	t.Log(s.Startup())
	s.Stop()
}
