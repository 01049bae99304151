package localaws

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func attributes(pairs ...string) *types.AttributePayload {
	payload := &types.AttributePayload{Attributes: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		payload.Attributes[pairs[i]] = pairs[i+1]
	}
	return payload
}

func TestThingIdempotence(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	in := &iot.CreateThingInput{ThingName: aws.String("camera-1"), AttributePayload: attributes("site", "osaka")}
	first, err := l.iot.CreateThing(ctx, in)
	require.NoError(t, err)
	again, err := l.iot.CreateThing(ctx, in)
	require.NoError(t, err)
	assert.Equal(t, *first.ThingId, *again.ThingId)

	_, err = l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("camera-1")})
	refused(t, err, "ResourceAlreadyExistsException", 409)
	var exists *types.ResourceAlreadyExistsException
	require.ErrorAs(t, err, &exists)
	assert.Equal(t, *first.ThingArn, *exists.ResourceArn)
	assert.Equal(t, *first.ThingId, *exists.ResourceId)

	_, err = l.iot.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: in.ThingName, AttributePayload: &types.AttributePayload{Merge: true, Attributes: map[string]string{"site": "", "run": "r1"}}})
	require.NoError(t, err)
	_, err = l.iot.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: in.ThingName, ExpectedVersion: aws.Int64(1)})
	refused(t, err, "VersionConflictException", 409)
	described, err := l.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: in.ThingName})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"run": "r1"}, described.Attributes)
	assert.EqualValues(t, 2, described.Version)

	for range 2 { // deleting what is not there succeeds
		_, err = l.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: in.ThingName})
		require.NoError(t, err)
	}
	_, err = l.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: in.ThingName})
	refused(t, err, "ResourceNotFoundException", 404)
}

func TestThingRules(t *testing.T) {
	l := newLocal(t)
	many := func(n int) *types.AttributePayload {
		p := attributes()
		for i := range n {
			p.Attributes[fmt.Sprintf("a%d", i)] = "v"
		}
		return p
	}
	_, err := l.iot.CreateThingType(t.Context(), &iot.CreateThingTypeInput{ThingTypeName: aws.String("camera")})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		thing, thingType string
		attributes       *types.AttributePayload
		code             string
		message          string
	}{
		"space in name":       {"bad name", "", nil, "InvalidRequestException", "1 validation error detected: Value 'bad name' at 'thingName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+"},
		"long name":           {strings.Repeat("x", 129), "", nil, "InvalidRequestException", "less than or equal to 128"},
		"longest name":        {strings.Repeat("x", 128), "", nil, "", ""},
		"attribute name":      {"a", "", attributes("bad name", "v"), "InvalidRequestException", "attributePayload"},
		"attribute value":     {"a", "", attributes("n", "bad value"), "InvalidRequestException", "attributePayload"},
		"long value":          {"a", "", attributes("n", strings.Repeat("v", 801)), "InvalidRequestException", "800"},
		"4 without type":      {"a", "", many(4), "InvalidRequestException", "at most 3"},
		"3 without type":      {"b", "", many(3), "", ""},
		"51 with type":        {"a", "camera", many(51), "InvalidRequestException", "at most 50"},
		"50 with type":        {"c", "camera", many(50), "", ""},
		"type does not exist": {"a", "ghost", nil, "ResourceNotFoundException", "ghost"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &iot.CreateThingInput{ThingName: &c.thing, AttributePayload: c.attributes}
			if c.thingType != "" {
				in.ThingTypeName = &c.thingType
			}
			_, err := l.iot.CreateThing(t.Context(), in)
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			assert.Contains(t, refused(t, err, c.code, statusOf(c.code)), c.message)
		})
	}
}

func TestThingTypeLife(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	name := aws.String("camera")
	create := func(description string) error {
		_, err := l.iot.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: name, ThingTypeProperties: &types.ThingTypeProperties{ThingTypeDescription: &description}})
		return err
	}
	remove := func() error {
		_, err := l.iot.DeleteThingType(ctx, &iot.DeleteThingTypeInput{ThingTypeName: name})
		return err
	}
	deprecate := func(undo bool) {
		_, err := l.iot.DeprecateThingType(ctx, &iot.DeprecateThingTypeInput{ThingTypeName: name, UndoDeprecate: undo})
		require.NoError(t, err)
	}
	require.NoError(t, create("one"))
	require.NoError(t, create("one"))
	refused(t, create("two"), "ResourceAlreadyExistsException", 409)
	_, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a"), ThingTypeName: name})
	require.NoError(t, err)
	refused(t, remove(), "InvalidRequestException", 400)
	deprecate(false)
	_, err = l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("b"), ThingTypeName: name})
	refused(t, err, "InvalidRequestException", 400)
	deprecate(true)
	_, err = l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("b"), ThingTypeName: name})
	require.NoError(t, err)

	deprecate(false)
	assert.Contains(t, refused(t, remove(), "InvalidRequestException", 400), "5 minutes")
	l.clock.advance(deprecationTime)
	assert.Contains(t, refused(t, remove(), "InvalidRequestException", 400), "associated")
	for _, thing := range []string{"a", "b"} {
		_, err = l.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &thing})
		require.NoError(t, err)
	}
	require.NoError(t, remove())
	refused(t, remove(), "ResourceNotFoundException", 404)
}

