package localaws

import (
	"bytes"
	"crypto/md5" //nolint:gosec // an S3 ETag is an MD5
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/ryszard/goskiplist/skiplist"
)

// objects are S3's buckets in memory, behind gofakes3. The backend that comes with gofakes3 keeps the metadata of
// overwritten objects, panics once the newest of several versions is deleted, and walks the whole bucket to list a
// prefix; hence this one.
type objects struct {
	mu      sync.RWMutex
	buckets map[string]*bucket
}

type bucket struct {
	created    time.Time
	versioning gofakes3.VersioningStatus
	keys       *skiplist.SkipList // key → *object
}

// object is all versions of a key, oldest first, at least one.
type object struct{ versions []*objectVersion }

type objectVersion struct {
	id       gofakes3.VersionID // "" for the null version, the one without versioning
	body     []byte
	hash     []byte
	metadata map[string]string
	modified time.Time
	marker   bool // a delete marker
}

func (o *object) current() *objectVersion { return o.versions[len(o.versions)-1] }

// add makes a version the current one; there is only ever one null version.
func (o *object) add(v *objectVersion) {
	if v.id == "" {
		o.remove("")
	}
	o.versions = append(o.versions, v)
}

func (o *object) remove(id gofakes3.VersionID) *objectVersion {
	i := slices.IndexFunc(o.versions, func(v *objectVersion) bool { return v.id == id })
	if i < 0 {
		return nil
	}
	removed := o.versions[i]
	o.versions = slices.Delete(o.versions, i, i+1)
	return removed
}

func (b *bucket) object(key string) *object {
	found, ok := b.keys.Get(key)
	if !ok {
		return nil
	}
	return found.(*object)
}

func (b *bucket) newVersionID() gofakes3.VersionID {
	if b.versioning == gofakes3.VersioningEnabled {
		return gofakes3.VersionID(rand.Text())
	}
	return ""
}

func (b *bucket) add(key string, v *objectVersion) {
	o := b.object(key)
	if o == nil {
		o = &object{}
		b.keys.Set(key, o)
	}
	o.add(v)
}

// delete hides the object behind a marker, or without versioning removes it.
func (b *bucket) delete(key string) gofakes3.ObjectDeleteResult {
	if b.versioning == gofakes3.VersioningNone {
		b.keys.Delete(key)
		return gofakes3.ObjectDeleteResult{}
	}
	marker := &objectVersion{id: b.newVersionID(), modified: time.Now(), marker: true}
	b.add(key, marker)
	return gofakes3.ObjectDeleteResult{IsDeleteMarker: true, VersionID: marker.id}
}

func (b *bucket) deleteVersion(key string, id gofakes3.VersionID) (result gofakes3.ObjectDeleteResult) {
	o := b.object(key)
	if o == nil {
		return result
	}
	if removed := o.remove(id); removed != nil {
		result = gofakes3.ObjectDeleteResult{IsDeleteMarker: removed.marker, VersionID: id}
	}
	if len(o.versions) == 0 {
		b.keys.Delete(key)
	}
	return result
}

func newObjects() *objects { return &objects{buckets: map[string]*bucket{}} }

func (s *objects) bucket(name string) (*bucket, error) {
	b, ok := s.buckets[name]
	if !ok {
		return nil, gofakes3.BucketNotFound(name)
	}
	return b, nil
}

// ListBuckets lists the buckets by name.
func (s *objects) ListBuckets() ([]gofakes3.BucketInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := make([]gofakes3.BucketInfo, 0, len(s.buckets))
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		infos = append(infos, gofakes3.BucketInfo{Name: name, CreationDate: gofakes3.NewContentTime(s.buckets[name].created)})
	}
	return infos, nil
}

// CreateBucket makes a bucket; one that is there is an error.
func (s *objects) CreateBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buckets[name]; ok {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	s.buckets[name] = &bucket{created: time.Now(), keys: skiplist.NewStringMap()}
	return nil
}

// BucketExists reports whether a bucket is there.
func (s *objects) BucketExists(name string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.buckets[name]
	return ok, nil
}

// DeleteBucket removes an empty bucket.
func (s *objects) DeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	if b.keys.Len() > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	delete(s.buckets, name)
	return nil
}

// ForceDeleteBucket removes a bucket with all that is in it.
func (s *objects) ForceDeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets, name)
	return nil
}

// version finds the current version, or the one with an id; the caller holds the lock.
func (s *objects) version(bucketName, key string, id gofakes3.VersionID) (*objectVersion, error) {
	b, err := s.bucket(bucketName)
	if err != nil {
		return nil, err
	}
	o := b.object(key)
	switch {
	case o == nil:
		return nil, gofakes3.KeyNotFound(key)
	case id == "" && o.current().marker:
		return nil, gofakes3.KeyNotFound(key)
	case id == "":
		return o.current(), nil
	}
	for _, v := range o.versions {
		if v.id == id {
			return v, nil
		}
	}
	return nil, gofakes3.ErrNoSuchVersion
}

