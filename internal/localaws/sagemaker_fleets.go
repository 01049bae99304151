package localaws

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// edgeAliasPrefix begins the name of the role alias that SageMaker makes for a device fleet.
const edgeAliasPrefix = "SageMakerEdge-"

type deviceFleet struct {
	roleARN     string
	description string
	output      outputConfig
	roleAlias   bool // it has the role alias edgeAliasPrefix + name
	created     time.Time
	modified    time.Time
	devices     catalog[*device]
}

type outputConfig struct {
	S3OutputLocation       string
	KmsKeyID               string `json:"KmsKeyId,omitempty"`
	PresetDeploymentType   string `json:",omitempty"`
	PresetDeploymentConfig string `json:",omitempty"`
}

type fleetInput struct {
	DeviceFleetName    string
	RoleARN            *string `json:"RoleArn"`
	Description        *string
	OutputConfig       *outputConfig
	EnableIotRoleAlias *bool
	Tags               []tag
}

type fleetName struct{ DeviceFleetName string }

func (in *fleetInput) check() error {
	if err := checkSageMaker(entityNameRule, "deviceFleetName", in.DeviceFleetName); err != nil {
		return err
	}
	if in.OutputConfig == nil {
		return validation("1 validation error detected: Value null at 'outputConfig' failed to satisfy constraint: Member must not be null")
	}
	if err := checkSageMaker(outputLocationRule, "outputConfig.s3OutputLocation", in.OutputConfig.S3OutputLocation); err != nil {
		return err
	}
	if err := checkSageMaker(kmsKeyRule, "outputConfig.kmsKeyId", in.OutputConfig.KmsKeyID); err != nil {
		return err
	}
	if in.RoleARN != nil {
		if err := checkSageMaker(roleARNRule, "roleArn", *in.RoleARN); err != nil {
			return err
		}
	}
	if in.Description != nil {
		return checkSageMaker(fleetDescriptionRule, "description", *in.Description)
	}
	return nil
}

func (r *region) fleetARN(name string) string {
	return fmt.Sprintf("arn:aws:sagemaker:%s:%s:device-fleet/%s", r.name, r.server.account, name)
}

// fleetFor returns the fleet of a write, whose API models no error but ValidationException for a missing one.
func (r *region) fleetFor(name string) (*deviceFleet, error) {
	if err := checkSageMaker(entityNameRule, "deviceFleetName", name); err != nil {
		return nil, err
	}
	f, ok := r.fleets.get(name)
	if !ok {
		return nil, validation("DeviceFleet with name %s does not exist in account %s", name, r.server.account)
	}
	return f, nil
}

// createDeviceFleet refuses a name that is there. With EnableIotRoleAlias, or with a role and the flag left out, it
// makes the fleet's IoT role alias; one that is there with the same role, left by a fleet of that name, is taken over.
func (r *region) createDeviceFleet(in *fleetInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	name := in.DeviceFleetName
	if r.fleets.has(name) {
		return nil, failure("ResourceInUse", http.StatusBadRequest, "DeviceFleet with name %s already exists (%s)", name, r.fleetARN(name))
	}
	if limit := r.server.quotas.limit(deviceFleetsQuota); limit > 0 && r.fleets.size() >= limit {
		return nil, limitExceeded("device fleets", limit)
	}
	f := &deviceFleet{output: *in.OutputConfig, created: r.now(), modified: r.now()}
	if err := r.configure(f, in); err != nil {
		return nil, err
	}
	r.fleets.put(name, f)
	r.setTags(r.fleetARN(name), in.Tags)
	return struct{}{}, nil
}

func limitExceeded(what string, limit int) *apiError {
	return failure("ResourceLimitExceeded", http.StatusBadRequest, "The account-level service limit for %s is %d. Please contact AWS support to request an increase for this limit.", what, limit)
}

