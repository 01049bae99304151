package localaws

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPolicyDocuments(t *testing.T) {
	statement := func(members string) string { return `{"Version":"2012-10-17","Statement":` + members + `}` }
	for name, c := range map[string]struct {
		document string
		valid    bool
	}{
		"documented":         {allow("arn:aws:iot:eu-west-1:123456789012:rolealias/a"), true},
		"lists":              {statement(`[{"Sid":"s","Effect":"Deny","Action":["iot:Connect","*"],"Resource":["*"]}]`), true},
		"white space free":   {allow("*") + strings.Repeat(" ", 2048), true},
		"no JSON":            {"nonsense", false},
		"empty":              {"", false},
		"list":               {"[]", false},
		"trailing":           {allow("*") + "{}", false},
		"no version":         {`{"Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`, false},
		"other version":      {`{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`, false},
		"no statement":       {`{"Version":"2012-10-17"}`, false},
		"empty statement":    {statement(`[]`), false},
		"no effect":          {statement(`{"Action":"iot:*","Resource":"*"}`), false},
		"effect":             {statement(`{"Effect":"allow","Action":"iot:*","Resource":"*"}`), false},
		"no action":          {statement(`{"Effect":"Allow","Resource":"*"}`), false},
		"no resource":        {statement(`{"Effect":"Allow","Action":"iot:*"}`), false},
		"not action":         {statement(`{"Effect":"Allow","NotAction":"iot:*","Resource":"*"}`), false},
		"foreign action":     {statement(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`), false},
		"resource is no ARN": {statement(`{"Effect":"Allow","Action":"iot:*","Resource":"alias"}`), false},
		"unknown member":     {statement(`{"Effect":"Allow","Action":"iot:*","Resource":"*","Principal":"*"}`), false},
		"too long":           {allow("arn:" + strings.Repeat("x", 2048)), false},
	} {
		_, err := parsePolicy(c.document)
		if c.valid {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, "MalformedPolicyException", name)
		}
	}
}

func TestPolicyEvaluation(t *testing.T) {
	const arn = "arn:aws:iot:eu-west-1:123456789012:rolealias/SageMakerEdge-cameras"
	effect := func(effect, action, resource string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":%q,"Action":[%q],"Resource":[%q]}]}`, effect, action, resource)
	}
	for name, c := range map[string]struct {
		documents []string
		want      bool
	}{
		"none":             {nil, false},
		"exact":            {[]string{allow(arn)}, true},
		"star":             {[]string{effect("Allow", "iot:*", "arn:aws:iot:*:rolealias/*")}, true},
		"question mark":    {[]string{effect("Allow", "iot:AssumeRoleWithCertificat?", "*")}, true},
		"too few":          {[]string{allow(arn + "?")}, false},
		"prefix only":      {[]string{allow(arn[:len(arn)-1])}, false},
		"other action":     {[]string{effect("Allow", "iot:Connect", "*")}, false},
		"deny wins":        {[]string{allow(arn), effect("Deny", "*", "*")}, false},
		"deny of another":  {[]string{allow(arn), effect("Deny", "iot:Connect", "*")}, true},
		"conditional":      {[]string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}}`}, false},
		"second statement": {[]string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},{"Effect":"Allow","Action":"iot:Assume*","Resource":"*"}]}`}, true},
	} {
		var documents []*policyDocument
		for _, text := range c.documents {
			document, err := parsePolicy(text)
			require.NoError(t, err, name)
			documents = append(documents, document)
		}
		assert.Equal(t, c.want, allowed(documents, assumeRoleAction, arn), name)
	}
}

func TestPolicyVersions(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	name := aws.String("fleet")
	create := func(document string) error {
		_, err := l.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: &document})
		return err
	}
	require.NoError(t, create(allow("*")))
	refused(t, create(allow("*")), "ResourceAlreadyExistsException", 409)
	refused(t, create("nonsense"), "MalformedPolicyException", 400)
	add := func(asDefault bool) error {
		_, err := l.iot.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: aws.String(allow("arn:aws:x")), SetAsDefault: asDefault})
		return err
	}
	require.NoError(t, add(true))
	for range 3 {
		require.NoError(t, add(false))
	}
	refused(t, add(false), "VersionsLimitExceededException", 409)
	policy, err := l.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: name})
	require.NoError(t, err)
	assert.Equal(t, "2", *policy.DefaultVersionId)
	assert.Equal(t, allow("arn:aws:x"), *policy.PolicyDocument)

	removeVersion := func(id string) error {
		_, err := l.iot.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: &id})
		return err
	}
	refused(t, removeVersion("2"), "DeleteConflictException", 409)
	refused(t, removeVersion("9"), "ResourceNotFoundException", 404)
	_, err = l.iot.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name})
	refused(t, err, "DeleteConflictException", 409)
	_, err = l.iot.SetDefaultPolicyVersion(ctx, &iot.SetDefaultPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("1")})
	require.NoError(t, err)
	versions, err := l.iot.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: name})
	require.NoError(t, err)
	for _, v := range versions.PolicyVersions {
		if !v.IsDefaultVersion {
			require.NoError(t, removeVersion(*v.VersionId))
		}
	}
	_, err = l.iot.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name})
	require.NoError(t, err)
	_, err = l.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: name})
	refused(t, err, "ResourceNotFoundException", 404)
}
