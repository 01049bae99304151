package localaws

import "strings"

// iotOperation is an operation of the IoT API: its HTTP binding in the API model, and what does it.
type iotOperation struct {
	name, method, path string
	do                 func(*region, *request) (any, error)
}

// pathMembers are the names in the path's braces.
func (o iotOperation) pathMembers() []string {
	var members []string
	for segment := range strings.SplitSeq(o.path, "/") {
		if member, ok := strings.CutPrefix(segment, "{"); ok {
			members = append(members, strings.TrimSuffix(member, "}"))
		}
	}
	return members
}

func iotOperations() []iotOperation {
	return []iotOperation{
		{"CreateThing", "POST", "/things/{thingName}", (*region).createThing},
		{"DescribeThing", "GET", "/things/{thingName}", (*region).describeThing},
		{"UpdateThing", "PATCH", "/things/{thingName}", (*region).updateThing},
		{"DeleteThing", "DELETE", "/things/{thingName}", (*region).deleteThing},
		{"ListThings", "GET", "/things", (*region).listThings},

		{"CreateThingType", "POST", "/thing-types/{thingTypeName}", (*region).createThingType},
		{"DescribeThingType", "GET", "/thing-types/{thingTypeName}", (*region).describeThingType},
		{"DeprecateThingType", "POST", "/thing-types/{thingTypeName}/deprecate", (*region).deprecateThingType},
		{"DeleteThingType", "DELETE", "/thing-types/{thingTypeName}", (*region).deleteThingType},
		{"ListThingTypes", "GET", "/thing-types", (*region).listThingTypes},

		{"CreateThingGroup", "POST", "/thing-groups/{thingGroupName}", (*region).createThingGroup},
		{"DescribeThingGroup", "GET", "/thing-groups/{thingGroupName}", (*region).describeThingGroup},
		{"DeleteThingGroup", "DELETE", "/thing-groups/{thingGroupName}", (*region).deleteThingGroup},
		{"ListThingGroups", "GET", "/thing-groups", (*region).listThingGroups},
		{"AddThingToThingGroup", "PUT", "/thing-groups/addThingToThingGroup", (*region).addThingToThingGroup},
		{"RemoveThingFromThingGroup", "PUT", "/thing-groups/removeThingFromThingGroup", (*region).removeThingFromThingGroup},
		{"ListThingsInThingGroup", "GET", "/thing-groups/{thingGroupName}/things", (*region).listThingsInThingGroup},
		{"ListThingGroupsForThing", "GET", "/things/{thingName}/thing-groups", (*region).listThingGroupsForThing},

		{"CreateKeysAndCertificate", "POST", "/keys-and-certificate", (*region).createKeysAndCertificate},
		{"CreateCertificateFromCsr", "POST", "/certificates", (*region).createCertificateFromCSR},
		{"DescribeCertificate", "GET", "/certificates/{certificateId}", (*region).describeCertificate},
		{"ListCertificates", "GET", "/certificates", (*region).listCertificates},
		{"UpdateCertificate", "PUT", "/certificates/{certificateId}", (*region).updateCertificate},
		{"DeleteCertificate", "DELETE", "/certificates/{certificateId}", (*region).deleteCertificate},

		{"CreatePolicy", "POST", "/policies/{policyName}", (*region).createPolicy},
		{"GetPolicy", "GET", "/policies/{policyName}", (*region).getPolicy},
		{"DeletePolicy", "DELETE", "/policies/{policyName}", (*region).deletePolicy},
		{"ListPolicies", "GET", "/policies", (*region).listPolicies},
		{"CreatePolicyVersion", "POST", "/policies/{policyName}/version", (*region).createPolicyVersion},
		{"GetPolicyVersion", "GET", "/policies/{policyName}/version/{policyVersionId}", (*region).getPolicyVersion},
		{"ListPolicyVersions", "GET", "/policies/{policyName}/version", (*region).listPolicyVersions},
		{"DeletePolicyVersion", "DELETE", "/policies/{policyName}/version/{policyVersionId}", (*region).deletePolicyVersion},
		{"SetDefaultPolicyVersion", "PATCH", "/policies/{policyName}/version/{policyVersionId}", (*region).setDefaultPolicyVersion},

		{"AttachPolicy", "PUT", "/target-policies/{policyName}", (*region).attachPolicy},
		{"DetachPolicy", "POST", "/target-policies/{policyName}", (*region).detachPolicy},
		{"ListAttachedPolicies", "POST", "/attached-policies/{target}", (*region).listAttachedPolicies},
		{"ListTargetsForPolicy", "POST", "/policy-targets/{policyName}", (*region).listTargetsForPolicy},
		{"AttachThingPrincipal", "PUT", "/things/{thingName}/principals", (*region).attachThingPrincipal},
		{"DetachThingPrincipal", "DELETE", "/things/{thingName}/principals", (*region).detachThingPrincipal},
		{"ListThingPrincipals", "GET", "/things/{thingName}/principals", (*region).listThingPrincipals},
		{"ListPrincipalThings", "GET", "/principals/things", (*region).listPrincipalThings},

		{"CreateRoleAlias", "POST", "/role-aliases/{roleAlias}", (*region).createRoleAlias},
		{"DescribeRoleAlias", "GET", "/role-aliases/{roleAlias}", (*region).describeRoleAlias},
		{"UpdateRoleAlias", "PUT", "/role-aliases/{roleAlias}", (*region).updateRoleAlias},
		{"DeleteRoleAlias", "DELETE", "/role-aliases/{roleAlias}", (*region).deleteRoleAlias},
		{"ListRoleAliases", "GET", "/role-aliases", (*region).listRoleAliases},

		{"DescribeEndpoint", "GET", "/endpoint", (*region).describeEndpoint},
		{"TagResource", "POST", "/tags", (*region).tagResource},
		{"UntagResource", "POST", "/untag", (*region).untagResource},
		{"ListTagsForResource", "GET", "/tags", (*region).listTagsForResource},
	}
}
