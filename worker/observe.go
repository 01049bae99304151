package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	sdklog "go.temporal.io/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// defaultMetricsAddress is where /metrics and /healthz are served unless EDGEFLEET_METRICS_ADDRESS
// says otherwise.
const defaultMetricsAddress = "127.0.0.1:9464"

// temporalLogger makes the SDK log through zap: a line of a workflow or an activity carries its ids.
func temporalLogger(log *zap.Logger) sdklog.Logger {
	return sdklog.NewStructuredLogger(slog.New(zapslog.NewHandler(log.Core())))
}

// metricsOfSDK are the Temporal SDK's metrics for Prometheus to fetch.
type metricsOfSDK struct {
	registry *prometheus.Registry
	handler  client.MetricsHandler
}

func newMetrics() (metricsOfSDK, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return metricsOfSDK{}, fmt.Errorf("setting up metrics: %w", err)
	}
	// The SDK's histograms are of seconds; the default buckets are for milliseconds.
	inSeconds := metric.NewView(metric.Instrument{Kind: metric.InstrumentKindHistogram}, metric.Stream{
		Aggregation: metric.AggregationExplicitBucketHistogram{
			Boundaries: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600},
		},
	})
	meter := metric.NewMeterProvider(metric.WithReader(exporter), metric.WithView(inSeconds)).Meter("temporal-sdk-go")
	return metricsOfSDK{registry, opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{Meter: meter})}, nil
}

func metricsAddress() (address string, configured bool) {
	if address = os.Getenv("EDGEFLEET_METRICS_ADDRESS"); address != "" {
		return address, true
	}
	return defaultMetricsAddress, false
}

// listen takes the configured address. The default one a second worker on the machine finds taken:
// it takes a free one then, and logs which.
func listen() (net.Listener, error) {
	address, configured := metricsAddress()
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && !configured {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("serving metrics: %w. Set EDGEFLEET_METRICS_ADDRESS to a free HOST:PORT", err)
	}
	return listener, nil
}

// serve answers /metrics, and /healthz with 200 while Temporal can be reached.
func serve(listener net.Listener, m metricsOfSDK, c client.Client) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if _, err := c.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
			http.Error(w, "Temporal cannot be reached: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) //nolint:errcheck // it ends with Close
	return server
}

// askHealth is the container's health check, for images without curl: an exit code.
func askHealth() int {
	address, _ := metricsAddress()
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		var res *http.Response
		res, err = (&http.Client{Timeout: 5 * time.Second}).Get("http://127.0.0.1:" + port + "/healthz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return 0
			}
			err = errors.New(res.Status)
		}
	}
	fmt.Fprintln(os.Stderr, "worker: not well: "+err.Error())
	return 1
}
