package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

// The loop is what a user would write instead of edgefleet: the documented calls one after the other
// for each device, in ten threads, with the SDK's own retries. It knows no quota. It is a process of
// its own (this program, called with loopCommand), as the workers are.
const (
	loopCommand  = "loop"
	loopThreads  = 10
	loopAttempts = 5 // of a call: what boto3 makes by default
)

// loopInput is what the loop reads from its standard input.
type loopInput struct {
	Fleet     string   `json:"fleet"` // and what is in it, which is there already
	ThingType string   `json:"thingType"`
	Policy    string   `json:"policy"`
	RoleAlias string   `json:"roleAlias"`
	Bucket    string   `json:"bucket"`
	Devices   []string `json:"devices"`
}

// loopOutput is what it writes to its standard output.
type loopOutput struct {
	Ended  []time.Time    `json:"ended"`  // of each device that has proven itself
	TookMS []float64      `json:"tookMs"` // the same devices
	Failed map[string]int `json:"failed"` // devices, by what was said in the end
}

// deviceLoop is the loop with its clients.
type deviceLoop struct {
	loopInput
	iot       *iot.Client
	sagemaker *sagemaker.Client
	s3        *s3.Client
	rootCA    []byte
	endpoint  string
}

func loopMain(ctx context.Context) error {
	var in loopInput
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	l, err := newLoop(ctx, in)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.run(ctx))
}

func newLoop(ctx context.Context, in loopInput) (*deviceLoop, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRetryMode(aws.RetryModeStandard), config.WithRetryMaxAttempts(loopAttempts))
	if err != nil {
		return nil, err
	}
	l := &deviceLoop{
		loopInput: in,
		iot:       iot.NewFromConfig(cfg),
		sagemaker: sagemaker.NewFromConfig(cfg),
		s3:        s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
	endpoint, err := l.iot.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")})
	if err != nil {
		return nil, err
	}
	l.endpoint = aws.ToString(endpoint.EndpointAddress)
	res, err := http.Get(os.Getenv("EDGEFLEET_ROOT_CA_URL"))
	if err != nil {
		return nil, fmt.Errorf("fetching the root CA: %w", err)
	}
	defer res.Body.Close()
	l.rootCA, err = io.ReadAll(res.Body)
	return l, err
}

func (l *deviceLoop) run(ctx context.Context) loopOutput {
	out := loopOutput{Failed: map[string]int{}}
	var mu sync.Mutex
	var threads errgroup.Group
	threads.SetLimit(loopThreads)
	for _, device := range l.Devices {
		threads.Go(func() error {
			begun := time.Now()
			err := l.provision(ctx, device)
			took := time.Since(begun)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Failed[cause(err)]++
				return nil // the next device
			}
			out.Ended = append(out.Ended, time.Now())
			out.TookMS = append(out.TookMS, float64(took.Milliseconds()))
			return nil
		})
	}
	_ = threads.Wait() // no device's error ends the loop
	return out
}

// cause is an error without what differs from device to device.
func cause(err error) string {
	var operation *smithy.OperationError
	var said smithy.APIError
	if errors.As(err, &operation) && errors.As(err, &said) {
		return operation.Operation() + ": " + said.ErrorCode()
	}
	return err.Error()
}

// provision makes the calls for one device.
func (l *deviceLoop) provision(ctx context.Context, device string) error {
	if _, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: &device, ThingTypeName: &l.ThingType}); err != nil {
		return err
	}
	_, err := l.sagemaker.RegisterDevices(ctx, &sagemaker.RegisterDevicesInput{
		DeviceFleetName: &l.Fleet,
		Devices:         []sagemakertypes.Device{{DeviceName: &device, IotThingName: &device}},
	})
	if err != nil {
		return err
	}
	made, err := l.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})
	if err != nil {
		return err
	}
	if _, err := l.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &device, Principal: made.CertificateArn}); err != nil {
		return err
	}
	if _, err := l.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &l.Policy, Target: made.CertificateArn}); err != nil {
		return err
	}
	_, err = l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: iottypes.CertificateStatusActive})
	if err != nil {
		return err
	}
	certificate, key := []byte(aws.ToString(made.CertificatePem)), []byte(aws.ToString(made.KeyPair.PrivateKey))
	for name, body := range map[string][]byte{"device.pem.crt": certificate, "private.pem.key": key, "AmazonRootCA1.pem": l.rootCA} {
		_, err := l.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &l.Bucket, Key: aws.String("loop/" + device + "/" + name), Body: bytes.NewReader(body),
		})
		if err != nil {
			return err
		}
	}
	return l.prove(ctx, device, certificate, key)
}

// prove fetches credentials as the device, and tries again as the SDK does.
func (l *deviceLoop) prove(ctx context.Context, device string, certificate, key []byte) error {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(l.rootCA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for attempt := 1; ; attempt++ {
		err = l.fetchCredentials(ctx, client, device)
		if err == nil || attempt == loopAttempts {
			return err
		}
		backoff := time.Duration(rand.Float64() * float64(time.Second<<(attempt-1)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff):
		}
	}
}

func (l *deviceLoop) fetchCredentials(ctx context.Context, client *http.Client, device string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.endpoint+"/role-aliases/"+l.RoleAlias+"/credentials", nil)
	if err != nil {
		return err
	}
	req.Header.Set("x-amzn-iot-thingname", device)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New("the credential provider said " + res.Status)
	}
	return nil
}
