package cli

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/tests/testenv"
)

// TestClickHouseScripts are the scripts that need a real ClickHouse, each with a server of its own:
//
//	clickhouse stop|restart|kill
//	query SQL WANT             asked until the answer is as wanted
//	change SQL                 run once
func TestClickHouseScripts(t *testing.T) {
	scripts, err := os.ReadDir("testdata/clickhouse")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		t.Run(strings.TrimSuffix(s.Name(), ".txt"), func(t *testing.T) {
			ch := testenv.ClickHouse(t)
			p := params("")
			p.Files = []string{"testdata/clickhouse/" + s.Name()}
			setup := p.Setup
			p.Setup = func(e *testscript.Env) error {
				_, port, _ := strings.Cut(ch.Addr(), ":")
				e.Setenv("CLICKHOUSE_PORT", port)
				return setup(e)
			}
			p.Cmds["clickhouse"] = func(ts *testscript.TestScript, _ bool, args []string) {
				switch args[0] {
				case "stop":
					ch.Stop()
				case "restart":
					ch.Restart()
				case "kill":
					ch.Kill()
				default:
					ts.Fatalf("clickhouse: want stop, restart or kill")
				}
			}
			p.Cmds["change"] = func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := ch.Try(context.Background(), args[0])
				ts.Check(err)
			}
			p.Cmds["query"] = func(ts *testscript.TestScript, _ bool, args []string) {
				var got string
				for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					out, err := ch.Try(ctx, args[0])
					cancel()
					if got = out; err == nil && out == args[1] {
						return
					}
					if time.Now().After(deadline) {
						ts.Fatalf("%s: got %q (%v), want %q", args[0], got, err, args[1])
					}
				}
			}
			testscript.Run(t, p)
		})
	}
}
