package fleet

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
)

// S3URI is a place in S3: s3://BUCKET/PREFIX. The prefix has no slash at either end.
type S3URI struct {
	Bucket, Prefix string
}

// ParseS3URI reads s3://BUCKET or s3://BUCKET/PREFIX.
func ParseS3URI(s string) (S3URI, error) {
	rest, ok := strings.CutPrefix(s, "s3://")
	if !ok {
		return S3URI{}, fmt.Errorf("%s is no S3 URI: it must read s3://BUCKET/PREFIX", quote(s))
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if bucket == "" {
		return S3URI{}, fmt.Errorf("%s has no bucket: it must read s3://BUCKET/PREFIX", quote(s))
	}
	if err := checkBucket(bucket); err != nil {
		return S3URI{}, err
	}
	if prefix != "/" { // "s3://BUCKET//" is not taken for the bucket itself
		prefix = strings.TrimSuffix(prefix, "/")
	}
	if err := checkPrefix(prefix); err != nil {
		return S3URI{}, err
	}
	return S3URI{Bucket: bucket, Prefix: prefix}, nil
}

func checkBucket(bucket string) error {
	if err := bucketNameRule.Check(bucket); err != nil {
		return err
	}
	if len(bucket) < 3 || strings.HasSuffix(bucket, "-") || strings.HasSuffix(bucket, ".") || net.ParseIP(bucket) != nil {
		return fmt.Errorf("%s is no bucket name: it has 3 to 63 characters, ends with a letter or digit, and is no IP address", quote(bucket))
	}
	return nil
}

func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if err := objectKeyCharsRule.Check(prefix); err != nil {
		return err
	}
	// "a//b", "/a" and "a/../b" are legal keys, but tools that take S3 for a file system lose them.
	if path.Clean("/"+prefix) != "/"+prefix {
		return errors.New("a prefix may not hold an empty part, “.” or “..”")
	}
	return nil
}

// Key is the object key of the parts below the prefix.
func (u S3URI) Key(parts ...string) string {
	if u.Prefix != "" {
		parts = append([]string{u.Prefix}, parts...)
	}
	return strings.Join(parts, "/")
}

func (u S3URI) String() string {
	if u == (S3URI{}) {
		return ""
	}
	if u.Prefix == "" {
		return "s3://" + u.Bucket
	}
	return "s3://" + u.Bucket + "/" + u.Prefix
}

// MarshalText makes the URI read as one in JSON.
func (u S3URI) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (u *S3URI) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*u = S3URI{}
		return nil
	}
	*u, err = ParseS3URI(string(text))
	return err
}
