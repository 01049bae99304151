package report

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// began is when the sample's onboarding did.
var began = time.Date(2026, 11, 23, 14, 3, 5, 0, time.UTC)

// sample is n outcomes of an onboarding that was let go on at 9.8 devices a second: some devices were
// there, one stretch of lines is held, some are rolled back, a few ended otherwise.
func sample(n int) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		steps := []string{"CreateThing", "RegisterDevice", "IssueCertificate", "AttachThing", "AttachPolicy", "ActivateCertificate", "ProveDevice"}
		for line := 1; line <= n; line++ {
			device := fmt.Sprintf("cam-%05d", line)
			o := Outcome{
				Line: line, Device: device, Thing: device, State: Provisioned, RetrySafe: true,
				CertificateID: fmt.Sprintf("%064x", line), WorkflowID: "device/cameras/" + device, RunID: fmt.Sprintf("019f0000-0000-7000-8000-%012d", line),
				StartedAt: began.Add(time.Duration(float64(line) / 9.8 * float64(time.Second))),
			}
			runs := len(steps)
			switch {
			case line <= n/20:
				o.State, o.RunID, o.EndedAt = AlreadyProvisioned, "", o.StartedAt.Add(30*time.Millisecond)
				o.StartedAt, runs = time.Time{}, 0
			case line > n/2 && line <= n/2+n/50:
				o.State, o.Step, o.ErrorType, runs = Held, "AttachPolicy", "AccessDenied", 5
				o.Error = "attaching policy edgefleet-cameras to certificate " + o.CertificateID + ": AWS said AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized to perform: iot:AttachPolicy (request id 7d1c). What to do: check the worker's AWS credentials and region, and that its IAM policy allows this call."
			case line%97 == 0:
				o.State, o.Step, o.ErrorType, o.CertificateID, runs = RolledBack, "CreateThing", "Conflict", "", 1
				o.Error = "creating thing " + device + ": it exists with thing type old-camera, not smart-camera. What to do: make the specification fit what exists, or remove what exists if nothing uses it. Rolled back: what the run created is gone, what it found is as it was."
			case line%1501 == 0:
				o.State, o.RetrySafe, runs = Terminated, false, 3
			}
			for i, step := range steps[:runs] {
				took := int64(20 + 15*i + random.IntN(30) + int(random.ExpFloat64()*25))
				if step == "ProveDevice" {
					took += int64(300 + random.ExpFloat64()*400)
				}
				o.Steps = append(o.Steps, StepTime{step, took})
				o.DurationMS += took
			}
			if !o.StartedAt.IsZero() {
				o.EndedAt = o.StartedAt.Add(time.Duration(o.DurationMS) * time.Millisecond)
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func heading(n int) Onboarding {
	return Onboarding{
		Name: "osaka-line-3", Fleet: "cameras", Registry: "iot-core", Manifest: "s3://edge-bucket/manifests/osaka-line-3.csv.gz",
		State: "completed", Devices: n, StartedAt: began, EndedAt: began.Add(time.Duration(float64(n)/9.8*1000) * time.Millisecond), CeilingPerSecond: 10,
	}
}
