package localaws

import (
	"strings"

	"github.com/johannesboyne/gofakes3"
)

// beyond is greater than every key that begins with the prefix: keys are UTF-8, which has no such byte.
func beyond(prefix string) string { return prefix + "\xff" }

// walk visits the keys from start that have the prefix, in order, until visit returns a key to stop at ("") or to
// go on from.
func (b *bucket) walk(prefix, start string, visit func(key string, o *object) (goOnFrom string)) {
	at := b.keys.Seek(max(prefix, start))
	for at != nil {
		key := at.Key().(string)
		if !strings.HasPrefix(key, prefix) {
			return
		}
		next := visit(key, at.Value().(*object))
		switch {
		case next == "":
			return
		case next == key:
			if !at.Next() {
				return
			}
		default:
			at = b.keys.Seek(next)
		}
	}
}

// after is where a page goes on: behind the marker, and behind all that it stands for if it is a common prefix.
func after(marker, delimiter string) string {
	switch {
	case marker == "":
		return ""
	case delimiter != "" && strings.HasSuffix(marker, delimiter):
		return beyond(marker)
	}
	return marker + "\x00"
}

// commonPrefix is the part of a key up to the first delimiter behind the prefix, "" if there is none.
func commonPrefix(key string, p *gofakes3.Prefix) string {
	if p.Delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(p.Prefix):], p.Delimiter); i >= 0 {
		return key[:len(p.Prefix)+i+len(p.Delimiter)]
	}
	return ""
}

// ListBucket lists a page of the objects that are there; what it costs depends on the page, not on the bucket.
func (s *objects) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	list := gofakes3.NewObjectList()
	var taken int64
	last := ""
	b.walk(prefix.Prefix, after(page.Marker, prefix.Delimiter), func(key string, o *object) string {
		v := o.current()
		if v.marker {
			return key
		}
		if page.MaxKeys > 0 && taken == page.MaxKeys {
			list.IsTruncated, list.NextMarker = true, last
			return ""
		}
		taken++
		if common := commonPrefix(key, prefix); common != "" {
			list.AddPrefix(common)
			last = common
			return beyond(common)
		}
		list.Add(&gofakes3.Content{Key: key, LastModified: gofakes3.NewContentTime(v.modified), ETag: gofakes3.FormatETag(v.hash), Size: int64(len(v.body)), StorageClass: gofakes3.StorageStandard})
		last = key
		return key
	})
	return list, nil
}

// ListBucketVersions lists a page of all versions and delete markers, by key and then newest first.
func (s *objects) ListBucketVersions(name string, prefix *gofakes3.Prefix, page *gofakes3.ListBucketVersionsPage) (*gofakes3.ListBucketVersionsResult, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	if page == nil {
		page = &gofakes3.ListBucketVersionsPage{}
	}
	result := gofakes3.NewListBucketVersionsResult(name, prefix, page)
	b, err := s.bucket(name)
	if err != nil {
		return result, err
	}
	start, passed := after(page.KeyMarker, prefix.Delimiter), true
	if page.VersionIDMarker != "" {
		start, passed = page.KeyMarker, false
	}
	var taken int64
	b.walk(prefix.Prefix, start, func(key string, o *object) string {
		if common := commonPrefix(key, prefix); common != "" {
			result.AddPrefix(common)
			return beyond(common)
		}
		for i := len(o.versions) - 1; i >= 0; i-- {
			v := o.versions[i]
			if !passed && key == page.KeyMarker {
				passed = v.id == page.VersionIDMarker || v.id == "" && page.VersionIDMarker == "null"
				continue
			}
			if page.MaxKeys > 0 && taken == page.MaxKeys {
				result.IsTruncated = true
				return ""
			}
			taken++
			result.Versions = append(result.Versions, versionItem(key, v, v == o.current()))
			result.NextKeyMarker, result.NextVersionIDMarker = key, v.id
			if v.id == "" {
				result.NextVersionIDMarker = "null"
			}
		}
		return key
	})
	if !result.IsTruncated {
		result.NextKeyMarker, result.NextVersionIDMarker = "", ""
	}
	return result, nil
}

func versionItem(key string, v *objectVersion, latest bool) gofakes3.VersionItem {
	modified := gofakes3.NewContentTime(v.modified)
	if v.marker {
		return &gofakes3.DeleteMarker{Key: key, VersionID: v.id, IsLatest: latest, LastModified: modified}
	}
	return &gofakes3.Version{Key: key, VersionID: v.id, IsLatest: latest, LastModified: modified, Size: int64(len(v.body)), ETag: gofakes3.FormatETag(v.hash), StorageClass: gofakes3.StorageStandard}
}
