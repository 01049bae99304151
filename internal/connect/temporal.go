// Package connect makes the connections that worker and starter share.
package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
)

// dialTimeout is how long a Temporal service that is there takes to say so, and then some.
const dialTimeout = 5 * time.Second

// Temporal connects to the service that Temporal's environment configuration names
// (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_PROFILE, TLS and API key settings) and checks
// that its namespace exists. metrics may be nil. The error says what to do.
func Temporal(ctx context.Context, logger log.Logger, metrics client.MetricsHandler) (client.Client, client.Options, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, options, fmt.Errorf("reading Temporal's configuration: %w. Check the TEMPORAL_… variables and TEMPORAL_PROFILE", err)
	}
	if options.HostPort == "" {
		options.HostPort = client.DefaultHostPort
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	options.Logger, options.MetricsHandler = logger, metrics
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, options, fmt.Errorf("no Temporal at %s: %w. Start it (`starter dev` runs everything on this machine) or set TEMPORAL_ADDRESS", options.HostPort, err)
	}
	if err := checkNamespace(ctx, c, options); err != nil {
		c.Close()
		return nil, options, err
	}
	return c, options, nil
}

func checkNamespace(ctx context.Context, c client.Client, options client.Options) error {
	_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: options.Namespace})
	var missing *serviceerror.NamespaceNotFound
	var denied *serviceerror.PermissionDenied
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("Temporal at %s has no namespace %q: create it (`temporal operator namespace create -n %s`) or set TEMPORAL_NAMESPACE", options.HostPort, options.Namespace, options.Namespace)
	case errors.As(err, &denied), err == nil:
		return nil // may not be allowed to describe it, and still to use it
	}
	return fmt.Errorf("asking Temporal at %s for its namespace %q: %w", options.HostPort, options.Namespace, err)
}
