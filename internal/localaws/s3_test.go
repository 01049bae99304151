package localaws

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (l *local) put(bucket, key, body string) *s3.PutObjectOutput {
	l.Helper()
	out, err := l.s3.PutObject(l.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	require.NoError(l, err)
	return out
}

func (l *local) get(bucket, key string, version *string) (string, error) {
	out, err := l.s3.GetObject(l.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, VersionId: version})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	return string(text), err
}

func TestObjects(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	bucket, key := aws.String("edge-bucket"), aws.String("fleet/a b/device.json")
	once := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("one"), IfNoneMatch: aws.String("*"), Metadata: map[string]string{"run": "r1", "kept": "no"}}
	first, err := l.s3.PutObject(ctx, once)
	require.NoError(t, err)
	id, ok := middleware.GetRequestIDMetadata(first.ResultMetadata)
	assert.True(t, ok && id != "", "x-amz-request-id")
	once.Body = strings.NewReader("two")
	_, err = l.s3.PutObject(ctx, once)
	refused(t, err, "PreconditionFailed", 412)
	_, err = l.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("two"), IfMatch: first.ETag, Metadata: map[string]string{"run": "r2"}, ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: aws.String("key-1")})
	require.NoError(t, err)
	_, err = l.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: first.ETag})
	refused(t, err, "PreconditionFailed", 412)
	head, err := l.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	require.NoError(t, err)
	same, err := l.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: head.ETag})
	require.NoError(t, err)
	require.NoError(t, same.Body.Close())
	assert.Equal(t, map[string]string{"run": "r2"}, head.Metadata, "an overwritten object's metadata is gone")
	assert.Equal(t, "key-1", aws.ToString(head.SSEKMSKeyId))

	_, err = l.s3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String("edge-bucket/fleet/a%20b/device.json")})
	require.NoError(t, err)
	text, err := l.get("edge-bucket", "copy", nil)
	require.NoError(t, err)
	assert.Equal(t, "two", text)
	_, err = l.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key}, {Key: aws.String("ghost")}}}})
	require.NoError(t, err)
	_, err = l.get("edge-bucket", *key, nil)
	refused(t, err, "NoSuchKey", 404)
	for range 2 {
		_, err = l.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("copy")})
		require.NoError(t, err)
	}
	_, err = l.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	refused(t, err, "NotImplemented", 501)
}

func TestBucketsOnDemand(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	_, err := l.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("new-bucket")})
	refused(t, err, "NoSuchBucket", 404)
	_, err = l.get("new-bucket", "k", nil)
	refused(t, err, "NoSuchBucket", 404)
	l.put("new-bucket", "k", "v")
	text, err := l.get("new-bucket", "k", nil)
	require.NoError(t, err)
	assert.Equal(t, "v", text)
	_, err = l.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("other-bucket"), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	require.NoError(t, err)
	buckets, err := l.s3.ListBuckets(ctx, nil)
	require.NoError(t, err)
	assert.Len(t, buckets.Buckets, 3)
}

func TestVersions(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	bucket, key := aws.String("edge-bucket"), aws.String("k")
	l.put(*bucket, *key, "before versioning")
	_, err := l.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	require.NoError(t, err)
	first, second := l.put(*bucket, *key, "one"), l.put(*bucket, *key, "two")
	require.NotEqual(t, *first.VersionId, *second.VersionId)
	text, err := l.get(*bucket, *key, first.VersionId)
	require.NoError(t, err)
	assert.Equal(t, "one", text)
	head, err := l.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key, VersionId: first.VersionId})
	require.NoError(t, err)
	assert.Equal(t, *first.ETag, *head.ETag)

	remove := func(version *string) {
		_, err := l.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: version})
		require.NoError(t, err)
	}
	remove(second.VersionId) // the version before becomes the current one
	text, err = l.get(*bucket, *key, nil)
	require.NoError(t, err)
	assert.Equal(t, "one", text)
	remove(nil)
	_, err = l.get(*bucket, *key, nil)
	refused(t, err, "NoSuchKey", 404)
	listed, err := l.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	require.NoError(t, err)
	assert.Empty(t, listed.Contents)

	var versions, markers int
	for p := s3.NewListObjectVersionsPaginator(l.s3, &s3.ListObjectVersionsInput{Bucket: bucket, MaxKeys: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		require.NoError(t, err)
		versions, markers = versions+len(page.Versions), markers+len(page.DeleteMarkers)
		for _, marker := range page.DeleteMarkers {
			remove(marker.VersionId)
		}
	}
	assert.Equal(t, 2, versions)
	assert.Equal(t, 1, markers)
	text, err = l.get(*bucket, *key, nil)
	require.NoError(t, err)
	assert.Equal(t, "one", text, "without the marker the object is back")
}

