package localaws

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

// constraint is a rule of the AWS API models on a string member.
type constraint struct {
	min, max int // in characters
	pattern  string
	matcher  *regexp.Regexp
}

func newConstraint(min, max int, pattern string) constraint {
	return constraint{min, max, pattern, regexp.MustCompile(`^(?:` + pattern + `)$`)}
}

var (
	thingNameRule      = newConstraint(1, 128, `[a-zA-Z0-9:_-]+`)
	policyNameRule     = newConstraint(1, 128, `[\w+=,.@-]+`)
	roleAliasRule      = newConstraint(1, 128, `[\w=,@-]+`)
	certificateIDRule  = newConstraint(64, 64, `(0x)?[a-fA-F0-9]+`)
	policyVersionRule  = newConstraint(1, 20, `[0-9]+`)
	attributeNameRule  = newConstraint(1, 128, `[a-zA-Z0-9_.,@/:#-]+`)
	attributeValueRule = newConstraint(0, 800, `[a-zA-Z0-9_.,@/:#=\[\]-]*`)
	roleARNRule        = newConstraint(20, 2048, `arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)

	entityNameRule        = newConstraint(1, 63, `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`)
	deviceThingRule       = newConstraint(0, 128, `[a-zA-Z0-9:_-]+`)
	fleetDescriptionRule  = newConstraint(1, 800, `[-a-zA-Z0-9_.,;:! ]*`)
	deviceDescriptionRule = newConstraint(1, 40, `[-a-zA-Z0-9_.,;:! ]*`)
	outputLocationRule    = newConstraint(0, 1024, `(https|s3)://([^/]+)/?(.*)`)
	kmsKeyRule            = newConstraint(0, 2048, `[a-zA-Z0-9:/_-]*`)
)

// pathRules hold for the members that stand in the paths of IoT's operations.
var pathRules = map[string]constraint{
	"thingName":       thingNameRule,
	"thingTypeName":   thingNameRule,
	"thingGroupName":  thingNameRule,
	"policyName":      policyNameRule,
	"policyVersionId": policyVersionRule,
	"roleAlias":       roleAliasRule,
	"certificateId":   certificateIDRule,
}

// violation says how a value breaks the rule, in AWS's words, or "" if it does not.
func (c constraint) violation(member, value string) string {
	length := utf8.RuneCountInString(value)
	var constraint string
	switch {
	case length < c.min:
		constraint = fmt.Sprintf("Member must have length greater than or equal to %d", c.min)
	case length > c.max:
		constraint = fmt.Sprintf("Member must have length less than or equal to %d", c.max)
	case !c.matcher.MatchString(value):
		constraint = "Member must satisfy regular expression pattern: " + c.pattern
	default:
		return ""
	}
	return violationOf(value, member, constraint)
}

func violationOf(value, member, constraint string) string {
	return fmt.Sprintf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, member, constraint)
}

// checkIoT is IoT's answer to a value that breaks a rule.
func checkIoT(c constraint, member, value string) error {
	if v := c.violation(member, value); v != "" {
		return invalidRequest("%s", v)
	}
	return nil
}

// checkSageMaker is SageMaker's answer to a value that breaks a rule.
func checkSageMaker(c constraint, member, value string) error {
	if v := c.violation(member, value); v != "" {
		return validation("%s", v)
	}
	return nil
}