func TestThingGroups(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	create := func(name, parent string) error {
		in := &iot.CreateThingGroupInput{ThingGroupName: &name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
		if parent != "" {
			in.ParentGroupName = &parent
		}
		_, err := l.iot.CreateThingGroup(ctx, in)
		return err
	}
	require.NoError(t, create("cameras", ""))
	require.NoError(t, create("cameras", ""))
	refused(t, create("cameras", "other"), "ResourceAlreadyExistsException", 409)
	refused(t, create("child", "ghost"), "ResourceNotFoundException", 404)
	require.NoError(t, create("child", "cameras"))
	group, err := l.iot.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("child")})
	require.NoError(t, err)
	assert.Equal(t, "cameras", *group.ThingGroupMetadata.RootToParentThingGroups[0].GroupName)
	tags, err := l.iot.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: group.ThingGroupArn})
	require.NoError(t, err)
	assert.Equal(t, "v", *tags.Tags[0].Value)

	add := func(thing string) error {
		_, err := l.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: aws.String("cameras"), ThingName: &thing})
		return err
	}
	refused(t, add("ghost"), "ResourceNotFoundException", 404)
	l.provision("a")
	require.NoError(t, add("a"))
	require.NoError(t, add("a"))
	things, err := l.iot.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("cameras")})
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, things.Things)
	groups, err := l.iot.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: aws.String("a")})
	require.NoError(t, err)
	assert.Equal(t, "cameras", *groups.ThingGroups[0].GroupName)
	for range 2 {
		_, err = l.iot.RemoveThingFromThingGroup(ctx, &iot.RemoveThingFromThingGroupInput{ThingGroupName: aws.String("cameras"), ThingName: aws.String("a")})
		require.NoError(t, err)
	}
	remove := func(name string) error {
		_, err := l.iot.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: &name})
		return err
	}
	refused(t, remove("cameras"), "InvalidRequestException", 400)
	require.NoError(t, remove("child"))
	require.NoError(t, remove("cameras"))
	require.NoError(t, remove("cameras"))
}

func TestUndoOrder(t *testing.T) {
	l := newSettling(t, time.Second)
	ctx := t.Context()
	certificate := l.provision("a")
	id, arn := certificate.CertificateId, certificate.CertificateArn
	l.attachPolicy("p", allow("*"), arn)

	removeCertificate := func() error {
		_, err := l.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: id})
		return err
	}
	removeThing := func() error {
		_, err := l.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("a")})
		return err
	}
	removePolicy := func() error {
		_, err := l.iot.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: aws.String("p")})
		return err
	}
	refused(t, removeCertificate(), "CertificateStateException", 406)
	_, err := l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: id, NewStatus: types.CertificateStatusInactive})
	require.NoError(t, err)
	refused(t, removeCertificate(), "DeleteConflictException", 409)
	refused(t, removeThing(), "InvalidRequestException", 400)
	refused(t, removePolicy(), "DeleteConflictException", 409)

	for range 2 { // detaching what is detached succeeds
		_, err = l.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("p"), Target: arn})
		require.NoError(t, err)
		_, err = l.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: aws.String("a"), Principal: arn})
		require.NoError(t, err)
	}
	refused(t, removeCertificate(), "DeleteConflictException", 409) // not settled yet
	refused(t, removeThing(), "InvalidRequestException", 400)
	refused(t, removePolicy(), "DeleteConflictException", 409)
	l.clock.advance(time.Second)
	require.NoError(t, removeThing())
	require.NoError(t, removePolicy())
	require.NoError(t, removeCertificate())
	refused(t, removeCertificate(), "ResourceNotFoundException", 404)
	_, err = l.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("p"), Target: arn})
	assert.Contains(t, refused(t, err, "InvalidRequestException", 400), "Invalid Target")
}

func TestListsSettle(t *testing.T) {
	l := newSettling(t, time.Second)
	ctx := t.Context()
	arn := l.provision("a").CertificateArn
	l.attachPolicy("p", allow("*"), arn)
	listed := func() (n int) {
		things, err := l.iot.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: arn})
		require.NoError(t, err)
		principals, err := l.iot.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: aws.String("a")})
		require.NoError(t, err)
		policies, err := l.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: arn})
		require.NoError(t, err)
		targets, err := l.iot.ListTargetsForPolicy(ctx, &iot.ListTargetsForPolicyInput{PolicyName: aws.String("p")})
		require.NoError(t, err)
		return len(things.Things) + len(principals.Principals) + len(policies.Policies) + len(targets.Targets)
	}
	assert.Equal(t, 0, listed(), "right after the attach")
	l.clock.advance(time.Second)
	assert.Equal(t, 4, listed())
	_, err := l.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String("p"), Target: arn})
	require.NoError(t, err)
	_, err = l.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: aws.String("a"), Principal: arn})
	require.NoError(t, err)
	assert.Equal(t, 4, listed(), "right after the detach")
	l.clock.advance(time.Second)
	assert.Equal(t, 0, listed())
}

