// Command localaws runs the local AWS by itself, as a container does.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"edgefleet/internal/localaws"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "localaws:", err)
		os.Exit(1)
	}
}

func run() error {
	log, err := zap.NewProduction()
	if err != nil {
		return fmt.Errorf("logger: %w", err)
	}
	defer func() { _ = log.Sync() }()

	cfg := localaws.Config{Log: log}
	flag.StringVar(&cfg.Address, "address", "127.0.0.1:4566", "where all services and the control interface listen, plain HTTP")
	flag.StringVar(&cfg.CredentialsAddress, "credentials-address", "127.0.0.1:8443", "where the credential provider listens, mutual TLS")
	flag.StringVar(&cfg.CredentialsHost, "credentials-host", "localhost", "the name that devices reach the credential provider under")
	flag.IntVar(&cfg.KeyPool, "key-pool", 0, "deal certificates from so many keys; 0 makes one for each")
	flag.Func("bucket", "a bucket to make, or several with commas between; may be repeated", func(value string) error {
		cfg.Buckets = append(cfg.Buckets, strings.Split(value, ",")...)
		return nil
	})
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := localaws.Start(cfg)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return server.Close()
}
