package audit

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"edgefleet/activities"
)

// AWS gives a certificate's creation in whole seconds, by its own clock.
const clockTolerance = 2 * time.Second

// findLost finds the certificates that lost answers left: made while such a call was on its way,
// INACTIVE, in no bundle, attached to nothing.
func (a *Auditor) findLost(ctx context.Context, in *inventory) error {
	if len(in.lostRecords) == 0 {
		return nil
	}
	bundled := map[string]bool{}
	for _, d := range in.devices {
		id, err := a.storedCertificate(ctx, d)
		if err != nil {
			return err
		}
		bundled[d.certificateID], bundled[id] = true, true
	}
	var candidates []lostCertificate
	for id, c := range in.certificates {
		made := aws.ToTime(c.CreationDate)
		covered := slices.ContainsFunc(in.lostRecords, func(r lostRecord) bool { return r.covers(made) })
		if !covered || c.Status != types.CertificateStatusInactive || bundled[id] || in.withPolicy[aws.ToString(c.CertificateArn)] {
			continue
		}
		unused, err := a.isUnused(ctx, aws.ToString(c.CertificateArn))
		if err != nil {
			return err
		}
		ofAWS, err := a.hasKeyOfAWS(ctx, id)
		if err != nil {
			return err
		}
		if unused && ofAWS {
			candidates = append(candidates, lostCertificate{id: id, made: made})
		}
	}
	others, err := a.certificatesOfOtherFleets(ctx, candidates)
	if err != nil {
		return err
	}
	candidates = slices.DeleteFunc(candidates, func(c lostCertificate) bool { return others[c.id] })
	in.lost = attribute(candidates, in.lostRecords)
	return nil
}

// certificatesOfOtherFleets are those that bundles beside this fleet's hold: another fleet's run may
// have made one at the time, and not have come to attaching it. Only bundles that were completed
// since the candidates were made are read.
func (a *Auditor) certificatesOfOtherFleets(ctx context.Context, candidates []lostCertificate) (map[string]bool, error) {
	ids := map[string]bool{}
	if len(candidates) == 0 {
		return ids, nil
	}
	oldest := candidates[0].made
	for _, c := range candidates {
		if c.made.Before(oldest) {
			oldest = c.made
		}
	}
	prefix := a.spec.Bundles.Key("")
	if a.spec.Bundles.Prefix == "" {
		prefix = ""
	}
	own := a.spec.Bundles.Key(a.spec.Name, "")
	pages := s3.NewListObjectsV2Paginator(a.s3, &s3.ListObjectsV2Input{Bucket: &a.spec.Bundles.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, activities.AWSError("listing the bundles in "+a.spec.Bundles.String(), err)
		}
		for _, o := range page.Contents {
			key := aws.ToString(o.Key)
			if strings.HasPrefix(key, own) || path.Base(key) != activities.CertificateFile || aws.ToTime(o.LastModified).Before(oldest.Add(-clockTolerance)) {
				continue
			}
			text, err := a.read(ctx, key)
			if err != nil && !errors.Is(err, errMissing) {
				return nil, err
			}
			ids[activities.CertificateID(text)] = true
		}
	}
	return ids, nil
}

func (r lostRecord) covers(made time.Time) bool {
	return !made.Before(r.Since.Add(-clockTolerance)) && !made.After(r.Until.Add(clockTolerance))
}

// attribute gives each certificate the lost answer that accounts for it. A lost answer accounts for
// one certificate at most: where there are more certificates than answers, one is somebody else's,
// and all that it could be taken for are doubtful.
func attribute(candidates []lostCertificate, records []lostRecord) []lostCertificate {
	records = slices.Clone(records)
	slices.SortFunc(candidates, func(a, b lostCertificate) int { return a.made.Compare(b.made) })
	slices.SortFunc(records, func(a, b lostRecord) int { return a.Until.Compare(b.Until) })
	taken := make([]bool, len(records))
	for i := range candidates {
		c := &candidates[i]
		c.doubtful = true
		for j, r := range records {
			if !r.covers(c.made) {
				continue
			}
			c.lost = r.LostCertificate
			if !taken[j] {
				taken[j], c.doubtful = true, false
				break
			}
		}
	}
	for spread := true; spread; {
		spread = false
		for _, r := range records {
			covered := func(c lostCertificate) bool { return r.covers(c.made) }
			if !slices.ContainsFunc(candidates, func(c lostCertificate) bool { return c.doubtful && covered(c) }) {
				continue
			}
			for i := range candidates {
				if covered(candidates[i]) && !candidates[i].doubtful {
					candidates[i].doubtful, spread = true, true
				}
			}
		}
	}
	return candidates
}

