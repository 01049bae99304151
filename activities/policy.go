package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// PolicyInput is what CreatePolicy needs.
type PolicyInput struct {
	Policy       string `json:"policy"`
	RoleAliasARN string `json:"roleAliasArn"`
}

// policyDocument is the documented one: its holder may assume the role behind the alias.
func policyDocument(roleAliasARN string) string {
	type statement struct{ Effect, Action, Resource string }
	document, _ := json.Marshal(struct { // strings only: it cannot fail
		Version   string
		Statement statement
	}{"2012-10-17", statement{"Allow", "iot:AssumeRoleWithCertificate", roleAliasARN}})
	return string(document)
}

// CreatePolicy makes the fleet's policy, or adopts the one of that name when its default version
// says the same. It fails with Conflict when that says something else.
func (a *Activities) CreatePolicy(ctx context.Context, in PolicyInput) (Resource, error) {
	doing := fmt.Sprintf("creating policy %q", in.Policy)
	document := policyDocument(in.RoleAliasARN)
	return ensure(ctx, Resource{Type: "iot:Policy", Name: in.Policy},
		func() (string, error) {
			found, err := a.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &in.Policy})
			if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
				return "", errMissing
			}
			if err != nil {
				return "", AWSError(fmt.Sprintf("reading policy %q", in.Policy), err)
			}
			if got := aws.ToString(found.PolicyDocument); !sameDocument(got, document) {
				return "", failed(Conflict, doing, "it exists and its default version %s reads %s, not %s",
					aws.ToString(found.DefaultVersionId), got, document)
			}
			return aws.ToString(found.PolicyArn), nil
		},
		func() (string, error) {
			made, err := a.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &in.Policy, PolicyDocument: &document})
			if err != nil {
				return "", existsOr(doing, err)
			}
			return aws.ToString(made.PolicyArn), nil
		})
}

// sameDocument compares what the documents say: AWS keeps a policy's text as it was written, and
// people write it with other spaces, order or a list of one.
func sameDocument(a, b string) bool {
	var left, right any
	if json.Unmarshal([]byte(a), &left) != nil || json.Unmarshal([]byte(b), &right) != nil {
		return false
	}
	return reflect.DeepEqual(withoutListsOfOne(left), withoutListsOfOne(right))
}

func withoutListsOfOne(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 {
			return withoutListsOfOne(v[0])
		}
		for i := range v {
			v[i] = withoutListsOfOne(v[i])
		}
	case map[string]any:
		delete(v, "Sid") // names a statement, changes nothing
		for key := range v {
			v[key] = withoutListsOfOne(v[key])
		}
	}
	return v
}

// PolicyAttachment is the fleet's policy on a device's certificate.
type PolicyAttachment struct {
	Policy      string      `json:"policy"`
	Certificate Certificate `json:"certificate"`
}

// AttachPolicy gives the device's certificate the fleet's policy. It succeeds when it has it.
func (a *Activities) AttachPolicy(ctx context.Context, in PolicyAttachment) (Resource, error) {
	attached := Resource{Type: "iot:AttachedPolicy", Name: in.Policy, ARN: in.Certificate.ARN, Action: Created}
	if in.Certificate.HasPolicy {
		attached.Action = Adopted
		return attached, nil
	}
	_, err := a.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &in.Policy, Target: &in.Certificate.ARN})
	return attached, AWSError(fmt.Sprintf("attaching policy %q to certificate %s", in.Policy, in.Certificate.ID), err)
}

// DetachPolicy takes the policy from the certificate. It succeeds when it does not have it, or is gone.
func (a *Activities) DetachPolicy(ctx context.Context, in PolicyAttachment) error {
	_, err := a.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: &in.Policy, Target: &in.Certificate.ARN})
	if hasCode(err, "ResourceNotFoundException", "InvalidRequestException") { // "Invalid Target", for a missing certificate
		_, lookErr := a.describeCertificate(ctx, in.Certificate.ID)
		if errors.Is(lookErr, errMissing) || lookErr == nil && hasCode(err, "ResourceNotFoundException") {
			return nil
		}
		if lookErr != nil {
			return lookErr
		}
	}
	return AWSError(fmt.Sprintf("detaching policy %q from certificate %s", in.Policy, in.Certificate.ID), err)
}

// policiesOf lists the policies attached to a certificate.
func (a *Activities) policiesOf(ctx context.Context, certificateARN string) ([]string, error) {
	var names []string
	pages := iot.NewListAttachedPoliciesPaginator(a.iot, &iot.ListAttachedPoliciesInput{Target: &certificateARN})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, AWSError("listing the policies of "+certificateARN, err)
		}
		for _, p := range page.Policies {
			names = append(names, aws.ToString(p.PolicyName))
		}
	}
	return names, nil
}
