package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"
)

// Action says how a run came by a resource.
type Action string

const (
	// Created by this run, which may undo it.
	Created Action = "created"
	// Adopted by this run: it was there, and fits. Undo leaves it alone.
	Adopted Action = "adopted"
)

// Resource is one thing in AWS that a step made or found. Type is `SERVICE:Kind` in AWS's words.
type Resource struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	ARN    string `json:"arn,omitempty"`
	Action Action `json:"action"`
}

var (
	errMissing = errors.New("missing") // what a look-up says of a resource that is not there
	errExists  = errors.New("exists")  // what a create says when another run was faster
)

// ensure looks for the resource and creates it when it is missing. look returns its ARN,
// errMissing, or Conflict when it exists and differs; create returns its ARN or errExists.
//
// AWS's creates either succeed for a resource that exists or say only that it does, so the look
// comes first. That it found nothing is kept in the heartbeat: a retry then knows that what it
// finds is its own earlier attempt's, whose answer was lost.
func ensure(ctx context.Context, r Resource, look, create func() (arn string, err error)) (Resource, error) {
	arn, err := look()
	if err == nil {
		r.ARN, r.Action = arn, Adopted
		if activity.HasHeartbeatDetails(ctx) {
			r.Action = Created
		}
		return r, nil
	}
	if !errors.Is(err, errMissing) {
		return Resource{}, err
	}
	activity.RecordHeartbeat(ctx, "missing before this step")
	r.Action = Created
	r.ARN, err = create()
	if errors.Is(err, errExists) {
		r.Action = Adopted
		r.ARN, err = look()
	}
	if errors.Is(err, errMissing) { // AWS's reads lag behind its writes
		err = failed(Unavailable, "looking at "+r.Type+" "+r.Name, "AWS says that it exists, and then that it does not")
	}
	if err != nil {
		return Resource{}, err
	}
	return r, nil
}
