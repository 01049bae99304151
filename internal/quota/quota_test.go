package quota

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/stretchr/testify/require"
)

// counter answers every call, and notes when it came.
type counter struct {
	mu    sync.Mutex
	times []time.Time
}

func (c *counter) Do(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, time.Now())
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: req}, nil
}

// mostWithin is the most calls that came in any period so long.
func (c *counter) mostWithin(period time.Duration) (most int) {
	for i, first := range c.times {
		n := 0
		for _, later := range c.times[i:] {
			if later.Sub(first) < period {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func limited(t *testing.T, share float64) (*counter, aws.Config) {
	c := &counter{}
	return c, NewLanes(rates(t, ""), Share{From: 0, To: share}).Limit(aws.Config{
		Region: "eu-test-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), HTTPClient: c,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

// many makes calls from several clients at a time, and returns how long they took.
func many(t *testing.T, calls int, call func(context.Context) error) time.Duration {
	t.Helper()
	begun := time.Now()
	var group sync.WaitGroup
	errs := make(chan error, calls)
	for range calls {
		group.Go(func() { errs <- call(t.Context()) })
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	return time.Since(begun)
}

func rates(t *testing.T, source string) *Rates {
	t.Helper()
	r, err := LoadRates(t.Context(), source)
	require.NoError(t, err)
	return r
}

// The clients of one configuration together keep to the share of an API's rate; another API has a
// rate of its own.
func TestLimit(t *testing.T) {
	c, cfg := limited(t, 0.5)
	clients := []*iot.Client{iot.NewFromConfig(cfg), iot.NewFromConfig(cfg)}
	list := func(ctx context.Context) error {
		for _, client := range clients {
			if _, err := client.ListThings(ctx, &iot.ListThingsInput{}); err != nil {
				return err
			}
		}
		return nil
	}
	took := many(t, 6, list) // 12 calls, at 10 × 0.5 a second
	require.Greater(t, took, 2*time.Second)
	require.Len(t, c.times, 12)
	require.LessOrEqual(t, c.mostWithin(time.Second), 5)

	begun := time.Now()
	_, err := clients[0].DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: aws.String("x")})
	require.NoError(t, err)
	require.Less(t, time.Since(begun), time.Second, "another API has its own lane")
}

// An API without a published rate has an assumed one; S3 has none to speak of.
func TestLimitWithoutQuota(t *testing.T) {
	require.NotContains(t, Published(), "sagemaker:ListDevices")
	_, cfg := limited(t, 1)
	client := sagemaker.NewFromConfig(cfg)
	took := many(t, Assumed+1, func(ctx context.Context) error {
		_, err := client.ListDevices(ctx, &sagemaker.ListDevicesInput{})
		return err
	})
	require.GreaterOrEqual(t, took, time.Second)

	c, cfg := limited(t, 0.001)
	bucket := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	took = many(t, 50, func(ctx context.Context) error {
		_, err := bucket.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		return err
	})
	require.Less(t, took, 5*time.Second)
	require.Len(t, c.times, 50)
}

// A call that waits for its turn ends when its context does, and never reaches AWS.
func TestLimitCanceled(t *testing.T) {
	c, cfg := limited(t, 0.001)
	client := iot.NewFromConfig(cfg)
	_, err := client.ListThings(t.Context(), &iot.ListThingsInput{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = client.ListThings(ctx, &iot.ListThingsInput{})
	require.Error(t, err)
	require.Len(t, c.times, 1)
}

// The configuration that was limited is not changed by it.
func TestLimitCopies(t *testing.T) {
	c := &counter{}
	cfg := aws.Config{Region: "eu-test-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), HTTPClient: c,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")}
	NewLanes(rates(t, ""), Share{From: 0, To: 0.001}).Limit(cfg)
	client := iot.NewFromConfig(cfg)
	require.Less(t, many(t, 20, func(ctx context.Context) error {
		_, err := client.ListThings(ctx, &iot.ListThingsInput{})
		return err
	}), 5*time.Second)
}

// What callers get of the published rates is theirs to change.
func TestPublished(t *testing.T) {
	rates := Published()
	require.InDelta(t, 10, rates["iot:CreateKeysAndCertificate"], 0)
	rates["iot:CreateKeysAndCertificate"] = 0
	require.InDelta(t, 10, Published()["iot:CreateKeysAndCertificate"], 0)
	for api, perSecond := range Published() {
		require.Positive(t, perSecond, api)
	}
}
