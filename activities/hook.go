package activities

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"go.temporal.io/sdk/activity"

	"edgefleet/internal/fleet"
)

// The headers of what a hook is sent: the signature, t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 of
// "SECONDS.BODY" under the hook's secret; and the delivery, which is the same when one is repeated.
const (
	signatureHeader = "X-Edgefleet-Signature"
	deliveryHeader  = "X-Edgefleet-Delivery"
)

// hookClient follows no redirects: what was signed is for the hook's URL.
var hookClient = &http.Client{
	Timeout:       callTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// PostHook posts the body, JSON, to a fleet's hook, signed with the secret that the worker's environment has.
func (a *Activities) PostHook(ctx context.Context, hook fleet.Hook, body json.RawMessage) error {
	doing := "telling the hook " + hook.URL
	secret := os.Getenv(hook.SecretEnv)
	if secret == "" {
		return failed(InvalidInput, doing, "the worker's environment has no %s, which is to sign it", hook.SecretEnv)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return failed(InvalidInput, doing, "%v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "edgefleet")
	req.Header.Set(deliveryHeader, activity.GetInfo(ctx).WorkflowExecution.RunID)
	req.Header.Set(signatureHeader, signature([]byte(secret), time.Now(), body))
	res, err := hookClient.Do(req)
	if err != nil {
		return failed(Unavailable, doing, "no answer: %s", rootCause(err))
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	switch status := res.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return failed(Unavailable, doing, "it answered %s", res.Status)
	}
	return failed(InvalidInput, doing, "it answered %s; anything but 2xx means that it did not take it, and a redirect is not followed", res.Status)
}

// signature signs a body with a time, so that an old one cannot be sent again.
func signature(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return fmt.Sprintf("t=%s,v1=%s", seconds, hex.EncodeToString(mac.Sum(nil)))
}
