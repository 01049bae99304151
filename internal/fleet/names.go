package fleet

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

// NameRule is what AWS demands of a name of one kind.
type NameRule struct {
	// Kind is what the name is for, as messages call it.
	Kind string
	// Pattern is AWS's regular expression for the name, as AWS documents it.
	Pattern string
	// Max is the most characters the name may have.
	Max int

	whole *regexp.Regexp
}

// The rules of the AWS API references (SageMaker CreateDeviceFleet and RegisterDevices,
// IoT CreateThing, CreateThingType, CreatePolicy, CreateRoleAlias).
var (
	FleetName          = newNameRule("fleet name", `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, 63)
	DeviceName         = newNameRule("device name", `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, 63)
	OnboardingName     = newNameRule("onboarding name", `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`, 63) // our own rule
	ThingName          = newNameRule("thing name", `[a-zA-Z0-9:_-]+`, 128)
	ThingTypeName      = newNameRule("thing type name", `[a-zA-Z0-9:_-]+`, 128)
	PolicyName         = newNameRule("policy name", `[\w+=,.@-]+`, 128)
	RoleAliasName      = newNameRule("role alias name", `[\w=,@-]+`, 128)
	AttributeName      = newNameRule("attribute name", `[a-zA-Z0-9_.,@/:#-]+`, 128)
	AttributeValue     = newNameRule("attribute value", `[a-zA-Z0-9_.,@/:#=\[\]-]+`, 800)
	RoleARN            = newNameRule("role ARN", `arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+`, 2048)
	bucketNameRule     = newNameRule("bucket name", `[a-z0-9]([a-z0-9-]*(\.[a-z0-9])?)*`, 63)
	kmsKeyIDRule       = newNameRule("KMS key id, alias or ARN", `[a-zA-Z0-9:/_-]+`, 2048)
	objectKeyCharsRule = newNameRule("object key prefix", `[a-zA-Z0-9!_.*'()/=+@:,-]*`, 700)
)

func newNameRule(kind, pattern string, max int) NameRule {
	return NameRule{Kind: kind, Pattern: pattern, Max: max, whole: regexp.MustCompile(`^(?:` + pattern + `)$`)}
}

// Check returns nil when name follows the rule, otherwise an error that says what the rule is.
// The error does not repeat the field's name; a Problem adds it.
func (r NameRule) Check(name string) error {
	n := utf8.RuneCountInString(name)
	switch {
	case n == 0:
		return fmt.Errorf("the %s is missing", r.Kind)
	case n > r.Max:
		return fmt.Errorf("%s is no %s: it has %d characters, at most %d are allowed", quote(name), r.Kind, n, r.Max)
	case !r.whole.MatchString(name):
		return fmt.Errorf("%s is no %s: it must match %s, 1 to %d characters", quote(name), r.Kind, r.Pattern, r.Max)
	}
	return nil
}

// quote shows a value in a message without letting a long one drown it.
func quote(v string) string {
	const most = 80
	if utf8.RuneCountInString(v) > most {
		return fmt.Sprintf("%q…", string([]rune(v)[:most]))
	}
	return fmt.Sprintf("%q", v)
}
