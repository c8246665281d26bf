package testenv

import "testing"

func TestModern(t *testing.T) {
	s := ModernClickHouse(t)
	t.Log(s.Startup(), s.Query(t, "select version()"))
	s.Query(t, "create table t (a UInt32, b String) engine=MergeTree order by a")
	s.Query(t, "insert into t values (1,'x')\n,(2,'y;\n')")
	s.Query(t, "insert into t format JSONEachRow\n{\"a\":3}\n{\"a\":4,\"b\":\"q\"}\n")
	t.Log(s.Query(t, "select * from t order by a format JSONEachRow"))
	s.Kill()
	s.Restart()
	t.Log(s.Startup(), s.Query(t, "select * from t order by a format JSONEachRow"))
	s.Stop()
}
