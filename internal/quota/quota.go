// Package quota knows how often each AWS API may be called, and keeps to it: across all tasks of a
// process, and, where each process is told its share, across processes.
package quota

import "maps"

// Assumed is the rate of an IoT or SageMaker edge operation without a published quota, in calls per
// second.
const Assumed = 10

// Published returns AWS IoT's default quotas by SERVICE:Operation, in calls per second per account
// and region (AWS General Reference, "AWS IoT Core endpoints and quotas"). They are adjustable per
// account.
func Published() map[string]float64 { return maps.Clone(published) }

var published = map[string]float64{
	"iot:CreateThing": 100, "iot:DeleteThing": 100, "iot:UpdateThing": 100, "iot:DescribeThing": 350,
	"iot:CreateThingType": 15, "iot:DeprecateThingType": 15, "iot:DeleteThingType": 15, "iot:DescribeThingType": 100,
	"iot:CreateThingGroup": 25, "iot:AddThingToThingGroup": 100,
	"iot:CreateKeysAndCertificate": 10, "iot:CreateCertificateFromCsr": 15,
	"iot:DescribeCertificate": 10, "iot:ListCertificates": 10, "iot:UpdateCertificate": 10, "iot:DeleteCertificate": 10,
	"iot:AttachPolicy": 15, "iot:DetachPolicy": 15, "iot:ListAttachedPolicies": 15,
	"iot:CreatePolicy": 10, "iot:GetPolicy": 10, "iot:DeletePolicy": 10, "iot:CreatePolicyVersion": 10, "iot:ListTargetsForPolicy": 10,
	"iot:AttachThingPrincipal": 100, "iot:DetachThingPrincipal": 100, "iot:ListThingPrincipals": 20, "iot:ListPrincipalThings": 10,
	"iot:DescribeRoleAlias": 10, "iot:UpdateRoleAlias": 10, "iot:ListThings": 10,
	CredentialProvider: 100,
}

// CredentialProvider is the credential provider's API: the one that no SDK calls.
const CredentialProvider = "credentials:AssumeRoleWithCertificate"