func (s *objects) read(bucketName, key string, id gofakes3.VersionID, wanted *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, err := s.version(bucketName, key, id)
	if err != nil {
		return nil, err
	}
	size := int64(len(v.body))
	span, err := wanted.Range(size)
	if err != nil {
		return nil, err
	}
	body := v.body // never changed in place
	if span != nil {
		body = body[span.Start : span.Start+span.Length]
	}
	return &gofakes3.Object{
		Name: key, Hash: v.hash, Metadata: v.metadata, Size: size, Range: span,
		IsDeleteMarker: v.marker, VersionID: v.id, Contents: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// GetObject reads the current version.
func (s *objects) GetObject(bucketName, key string, wanted *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return s.read(bucketName, key, "", wanted)
}

// HeadObject reads the current version for its metadata.
func (s *objects) HeadObject(bucketName, key string) (*gofakes3.Object, error) {
	return s.read(bucketName, key, "", nil)
}

// GetObjectVersion reads the version with an id.
func (s *objects) GetObjectVersion(bucketName, key string, id gofakes3.VersionID, wanted *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return s.read(bucketName, key, id, wanted)
}

// HeadObjectVersion reads the version with an id for its metadata.
func (s *objects) HeadObjectVersion(bucketName, key string, id gofakes3.VersionID) (*gofakes3.Object, error) {
	return s.read(bucketName, key, id, nil)
}

// PutObject stores an object if the conditions hold, checked and stored in one step.
func (s *objects) PutObject(bucketName, key string, meta map[string]string, input io.Reader, size int64, conditions *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	body, err := gofakes3.ReadAll(input, size)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	hash := md5.Sum(body) //nolint:gosec // an S3 ETag is an MD5
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	if conditions != nil {
		info := &gofakes3.ConditionalObjectInfo{}
		if o := b.object(key); o != nil && !o.current().marker {
			info.Exists, info.Hash = true, o.current().hash
		}
		if err := gofakes3.CheckPutConditions(conditions, info); err != nil {
			return gofakes3.PutObjectResult{}, err
		}
	}
	v := &objectVersion{id: b.newVersionID(), body: body, hash: hash[:], metadata: storedMetadata(meta), modified: time.Now()}
	b.add(key, v)
	return gofakes3.PutObjectResult{VersionID: v.id}, nil
}

// storedMetadata drops the headers that concern the request and not the object.
func storedMetadata(meta map[string]string) map[string]string {
	stored := map[string]string{encryptionHeader: defaultEncryption}
	for name, value := range meta {
		if of, ok := strings.CutPrefix(name, "X-Amz-"); !ok || strings.HasPrefix(of, "Meta-") ||
			strings.HasPrefix(of, "Server-Side-Encryption") || strings.HasPrefix(of, "Storage-Class") || strings.HasPrefix(of, "Checksum-") {
			stored[name] = value
		}
	}
	return stored
}

// CopyObject stores a copy of the current version.
func (s *objects) CopyObject(fromBucket, fromKey, toBucket, toKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(s, fromBucket, fromKey, toBucket, toKey, meta)
}

// DeleteObject succeeds also when the object is not there.
func (s *objects) DeleteObject(bucketName, key string) (gofakes3.ObjectDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	return b.delete(key), nil
}

// DeleteObjectVersion removes a version for good.
func (s *objects) DeleteObjectVersion(bucketName, key string, id gofakes3.VersionID) (gofakes3.ObjectDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	return b.deleteVersion(key, id), nil
}

// DeleteMulti deletes several objects.
func (s *objects) DeleteMulti(bucketName string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	ids := make([]gofakes3.ObjectID, len(keys))
	for i, key := range keys {
		ids[i].Key = key
	}
	return s.DeleteMultiVersions(bucketName, ids...)
}

// DeleteMultiVersions deletes several objects or versions.
func (s *objects) DeleteMultiVersions(bucketName string, ids ...gofakes3.ObjectID) (gofakes3.MultiDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.MultiDeleteResult{}, err
	}
	for _, id := range ids {
		switch id.VersionID {
		case "":
			b.delete(id.Key)
		case "null":
			b.deleteVersion(id.Key, "")
		default:
			b.deleteVersion(id.Key, gofakes3.VersionID(id.VersionID))
		}
	}
	return gofakes3.MultiDeleteResult{Deleted: ids}, nil
}

// VersioningConfiguration tells whether versioning is on.
func (s *objects) VersioningConfiguration(bucketName string) (gofakes3.VersioningConfiguration, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.VersioningConfiguration{}, err
	}
	return gofakes3.VersioningConfiguration{Status: b.versioning}, nil
}

// SetVersioningConfiguration turns versioning on, or suspends it.
func (s *objects) SetVersioningConfiguration(bucketName string, v gofakes3.VersioningConfiguration) error {
	if v.MFADelete.Enabled() {
		return fmt.Errorf("MFA delete: %w", gofakes3.ErrNotImplemented)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return err
	}
	b.versioning = v.Status
	return nil
}
