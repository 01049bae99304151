package localaws

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// region is the IoT and SageMaker state of one AWS region.
type region struct {
	server *Server
	name   string

	mu           sync.Mutex // guards what follows; every operation holds it from start to end
	things       catalog[*thing]
	thingTypes   catalog[*thingType]
	typeUse      map[string]int // things per thing type
	groups       catalog[*thingGroup]
	certificates catalog[*certificate] // by id
	policies     catalog[*policy]
	roleAliases  catalog[*roleAlias]
	tags         map[string]*catalog[string] // by ARN

	policyTargets *links // policy name → target ARN
	principals    *links // thing name → principal ARN
	members       *links // group name → thing name

	fleets  catalog[*deviceFleet]
	devices catalog[*device] // of all fleets, by FLEET/DEVICE
}

func newRegion(s *Server, name string) *region {
	return &region{
		server:        s,
		name:          name,
		typeUse:       map[string]int{},
		tags:          map[string]*catalog[string]{},
		policyTargets: newLinks(s.settle),
		principals:    newLinks(s.settle),
		members:       newLinks(s.settle),
	}
}

func (r *region) now() time.Time { return r.server.clock() }

// arn names an IoT resource: arn("thing", "camera-1") is "arn:aws:iot:REGION:ACCOUNT:thing/camera-1".
func (r *region) arn(kind, name string) string {
	return fmt.Sprintf("arn:aws:iot:%s:%s:%s/%s", r.name, r.server.account, kind, name)
}

// named returns the name in an ARN of this region and account, if it is one of that kind.
func (r *region) named(kind, arn string) (string, bool) {
	return strings.CutPrefix(arn, r.arn(kind, ""))
}