func TestAttachWantsBothEnds(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	arn := l.provision("a").CertificateArn
	missing := aws.String((*arn)[:len(*arn)-4] + "0000")
	attachPrincipal := func(thing string, principal *string) error {
		_, err := l.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: principal})
		return err
	}
	require.NoError(t, attachPrincipal("a", arn), "again")
	refused(t, attachPrincipal("ghost", arn), "ResourceNotFoundException", 404)
	refused(t, attachPrincipal("a", missing), "ResourceNotFoundException", 404)
	refused(t, attachPrincipal("a", aws.String("nonsense")), "InvalidRequestException", 400)

	l.attachPolicy("p", allow("*"), arn)
	attachPolicy := func(policy string, target *string) error {
		_, err := l.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &policy, Target: target})
		return err
	}
	require.NoError(t, attachPolicy("p", arn), "again")
	refused(t, attachPolicy("ghost", arn), "ResourceNotFoundException", 404)
	refused(t, attachPolicy("p", missing), "ResourceNotFoundException", 404)
	refused(t, attachPolicy("p", aws.String("nonsense")), "InvalidRequestException", 400)
	_, err := l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(strings.Repeat("0", 64)), NewStatus: types.CertificateStatusActive})
	refused(t, err, "ResourceNotFoundException", 404)
}

func TestPages(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	var made []string
	for range 7 {
		certificate, err := l.iot.CreateKeysAndCertificate(ctx, nil)
		require.NoError(t, err)
		made = append(made, *certificate.CertificateId)
		l.clock.advance(time.Second)
	}
	list := func(ascending bool) (ids []string) {
		pages := 0
		for p := iot.NewListCertificatesPaginator(l.iot, &iot.ListCertificatesInput{PageSize: aws.Int32(3), AscendingOrder: ascending}); p.HasMorePages(); pages++ {
			page, err := p.NextPage(ctx)
			require.NoError(t, err)
			for _, c := range page.Certificates {
				ids = append(ids, *c.CertificateId)
			}
		}
		assert.Equal(t, 3, pages)
		return ids
	}
	assert.Equal(t, made, list(true))
	newest := list(false)
	assert.Equal(t, made[6], newest[0])
	assert.Len(t, newest, 7)

	for i := range 60 {
		site := attributes("site", fmt.Sprintf("s%d", i%2))
		_, err := l.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(fmt.Sprintf("t%02d", i)), AttributePayload: site})
		require.NoError(t, err)
		if i%3 == 0 {
			_, err = l.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String(fmt.Sprintf("t%02d", i))})
			require.NoError(t, err)
		}
	}
	seen := map[string]bool{}
	for p := iot.NewListThingsPaginator(l.iot, &iot.ListThingsInput{MaxResults: aws.Int32(7), AttributeName: aws.String("site"), AttributeValue: aws.String("s1")}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		require.NoError(t, err)
		for _, thing := range page.Things {
			assert.False(t, seen[*thing.ThingName])
			seen[*thing.ThingName] = true
		}
	}
	assert.Len(t, seen, 20)
	_, err := l.iot.ListThings(ctx, &iot.ListThingsInput{NextToken: aws.String("nonsense")})
	refused(t, err, "InvalidRequestException", 400)
	_, err = l.iot.ListThings(ctx, &iot.ListThingsInput{MaxResults: aws.Int32(251)})
	refused(t, err, "InvalidRequestException", 400)
}

func TestRoleAliases(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	create := func(name, role string, duration int32) error {
		_, err := l.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &name, RoleArn: &role, CredentialDurationSeconds: &duration})
		return err
	}
	require.NoError(t, create("edge", testRole, 900))
	refused(t, create("edge", testRole, 900), "ResourceAlreadyExistsException", 409)
	refused(t, create("short", testRole, 899), "InvalidRequestException", 400)
	refused(t, create("long", testRole, 43201), "InvalidRequestException", 400)
	refused(t, create("role", "arn:aws:iam::123456789012:user/x", 900), "InvalidRequestException", 400)
	refused(t, create("bad:name", testRole, 900), "InvalidRequestException", 400)
	_, err := l.iot.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: aws.String("edge"), CredentialDurationSeconds: aws.Int32(43200)})
	require.NoError(t, err)
	described, err := l.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: aws.String("edge")})
	require.NoError(t, err)
	assert.EqualValues(t, 43200, *described.RoleAliasDescription.CredentialDurationSeconds)
	listed, err := l.iot.ListRoleAliases(ctx, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"edge"}, listed.RoleAliases)
	_, err = l.iot.DeleteRoleAlias(ctx, &iot.DeleteRoleAliasInput{RoleAlias: aws.String("edge")})
	require.NoError(t, err)
	_, err = l.iot.DeleteRoleAlias(ctx, &iot.DeleteRoleAliasInput{RoleAlias: aws.String("edge")})
	refused(t, err, "ResourceNotFoundException", 404)
}
