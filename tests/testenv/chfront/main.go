// Command chfront serves a modern ClickHouse engine over ClickHouse's HTTP interface, for tests.
//
// The engine is the real one, from libchdb.so; only the door is ours. It takes what HTTP clients
// send: a query in the URL or the body, data for INSERT in the body (plain, gzip, zstd, or
// ClickHouse's own compressed blocks), settings, database and query_id as URL parameters, and
// answers with the engine's own error codes and text. Tables and deduplication tokens are on disk
// and survive kill -9.
//
// Other than in a real server, queries run one after another, in the order in which their bodies
// were complete; so one that asks system.processes waits until every earlier insert is over. It
// refuses client_protocol_version with Native, has no sessions, and no native port.
//
//	CHFRONT_LIB=/path/libchdb.so [CHFRONT_USER=u CHFRONT_PASSWORD=p] chfront DATADIR 127.0.0.1:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chfront:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: chfront DATADIR HOST:PORT")
	}
	listener, err := net.Listen("tcp", args[1])
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	e, err := openEngine(os.Getenv("CHFRONT_LIB"), args[0])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	f := newFront(e, os.Getenv("CHFRONT_USER"), os.Getenv("CHFRONT_PASSWORD"))
	server := &http.Server{Handler: f}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("listening", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	e.close()
	return nil
}