func TestListing(t *testing.T) {
	l := newLocal(t)
	for fleet := range 3 {
		for device := range 4 {
			l.put("edge-bucket", fmt.Sprintf("f%d/d%d/key.pem", fleet, device), "k")
			l.put("edge-bucket", fmt.Sprintf("f%d/d%d/crt.pem", fleet, device), "c")
		}
	}
	list := func(in *s3.ListObjectsV2Input) (found []string, pages int) {
		in.Bucket = aws.String("edge-bucket")
		for p := s3.NewListObjectsV2Paginator(l.s3, in); p.HasMorePages(); pages++ {
			page, err := p.NextPage(t.Context())
			require.NoError(t, err)
			for _, o := range page.Contents {
				found = append(found, *o.Key)
			}
			for _, c := range page.CommonPrefixes {
				found = append(found, *c.Prefix)
			}
		}
		return found, pages
	}
	found, pages := list(&s3.ListObjectsV2Input{MaxKeys: aws.Int32(5)})
	assert.Len(t, found, 24)
	assert.Equal(t, 5, pages)
	found, pages = list(&s3.ListObjectsV2Input{Prefix: aws.String("f1/d2/"), MaxKeys: aws.Int32(2)})
	assert.Equal(t, []string{"f1/d2/crt.pem", "f1/d2/key.pem"}, found)
	assert.Equal(t, 1, pages, "what follows the prefix is no further page")
	found, pages = list(&s3.ListObjectsV2Input{Prefix: aws.String("f1/"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(1)})
	assert.Equal(t, []string{"f1/d0/", "f1/d1/", "f1/d2/", "f1/d3/"}, found)
	assert.Equal(t, 4, pages)
	found, _ = list(&s3.ListObjectsV2Input{StartAfter: aws.String("f2/d3/crt.pem")})
	assert.Equal(t, []string{"f2/d3/key.pem"}, found)
	assert.Positive(t, l.callsOf("s3:ListObjectsV2").Calls)
}

func TestMultipart(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	bucket, key := aws.String("parts-bucket"), aws.String("big")
	upload, err := l.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	require.NoError(t, err)
	var parts []types.CompletedPart
	for n, body := range [][]byte{bytes.Repeat([]byte("a"), 5<<20), []byte("tail")} {
		number := aws.Int32(int32(n + 1))
		part, err := l.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: upload.UploadId, PartNumber: number, Body: bytes.NewReader(body)})
		require.NoError(t, err)
		parts = append(parts, types.CompletedPart{PartNumber: number, ETag: part.ETag})
	}
	_, err = l.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	require.NoError(t, err)
	text, err := l.get(*bucket, *key, nil)
	require.NoError(t, err)
	assert.Len(t, text, 5<<20+4)
}

func TestChunkedAndVirtualHosted(t *testing.T) {
	l := newLocal(t)
	send := func(body string) *httptest.ResponseRecorder {
		request := httptest.NewRequest("PUT", "http://edge-bucket.localhost:4566/k", strings.NewReader(body))
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("0", 64))
		request.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
		request.Header.Set("X-Amz-Decoded-Content-Length", "11")
		request.Header.Set("Content-Encoding", "aws-chunked")
		recorder := httptest.NewRecorder()
		l.dispatch(recorder, request)
		return recorder
	}
	answer := send("5;chunk-signature=00\r\nhello\r\n6;chunk-signature=00\r\n world\r\n0;chunk-signature=00\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	text, err := l.get("edge-bucket", "k", nil)
	require.NoError(t, err)
	assert.Equal(t, "hello world", text)
	assert.NotEqual(t, http.StatusOK, send("5;chunk-signature=00\r\nhel").Code, "a truncated body")
}
