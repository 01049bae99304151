package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"edgefleet/activities"
	"edgefleet/internal/devstack"
	"edgefleet/workflows"
)

// TestTemporalUI does in a real browser what docs/operators.md tells operators to do in the Temporal
// UI, and takes that document's pictures: with EDGEFLEET_SCREENSHOTS=1 they replace those in docs.
func TestTemporalUI(t *testing.T) {
	s, err := startWith(devstack.Config{KeyPool: 2})
	require.NoError(t, err)
	l := &lane{s, map[string]bool{}}
	t.Cleanup(func() { l.close(t) })
	fine := device{text: specText("cameras", sageMaker)}
	fine.file = writeFile(t, "fleet.yaml", fine.text)
	s.starter(t, "provision", "-f", fine.file, "cam-01").exits(t, 0)
	refused, busy := refusalOf["AttachPolicy"], throttled("iot:CreateThing", "cam-09")
	busy.Times = -1
	s.fault(t, refused, busy)
	for _, name := range []string{"cam-07", "cam-08"} {
		s.starter(t, "provision", "-f", fine.file, name).exits(t, 1, "is held at AttachPolicy")
	}
	s.starter(t, "provision", "-f", fine.file, "cam-09", "--no-wait").exits(t, 0)
	s.listed(t, "cameras", 2)
	run := func(name string) client.WorkflowRun {
		return s.temporal.GetWorkflow(t.Context(), workflows.DeviceWorkflowID("cameras", name), "")
	}
	b := newBrowser(t, s.UIURL())

	// Found by its search attribute, and by what it has not; opened; read.
	b.open(`ProvisionState = "held"`)
	b.sees("device/cameras/cam-07")
	b.sees("device/cameras/cam-08")
	require.NotContains(t, b.text(), "device/cameras/cam-01")
	b.picture("ui-held")
	b.click("a", "device/cameras/cam-07")
	b.click("a", "User Metadata")
	hold := s.awaitHold(t, run("cam-07").GetID())
	for _, words := range []string{"Held at AttachPolicy: AccessDenied", "AccessDeniedException", hold.RequestID, "Send an Update", "Likely:", "4 of 7 steps done", "policy edgefleet-cameras to certificate"} {
		b.sees(words)
	}
	b.picture("ui-hold")

	// An answer that says what is wrong, and one that lets it go on.
	s.clearFaults(t)
	s.fault(t, busy)
	b.click("button", "More Actions")
	b.click("[role=menuitem]", "Send an Update")
	b.choose("update-select-button", "resume")
	b.write(`{"because": "the policy allows it now"}`)
	b.click("button", "Submit")
	b.sees(`unknown field "because"`)
	b.write(`{"reason": "the worker's IAM policy allows iot:AttachPolicy now", "by": "mari"}`)
	b.picture("ui-resume")
	b.click("button", "Submit")
	result := s.provisioned(t, run("cam-07"))
	require.Len(t, result.Decisions, 1)
	assert.Equal(t, workflows.Decision{Reason: "the worker's IAM policy allows iot:AttachPolicy now", By: "mari"}, result.Decisions[0].Decision)
	b.sees("Completed")
	b.click("a", "History")
	b.picture("ui-resumed")

	// The other one is given up, by Signal.
	b.open(`ProvisionError = "AccessDenied" AND ProvisionState = "held" AND EdgeFleet = "cameras" AND ProvisionStep = "AttachPolicy"`)
	b.click("a", "device/cameras/cam-08")
	b.click("button", "More Actions")
	b.click("[role=menuitem]", "Send a Signal")
	b.choose("signal-select-button", "rollback")
	b.write(`{"reason": "the camera was returned", "by": "mari"}`)
	b.picture("ui-rollback")
	b.click("button", "Submit")
	s.rolledBack(t, run("cam-08"), activities.AccessDenied)
	b.sees("Failed")

	// A step that is retried says why, and since when.
	b.open(`ExecutionStatus = "Running" AND EdgeFleet = "cameras" AND WorkflowType = "ProvisionDevice"`)
	b.click("a", "device/cameras/cam-09")
	b.click("a", "Pending Activities")
	b.sees("CreateThing")
	b.sees("Rate exceeded")
	b.picture("ui-retrying")
	s.clearFaults(t)
	s.provisioned(t, run("cam-09"))
	assert.Empty(t, s.audit(t, fine))
}

