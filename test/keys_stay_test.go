package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"edgefleet/workflows"
)

// TestKeysStayInTheirStore: no private key is in anything that Temporal, the worker or starter
// keep or show, neither of runs that go well nor of those whose steps fail or lose their answers
// while they hold the key. What all other tests leave behind is searched at the very end.
func TestKeysStayInTheirStore(t *testing.T) {
	s := shared(t)
	for _, registry := range []string{sageMaker, iotCore} {
		file := spec(t, "keys-"+registry, registry)
		device := func(name string) string { return name + "-" + registry } // things have one namespace
		s.starter(t, "provision", "-f", file, device("good"), "-o", "json").exits(t, 0)
		s.starter(t, "provision", "-f", file, device("good")).exits(t, 0)
		s.fault(t,
			fault{Operation: "s3:PutObject", Kind: "error", Code: "InternalError", Status: 500, Match: device("broken") + "/private.pem.key", Times: 5},
			fault{Operation: "s3:PutObject", Kind: "error", Code: "AccessDenied", Status: 403, Match: device("refused") + "/private.pem.key", Times: 1},
			fault{Operation: "s3:PutObject", Kind: "drop-after", Match: device("lost") + "/private.pem.key", Times: 1},
			fault{Operation: "s3:PutObject", Kind: "drop-before", Match: device("lost") + "/device.pem.crt", Times: 5})
		s.starter(t, "provision", "-f", file, device("broken")).exits(t, 0)
		s.starter(t, "provision", "-f", file, device("lost")).exits(t, 0)
		s.starter(t, "provision", "-f", file, device("refused"), "--on-failure", "rollback", "-o", "json").exits(t, 1, "AccessDenied")
		assert.Empty(t, s.pendingFaults(t))
	}

	found, searched, err := s.searchForKeys(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found)
	t.Log(searched)
	for _, registry := range []string{sageMaker, iotCore} {
		for _, device := range []string{"good", "broken", "lost", "refused"} {
			id := workflows.DeviceWorkflowID("keys-"+registry, device+"-"+registry)
			assert.Contains(t, searched.runs, id, "not searched")
			assert.Contains(t, searched.runs, "fleet/"+strings.TrimPrefix(id, "device/"), "the child was not searched")
		}
	}
	assert.GreaterOrEqual(t, searched.keys, 6)
}

// TestKeysStayWhileAStepHoldsThem looks at a run while its step has a key in its hands: at the
// heartbeat, and at the details for the UI.
func TestKeysStayWhileAStepHoldsThem(t *testing.T) {
	s := shared(t)
	file := spec(t, "keys-held", iotCore)
	s.fault(t, fault{Operation: "s3:PutObject", Kind: "hang", Match: "held-01/private.pem.key", Times: -1})
	s.starter(t, "provision", "-f", file, "held-01", "--no-wait").exits(t, 0)

	id := workflows.DeviceWorkflowID("keys-held", "held-01")
	var during *workflowservice.DescribeWorkflowExecutionResponse
	eventually(t, "a heartbeat of IssueCertificate", func() (err error) {
		during, err = s.temporal.DescribeWorkflowExecution(t.Context(), id, "")
		if err == nil && (len(during.GetPendingActivities()) == 0 || during.GetPendingActivities()[0].GetHeartbeatDetails() == nil) {
			err = errors.New("none yet")
		}
		return err
	})
	details, err := s.temporal.QueryWorkflow(t.Context(), id, "", "__temporal_workflow_metadata")
	require.NoError(t, err)
	var shown converter.RawValue
	require.NoError(t, details.Get(&shown))

	s.clearFaults(t)
	require.NoError(t, s.temporal.GetWorkflow(t.Context(), id, "").Get(t.Context(), nil))
	search, _, err := s.knownKeys(t.Context()) // it is in the store only now
	require.NoError(t, err)
	found, err := search.inMessage("the description", during)
	require.NoError(t, err)
	assert.Empty(t, append(found, search.in("the details", shown.Payload().GetData())...))
}

