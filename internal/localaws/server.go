// Package localaws is a local AWS that SDKs, boto3 and the AWS CLI talk to unmodified: IoT, SageMaker edge,
// S3, STS and the IoT credential provider with mutual TLS. It enforces what AWS enforces (names, idempotence,
// the order of undoing, quotas), and it can be told to fail. State lives in memory.
package localaws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	defaultAddress            = "127.0.0.1:4566"
	defaultCredentialsAddress = "127.0.0.1:8443"
	defaultCredentialsHost    = "localhost"
	defaultAccount            = "123456789012"

	// settleTime is how long a detach goes unnoticed by deletes, and an attach or detach by lists.
	settleTime = 300 * time.Millisecond
	// drainTime is how long Close lets running requests finish.
	drainTime = 2 * time.Second
)

// Config says where the local AWS listens and what it starts with.
type Config struct {
	Address            string      // all services and the control interface, plain HTTP; default "127.0.0.1:4566"; port 0 picks a free one
	CredentialsAddress string      // the credential provider, mutual TLS; default "127.0.0.1:8443"; port 0 picks a free one
	CredentialsHost    string      // the name devices reach it under and its server certificate carries; default "localhost"
	Account            string      // default "123456789012"
	Buckets            []string    // made at start
	KeyPool            int         // 0: every CreateKeysAndCertificate gets a key of its own, made ahead in the background; N: deal from N keys made once
	Log                *zap.Logger // nil: none
}

// Server is a running local AWS.
type Server struct {
	account         string
	credentialsHost string
	url             string
	credentialsAddr string
	log             *zap.Logger
	clock           func() time.Time
	settle          time.Duration

	root    *authority // of the credential provider's server certificate
	devices *authority // of the certificates that IoT issues
	keys    *keyPool
	store   *objectStore
	iot     http.Handler
	control http.Handler

	calls  callCounter
	quotas quotaTable
	faults faultList

	mu           sync.Mutex
	regions      map[string]*region
	certificates map[string]*region // certificate id → where it lives

	servers   []*http.Server
	closing   chan struct{}
	closeOnce sync.Once
	running   sync.WaitGroup
}

// Start returns once both listeners accept connections. The error names the address that could not be had.
func Start(cfg Config) (*Server, error) {
	return start(cfg, time.Now, settleTime)
}

func start(cfg Config, clock func() time.Time, settle time.Duration) (*Server, error) {
	s := &Server{
		account:         orDefault(cfg.Account, defaultAccount),
		credentialsHost: orDefault(cfg.CredentialsHost, defaultCredentialsHost),
		log:             cfg.Log,
		clock:           clock,
		settle:          settle,
		regions:         map[string]*region{},
		certificates:    map[string]*region{},
		closing:         make(chan struct{}),
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.calls.counts = map[string]*callCount{}
	s.quotas.init()

	var err error
	if s.root, err = newAuthority("Local AWS Root CA 1", clock()); err != nil {
		return nil, err
	}
	if s.devices, err = newAuthority(deviceIssuer, clock()); err != nil {
		return nil, err
	}
	serverCertificate, err := s.root.serverCertificate(s.credentialsHost, clock())
	if err != nil {
		return nil, err
	}
	if s.store, err = newObjectStore(cfg.Buckets); err != nil {
		return nil, err
	}
	s.iot = s.iotHandler()
	s.control = s.controlHandler()

	services, err := net.Listen("tcp", orDefault(cfg.Address, defaultAddress))
	if err != nil {
		return nil, fmt.Errorf("local AWS cannot listen on %s: %w", orDefault(cfg.Address, defaultAddress), err)
	}
	provider, err := net.Listen("tcp", orDefault(cfg.CredentialsAddress, defaultCredentialsAddress))
	if err != nil {
		_ = services.Close()
		return nil, fmt.Errorf("credential provider cannot listen on %s: %w", orDefault(cfg.CredentialsAddress, defaultCredentialsAddress), err)
	}
	s.url = "http://" + reachable(services.Addr())
	_, port, _ := net.SplitHostPort(provider.Addr().String())
	s.credentialsAddr = net.JoinHostPort(s.credentialsHost, port)

	s.keys = newKeyPool(cfg.KeyPool, s.closing)
	s.background(s.keys.fill)
	s.serveOn(services, http.HandlerFunc(s.dispatch))
	s.serveOn(tls.NewListener(provider, providerTLS(serverCertificate)), s.credentialsHandler())
	s.log.Info("local AWS is ready", zap.String("url", s.url), zap.String("credentials", s.credentialsAddr))
	return s, nil
}

// URL is the endpoint of all services, for example "http://127.0.0.1:4566".
func (s *Server) URL() string { return s.url }

// CredentialsAddress is host:port of the credential provider, for example "localhost:8443".
func (s *Server) CredentialsAddress() string { return s.credentialsAddr }

// RootCA is the certificate that devices trust the credential provider by, in PEM.
func (s *Server) RootCA() []byte { return s.root.pem }

// Close lets running requests finish for a moment, cuts the rest and stops everything that Start started.
func (s *Server) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closing)
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		for _, server := range s.servers {
			if server.Shutdown(ctx) != nil {
				err = errors.Join(err, server.Close())
			}
		}
		s.running.Wait()
	})
	return err
}

func (s *Server) serveOn(listener net.Listener, handler http.Handler) {
	errorLog, _ := zap.NewStdLogAt(s.log, zapcore.DebugLevel) // refused handshakes are the clients' business
	server := &http.Server{
		Handler:           s.tracked(handler),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          errorLog,
	}
	s.servers = append(s.servers, server)
	s.background(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener failed", zap.Error(err))
		}
	})
}

// tracked counts requests in, so that Close returns only after the last handler has.
func (s *Server) tracked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Done()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) background(work func()) {
	s.running.Go(work)
}

// region returns the state of a region, made on first use: things of one region are not there in another.
func (s *Server) region(name string) *region {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.regions[name]
	if !ok {
		r = newRegion(s, name)
		s.regions[name] = r
	}
	return r
}

// reachable is the address to dial for a listener, loopback if it listens on every interface.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