// browser is a chromium that looks at the Temporal UI.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string
}

func newBrowser(t *testing.T, ui string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "Debian's package chromium; `make test` installs it")
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-background-networking", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860), chromedp.WSURLReadTimeout(patience))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "starting %s", path)
	return &browser{t, ctx, ui}
}

// do runs a step that must succeed.
func (b *browser) do(step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, step))
}

// open shows the list of runs that a query finds.
func (b *browser) open(query string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + "/namespaces/default/workflows?query=" + url.QueryEscape(query)))
}

// until waits until a JavaScript function of the arguments returns true.
func (b *browser) until(what, function string, args ...any) {
	b.t.Helper()
	encoded, err := json.Marshal(append([]any{}, args...))
	require.NoError(b.t, err)
	eventually(b.t, what, func() error {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		done, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf("(%s)(...%s)", function, encoded)))
		if err == nil && !done {
			err = errors.New("the page reads: " + b.text())
		}
		return err
	})
}

// shown is JavaScript for what the page shows. The UI renders Markdown in frames of their own.
const shown = `[document, ...[...document.querySelectorAll('iframe')].map(f => f.contentDocument)]
	.map(d => d && d.body ? d.body.innerText : '').join('\n')`

// text is what the page shows.
func (b *browser) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](shown))
	if err != nil {
		return err.Error()
	}
	return text
}

// sees waits until the page shows the words, whatever quotes and spaces it makes of them.
func (b *browser) sees(words string) {
	b.t.Helper()
	b.until("the page shows "+words, `words => {
		const plain = text => text.replace(/[“”]/g, '"').replace(/\s+/g, ' ');
		return plain(`+shown+`).includes(plain(words));
	}`, words)
}

// click waits for what has the words and can be clicked, and clicks it.
func (b *browser) click(selector, words string) {
	b.t.Helper()
	b.until("a click on "+words, `(selector, words) => {
		const open = document.querySelector('dialog[open]') || document;
		const found = [...open.querySelectorAll(selector)].find(e => e.innerText.includes(words) && e.checkVisibility() && !e.disabled);
		if (found) found.click();
		return !!found;
	}`, selector, words)
}

// choose picks an option of a dialog's list.
func (b *browser) choose(list, option string) {
	b.t.Helper()
	b.click(fmt.Sprintf("[data-testid=%s]", list), "")
	b.click("[role=option]", option)
}

// write puts the text into the dialog's editor, in place of what is there.
func (b *browser) write(text string) {
	b.t.Helper()
	b.until("the dialog's editor", `() => {
		const editor = document.querySelector('dialog[open] [contenteditable=true]');
		if (!editor) return false;
		editor.focus();
		document.execCommand('selectAll');
		return document.activeElement === editor;
	}`)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
	require.NoError(b.t, err)
	b.until("the text is in the editor", `text => document.querySelector('dialog[open] [contenteditable=true]').innerText.trim() === text`, text)
}

// picture keeps what the window shows, for the docs.
func (b *browser) picture(name string) {
	b.t.Helper()
	// Animations have ended and fonts are there, or the picture shows neither state.
	b.until("the page is at rest", `() => document.fonts.status === 'loaded' &&
		document.getAnimations().every(a => a.playState !== 'running' || a.effect.getComputedTiming().iterations === Infinity)`)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NotEmpty(b.t, png)
	if os.Getenv("EDGEFLEET_SCREENSHOTS") == "1" {
		require.NoError(b.t, os.WriteFile(filepath.Join("..", "docs", name+".png"), png, 0o644))
	}
}
