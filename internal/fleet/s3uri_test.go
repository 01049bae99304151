package fleet

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseS3URI(t *testing.T) {
	for in, want := range map[string]S3URI{
		"s3://edge-bucket":                       {"edge-bucket", ""},
		"s3://edge-bucket/":                      {"edge-bucket", ""},
		"s3://edge-bucket/a":                     {"edge-bucket", "a"},
		"s3://edge-bucket/a/":                    {"edge-bucket", "a"},
		"s3://edge-bucket/a/b.c/D_e=f":           {"edge-bucket", "a/b.c/D_e=f"},
		"s3://abc/x":                             {"abc", "x"},
		"s3://" + strings.Repeat("b", 63) + "/x": {strings.Repeat("b", 63), "x"},
		"s3://a.b.c/x":                           {"a.b.c", "x"},
	} {
		got, err := ParseS3URI(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
		again, err := ParseS3URI(got.String())
		require.NoError(t, err, in)
		require.Equal(t, want, again, "what String writes reads the same")
	}
	for in, why := range map[string]string{
		"":                                "is no S3 URI",
		"edge-bucket/a":                   "is no S3 URI",
		"S3://edge-bucket/a":              "is no S3 URI",
		"https://edge-bucket/a":           "is no S3 URI",
		"s3:/edge-bucket":                 "is no S3 URI",
		" s3://edge-bucket":               "is no S3 URI",
		"s3://":                           "has no bucket",
		"s3:///a":                         "has no bucket",
		"s3://ab":                         "bucket name",
		"s3://Edge":                       "bucket name",
		"s3://edge_bucket":                "bucket name",
		"s3://-edge":                      "bucket name",
		"s3://edge-":                      "bucket name",
		"s3://" + strings.Repeat("b", 64): "at most 63",
		"s3://edge-bucket/a b":            "object key prefix",
		"s3://edge-bucket/a?b":            "object key prefix",
		"s3://edge-bucket/é":              "object key prefix",
		"s3://edge-bucket/" + strings.Repeat("k", 701): "at most 700",
		"s3://edge-bucket//":                           "empty part",
		"s3://edge-bucket//a":                          "empty part",
		"s3://edge-bucket/a//":                         "empty part",
		"s3://edge-bucket/a//b":                        "empty part",
		"s3://edge-bucket/./a":                         "empty part",
		"s3://edge-bucket/a/..":                        "empty part",
		"s3://edge-bucket/../a":                        "empty part",
	} {
		got, err := ParseS3URI(in)
		require.ErrorContains(t, err, why, in)
		require.Zero(t, got, in)
	}
}

func TestS3URIKey(t *testing.T) {
	require.Equal(t, "p/q/cameras/cam-01", S3URI{"b", "p/q"}.Key("cameras", "cam-01"))
	require.Equal(t, "cameras/cam-01", S3URI{"b", ""}.Key("cameras", "cam-01"))
	require.Equal(t, "p", S3URI{"b", "p"}.Key())
}

func TestS3URIInJSON(t *testing.T) {
	for _, u := range []S3URI{{}, {"edge-bucket", ""}, {"edge-bucket", "a/b"}} {
		text, err := json.Marshal(u)
		require.NoError(t, err)
		require.JSONEq(t, `"`+u.String()+`"`, string(text))
		var got S3URI
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, u, got)
	}
	kept := S3URI{"edge-bucket", "a"}
	require.NoError(t, json.Unmarshal([]byte(`""`), &kept))
	require.Zero(t, kept, "an empty text empties the URI")
	require.ErrorContains(t, json.Unmarshal([]byte(`"s3://"`), &kept), "has no bucket")
}
