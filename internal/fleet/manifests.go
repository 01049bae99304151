package fleet

import (
	"fmt"
	"strings"
)

// Manifests is where a schedule's manifests are: all objects whose keys begin with Prefix, which ends with
// a slash or is empty; or the one object of that key.
type Manifests struct {
	Bucket, Prefix string
}

// ParseManifests reads s3://BUCKET/PREFIX/, s3://BUCKET or s3://BUCKET/KEY.
func ParseManifests(text string) (Manifests, error) {
	at, err := ParseS3URI(text)
	if err != nil {
		return Manifests{}, err
	}
	m := Manifests(at)
	if m.Prefix != "" && strings.HasSuffix(text, "/") {
		m.Prefix += "/"
	}
	return m, nil
}

// One tells that there is one manifest, which may grow.
func (m Manifests) One() bool { return m.Prefix != "" && !strings.HasSuffix(m.Prefix, "/") }

// URI is that of a key in the bucket.
func (m Manifests) URI(key string) string { return "s3://" + m.Bucket + "/" + key }

func (m Manifests) String() string { return m.URI(m.Prefix) }

// CheckManifests refuses a place where a fleet's own files would be taken for manifests.
func (s Spec) CheckManifests(m Manifests) error {
	if m.One() {
		return nil
	}
	for _, own := range []struct {
		field string
		at    S3URI
	}{{"bundles", s.Bundles}, {"output", s.Output}} {
		prefix := own.at.Key("")
		if own.at.Bucket == m.Bucket && (strings.HasPrefix(prefix, m.Prefix) || strings.HasPrefix(m.Prefix, prefix)) {
			return fmt.Errorf("%s and %s (%s of the fleet) lie in each other: each file of a device would be taken for a manifest. Choose another prefix", m, own.at, own.field)
		}
	}
	return nil
}
