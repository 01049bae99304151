package localaws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func csrPEM(t *testing.T, key any, name string) *string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	require.NoError(t, err)
	return aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
}

func TestCertificates(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	made, err := l.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})
	require.NoError(t, err)
	block, _ := pem.Decode([]byte(*made.CertificatePem))
	assert.Equal(t, fingerprint(block.Bytes), *made.CertificateId)
	keyBlock, _ := pem.Decode([]byte(*made.KeyPair.PrivateKey))
	key, err := x509.ParsePKCS1PrivateKey(keyBlock.Bytes)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	assert.True(t, key.PublicKey.Equal(parsed.PublicKey))
	require.NoError(t, parsed.CheckSignatureFrom(l.devices.certificate))
	described, err := l.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: made.CertificateId})
	require.NoError(t, err)
	assert.Equal(t, types.CertificateStatusInactive, described.CertificateDescription.Status)
	assert.WithinDuration(t, l.clock.Now(), *described.CertificateDescription.CreationDate, time.Second)

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	csr := csrPEM(t, ec, "camera-1")
	first, err := l.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: csr, SetAsActive: true})
	require.NoError(t, err)
	again, err := l.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: csr})
	require.NoError(t, err)
	assert.NotEqual(t, *first.CertificateId, *again.CertificateId)
	block, _ = pem.Decode([]byte(*again.CertificatePem))
	parsed, err = x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	assert.Equal(t, "camera-1", parsed.Subject.CommonName)
	assert.True(t, ec.PublicKey.Equal(parsed.PublicKey))

	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	der := pemBytes(t, *csr)
	der[len(der)-1] ^= 1
	for name, text := range map[string]string{
		"nonsense":      "nonsense",
		"weak key":      *csrPEM(t, weak, "x"),
		"bad signature": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
	} {
		_, err = l.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &text})
		require.Error(t, err, name)
		refused(t, err, "InvalidRequestException", 400)
	}

	_, err = l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: types.CertificateStatusRevoked})
	require.NoError(t, err)
	_, err = l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: types.CertificateStatusActive})
	refused(t, err, "CertificateStateException", 406)
	_, err = l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: first.CertificateId, NewStatus: types.CertificateStatusPendingTransfer})
	refused(t, err, "InvalidRequestException", 400)
}

func pemBytes(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	require.NotNil(t, block)
	return block.Bytes
}

func TestForceDeleteOverlooksPoliciesOnly(t *testing.T) {
	l := newLocal(t)
	ctx := t.Context()
	certificate := l.provision("a")
	l.attachPolicy("p", allow("*"), certificate.CertificateArn)
	force := func() error {
		_, err := l.iot.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: certificate.CertificateId, ForceDelete: true})
		return err
	}
	refused(t, force(), "CertificateStateException", 406)
	_, err := l.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: certificate.CertificateId, NewStatus: types.CertificateStatusInactive})
	require.NoError(t, err)
	refused(t, force(), "DeleteConflictException", 409)
	_, err = l.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: aws.String("a"), Principal: certificate.CertificateArn})
	require.NoError(t, err)
	require.NoError(t, force())
	_, err = l.iot.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: aws.String("p")})
	require.NoError(t, err, "its attachment went with the certificate")
}

func TestKeysOfTheirOwn(t *testing.T) {
	server, err := Start(Config{Address: "127.0.0.1:0", CredentialsAddress: "127.0.0.1:0"})
	require.NoError(t, err)
	first, err := server.keys.take(t.Context())
	require.NoError(t, err)
	second, err := server.keys.take(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, first.privatePEM, second.privatePEM)
	assert.Equal(t, keyBits, first.public.N.BitLen())
	assert.IsType(t, &rsa.PublicKey{}, first.public)
	require.NoError(t, server.Close())
}
