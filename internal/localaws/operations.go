package localaws

import (
	"slices"
	"strings"
)

// everyOperation stands for all operations in quotas and faults.
const everyOperation = "*"

// allOperations are the names of what the local AWS can do, as SERVICE:Operation, sorted.
func allOperations() []string {
	names := []string{assumeRoleOperation, callerIdentityOperation}
	for _, operation := range iotOperations() {
		names = append(names, "iot:"+operation.name)
	}
	for name := range sageMakerOperations() {
		names = append(names, "sagemaker:"+name)
	}
	for _, name := range s3Operations() {
		names = append(names, "s3:"+name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// covers reports whether a pattern ("iot:CreateThing", "iot:*" or "*") stands for an operation.
func covers(pattern, operation string) bool {
	if service, ok := strings.CutSuffix(pattern, everyOperation); ok {
		return strings.HasPrefix(operation, service)
	}
	return pattern == operation
}