// searched says how much was searched.
type searched struct {
	keys, events, bytes int
	runs                map[string]int // by workflow id
}

func (s searched) String() string {
	return fmt.Sprintf("searched for %d keys in %d events of %d workflows and %d bytes of output, logs and metrics", s.keys, s.events, len(s.runs), s.bytes)
}

// searchForKeys looks for the keys of all devices in all histories, logs, metrics and output.
func (s *stack) searchForKeys(ctx context.Context) (found []string, did searched, err error) {
	search, keys, err := s.knownKeys(ctx)
	if err != nil {
		return nil, did, err
	}
	did.keys, did.runs = keys, map[string]int{}
	namespaces, err := s.temporal.WorkflowService().ListNamespaces(ctx, &workflowservice.ListNamespacesRequest{PageSize: 1000})
	if err != nil {
		return nil, did, err
	}
	for _, n := range namespaces.GetNamespaces() {
		namespace := n.GetNamespaceInfo().GetName()
		all, err := s.executions(ctx, namespace, "")
		if err != nil {
			return nil, did, err
		}
		for _, execution := range all {
			leaks, err := search.inMessage("the list's entry of "+execution.GetExecution().GetWorkflowId(), execution)
			if err != nil {
				return nil, did, err
			}
			found = append(found, leaks...)
			events, err := s.history(ctx, namespace, execution.GetExecution())
			if err != nil {
				return nil, did, err
			}
			did.runs[execution.GetExecution().GetWorkflowId()]++
			did.events += len(events)
			for _, event := range events {
				where := fmt.Sprintf("event %d (%s) of %s", event.GetEventId(), event.GetEventType(), execution.GetExecution().GetWorkflowId())
				leaks, err := search.inMessage(where, event)
				if err != nil {
					return nil, did, err
				}
				found = append(found, leaks...)
			}
		}
	}
	texts, err := s.output(ctx)
	for where, text := range texts {
		did.bytes += len(text)
		found = append(found, search.in(where, text)...)
	}
	return found, did, err
}

// knownKeys is a search for every private key that is in the object store, and how many these are.
func (s *stack) knownKeys(ctx context.Context) (search *keySearch, keys int, err error) {
	search = newKeySearch()
	pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: new(bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, o := range page.Contents {
			if path.Base(*o.Key) != "private.pem.key" {
				continue
			}
			text, err := s.object(ctx, *o.Key)
			if err != nil {
				return nil, 0, err
			}
			if err := search.addKey(path.Dir(*o.Key), text); err != nil {
				return nil, 0, err
			}
			keys++
		}
	}
	return search, keys, nil
}

func (s *stack) object(ctx context.Context, key string) ([]byte, error) {
	o, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: new(bucket), Key: &key})
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	return io.ReadAll(o.Body)
}

func (s *stack) history(ctx context.Context, namespace string, of *common.WorkflowExecution) ([]*history.HistoryEvent, error) {
	var events []*history.HistoryEvent
	request := &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: namespace, Execution: of, HistoryEventFilterType: enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT,
	}
	for {
		page, err := s.temporal.WorkflowService().GetWorkflowExecutionHistory(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("the history of %s: %w", of.GetWorkflowId(), err)
		}
		events = append(events, page.GetHistory().GetEvents()...)
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return events, nil
		}
	}
}

// output is what the programs wrote: logs, metrics, and what starter printed.
func (s *stack) output(ctx context.Context) (map[string][]byte, error) {
	texts := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(s.logs, "*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if texts[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	for _, w := range s.Workers {
		status, text, err := get(ctx, w.URL+"/metrics")
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("the metrics of a worker: status %d, %w", status, err)
		}
		texts[w.URL+"/metrics"] = text
	}
	transcript.Lock()
	defer transcript.Unlock()
	texts["what starter and worker printed"] = slices.Clone(transcript.text.Bytes())
	return texts, nil
}

func get(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}
