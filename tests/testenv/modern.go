package testenv

import "testing"

// ModernClickHouse starts a current ClickHouse engine (libchdb behind chfront), which knows
// insert_deduplication_token. What it cannot do is in chfront's package comment.
func ModernClickHouse(t testing.TB) *ClickHouseServer {
	t.Helper()
	return ModernClickHouseWith(t, ClickHouseOptions{})
}

// ModernClickHouseWith starts a current ClickHouse engine with options.
func ModernClickHouseWith(t testing.TB, o ClickHouseOptions) *ClickHouseServer {
	t.Helper()
	if len(o.Users) > 1 || o.Settings != nil || o.Config != "" {
		t.Fatal("the modern engine takes one user and no settings or configuration")
	}
	lib, err := npmPackage("@chdb/lib-linux-x64-gnu/libchdb.so")
	if err != nil {
		Missing(t, "a modern ClickHouse engine (libchdb)", err)
	}
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	s := &ClickHouseServer{
		t:    t,
		addr: Address(t),
		user: ClickHouseUser{Name: "default"},
		dir:  o.DataDir,
	}
	s.command = Command{
		Path: built(t, buildFront),
		Args: []string{o.DataDir, s.addr},
		Env:  []string{"CHFRONT_LIB=" + lib, "TMPDIR=" + t.TempDir()},
	}
	if len(o.Users) == 1 {
		s.user = o.Users[0]
		s.command.Env = append(s.command.Env,
			"CHFRONT_USER="+s.user.Name, "CHFRONT_PASSWORD="+s.user.Password)
	}
	s.start()
	return s
}
