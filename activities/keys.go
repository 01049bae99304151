package activities

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"edgefleet/internal/fleet"
)

// newPrivateKey makes a key of that type, in PEM. AWS IoT takes RSA of 2048 bits or more, P-256
// and P-384.
func newPrivateKey(kind fleet.KeyType) ([]byte, error) {
	var key any
	var err error
	switch kind {
	case fleet.KeyP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case fleet.KeyRSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return nil, fmt.Errorf("%q is no type of key", kind)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// newCSR is the certificate request of the key, in PEM, with the device's name as its subject.
func newCSR(key []byte, device string) (string, error) {
	signer, err := parsePrivateKey(key)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: device}}, signer)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// parsePrivateKey reads a key as AWS writes it (PKCS #1) or as we do (PKCS #8). Its errors hold
// nothing of the key.
func parsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no PEM key")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, errors.New("it is no private key that can sign")
}

// isKeyOf tells whether the certificate is for that private key.
func isKeyOf(key []byte, c *x509.Certificate) bool {
	signer, err := parsePrivateKey(key)
	if err != nil {
		return false
	}
	return samePublicKey(signer.Public(), c)
}

func samePublicKey(key crypto.PublicKey, c *x509.Certificate) bool {
	public, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// CertificateID is the id in AWS IoT of a certificate in PEM; empty when the text holds none.
func CertificateID(text []byte) string {
	c, err := parseCertificate(text)
	if err != nil {
		return ""
	}
	return certificateID(c)
}

// certificateID is the id that AWS IoT gives a certificate: its fingerprint.
func certificateID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