// configure sets what an input gives, and makes the role alias if it asks for one.
func (r *region) configure(f *deviceFleet, in *fleetInput) error {
	roleARN := f.roleARN
	if in.RoleARN != nil {
		roleARN = *in.RoleARN
	}
	wantsAlias := in.RoleARN != nil && !f.roleAlias
	if in.EnableIotRoleAlias != nil {
		wantsAlias = *in.EnableIotRoleAlias
	}
	if wantsAlias {
		if roleARN == "" {
			return validation("EnableIotRoleAlias needs a RoleArn")
		}
		alias := edgeAliasPrefix + in.DeviceFleetName
		existing, ok := r.roleAliases.get(alias)
		switch {
		case !ok:
			r.addRoleAlias(alias, roleARN, defaultDuration)
		case existing.roleARN != roleARN:
			return validation("IoT role alias %s already exists with role %s", alias, existing.roleARN)
		}
		f.roleAlias = true
	}
	f.roleARN, f.output, f.modified = roleARN, *in.OutputConfig, r.now()
	if in.Description != nil {
		f.description = *in.Description
	}
	return nil
}

func (r *region) describeDeviceFleet(in *fleetName) (any, error) {
	name := in.DeviceFleetName
	if err := checkSageMaker(entityNameRule, "deviceFleetName", name); err != nil {
		return nil, err
	}
	f, ok := r.fleets.get(name)
	if !ok {
		return nil, failure("ResourceNotFound", http.StatusBadRequest, "DeviceFleet with name %s does not exist in account %s", name, r.server.account)
	}
	alias := ""
	if f.roleAlias {
		alias = r.arn(roleAliasKind, edgeAliasPrefix+name)
	}
	return struct {
		DeviceFleetName  string
		DeviceFleetARN   string `json:"DeviceFleetArn"`
		OutputConfig     outputConfig
		Description      string `json:",omitempty"`
		CreationTime     epoch
		LastModifiedTime epoch
		RoleARN          string `json:"RoleArn,omitempty"`
		IotRoleAlias     string `json:",omitempty"`
	}{name, r.fleetARN(name), f.output, f.description, epoch(f.created), epoch(f.modified), f.roleARN, alias}, nil
}

func (r *region) updateDeviceFleet(in *fleetInput) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	f, err := r.fleetFor(in.DeviceFleetName)
	if err != nil {
		return nil, err
	}
	return struct{}{}, r.configure(f, in)
}

// deleteDeviceFleet refuses while the fleet has devices. The role alias stays.
func (r *region) deleteDeviceFleet(in *fleetName) (any, error) {
	f, err := r.fleetFor(in.DeviceFleetName)
	if err != nil {
		return nil, err
	}
	if n := f.devices.size(); n > 0 {
		return nil, failure("ResourceInUse", http.StatusBadRequest, "DeviceFleet with name %s cannot be deleted: %d devices are registered in it", in.DeviceFleetName, n)
	}
	r.fleets.remove(in.DeviceFleetName)
	delete(r.tags, r.fleetARN(in.DeviceFleetName))
	return struct{}{}, nil
}

func (r *region) listDeviceFleets(in *struct {
	listInput
	NameContains string
	SortOrder    string
}) (any, error) {
	p, err := in.paging()
	if err != nil {
		return nil, err
	}
	p.newestFirst = in.SortOrder == "Descending"
	type summary struct {
		DeviceFleetARN   string `json:"DeviceFleetArn"`
		DeviceFleetName  string
		CreationTime     epoch
		LastModifiedTime epoch
	}
	fleets := []summary{}
	next := r.fleets.page(p, func(name string, f *deviceFleet) bool {
		fits := strings.Contains(name, in.NameContains)
		if fits {
			fleets = append(fleets, summary{r.fleetARN(name), name, epoch(f.created), epoch(f.modified)})
		}
		return fits
	})
	return struct {
		DeviceFleetSummaries []summary
		NextToken            string `json:",omitempty"`
	}{fleets, token(next)}, nil
}