// isUnused tells whether no policy and no thing is attached to a certificate.
func (a *Auditor) isUnused(ctx context.Context, arn string) (bool, error) {
	policies, err := a.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: &arn, PageSize: aws.Int32(1)})
	if err != nil {
		return false, goneIsUsed(activities.AWSError("listing the policies of "+arn, err), err)
	}
	things, err := a.iot.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: &arn, MaxResults: aws.Int32(1)})
	if err != nil {
		return false, goneIsUsed(activities.AWSError("listing the things of "+arn, err), err)
	}
	return len(policies.Policies) == 0 && len(things.Things) == 0, nil
}

// goneIsUsed is nil for a certificate that went while the audit ran: there is nothing to sweep.
func goneIsUsed(translated, err error) error {
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return nil
	}
	return translated
}

// hasKeyOfAWS tells whether a certificate is one of CreateKeysAndCertificate, by the subject that
// these have: one of a request is never a lost one.
func (a *Auditor) hasKeyOfAWS(ctx context.Context, id string) (bool, error) {
	out, err := a.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
		return false, nil
	}
	if err != nil || out.CertificateDescription == nil {
		return false, activities.AWSError("describing certificate "+id, err)
	}
	block, _ := pem.Decode([]byte(aws.ToString(out.CertificateDescription.CertificatePem)))
	if block == nil {
		return false, nil
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	return err == nil && parsed.Subject.CommonName == "AWS IoT Certificate", nil
}

// Swept is a certificate that a sweep found, and whether it removed it.
type Swept struct {
	CertificateID string    `json:"certificateId"`
	MadeAt        time.Time `json:"madeAt"`
	Device        string    `json:"device"` // whose run's answer was lost
	Run           string    `json:"run"`
	Removed       bool      `json:"removed"`
	// Doubtful: there are more such certificates than lost answers, so one is somebody else's. It is
	// for a person to tell which.
	Doubtful bool `json:"doubtful,omitempty"`
}

// Sweep finds the certificates that lost answers left and, if told to, removes them. wait is told
// when one is so young that a run may still be about to store its key; Sweep waits that long.
func (a *Auditor) Sweep(ctx context.Context, remove bool, wait func(time.Duration)) ([]Swept, error) {
	in, err := a.takeInventory(ctx)
	if err != nil {
		return nil, err
	}
	if youngest := in.youngest(a.now()); remove && youngest > 0 {
		wait(youngest)
		if err := a.pause(ctx, youngest); err != nil {
			return nil, err
		}
		if in, err = a.takeInventory(ctx); err != nil {
			return nil, err
		}
	}
	var swept []Swept
	var failures []error
	for _, c := range in.lost {
		s := Swept{CertificateID: c.id, MadeAt: c.made, Device: c.lost.Device, Run: c.lost.Run, Doubtful: c.doubtful}
		if remove && !c.doubtful && a.now().Sub(c.made) > activities.IssueTime {
			// AWS itself refuses to delete one that has become ACTIVE or attached meanwhile.
			_, err := a.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &c.id})
			var missing *types.ResourceNotFoundException
			if err != nil && !errors.As(err, &missing) {
				failures = append(failures, activities.AWSError("deleting certificate "+c.id, err))
			}
			s.Removed = err == nil
		}
		swept = append(swept, s)
	}
	if remove && len(failures) == 0 {
		failures = append(failures, a.forget(ctx, in))
	}
	return swept, errors.Join(failures...)
}

// youngest is how long until no certificate that was found can be one whose key a run is storing.
func (in *inventory) youngest(now time.Time) time.Duration {
	var longest time.Duration
	for _, c := range in.lost {
		longest = max(longest, activities.IssueTime-now.Sub(c.made)+clockTolerance)
	}
	return longest
}

// forget removes the records of lost answers that are settled: no certificate can come of them.
func (a *Auditor) forget(ctx context.Context, in *inventory) error {
	for _, r := range in.lostRecords {
		doubtful := slices.ContainsFunc(in.lost, func(c lostCertificate) bool { return c.doubtful && r.covers(c.made) })
		if doubtful || a.now().Sub(r.Until) < activities.IssueTime {
			continue
		}
		_, err := a.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.spec.Bundles.Bucket, Key: &r.key})
		if err != nil {
			return activities.AWSError("removing s3://"+a.spec.Bundles.Bucket+"/"+r.key, err)
		}
	}
	return nil
}
