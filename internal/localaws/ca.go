package localaws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// deviceIssuer is the name that AWS IoT signs device certificates under.
const deviceIssuer = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US"

// Certificates of AWS IoT are valid from a little before now until the end of 2049.
var (
	clockSkew   = 2 * time.Minute
	endOfTime   = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
	serialLimit = new(big.Int).Lsh(big.NewInt(1), 159)
)

// authority signs certificates. Its key is ECDSA P-256, because that is cheap.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

func newAuthority(name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of %q: %w", name, err)
	}
	a := &authority{key: key}
	a.certificate = &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := a.sign(a.certificate, key.Public(), now)
	if err != nil {
		return nil, err
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("certificate of %q: %w", name, err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a, nil
}

// sign completes the template and returns the certificate in DER.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, serialLimit)
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), endOfTime
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, nil
}

// serverCertificate is for a TLS server under a host name; it serves 127.0.0.1 and localhost as well.
func (a *authority) serverCertificate(host string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key of %q: %w", host, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: host},
		DNSNames:    []string{host},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if host != defaultCredentialsHost {
		template.DNSNames = append(template.DNSNames, defaultCredentialsHost)
	}
	der, err := a.sign(template, key.Public(), now)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// deviceCertificate is for a device's public key; subject is DER, as in a certificate request.
func (a *authority) deviceCertificate(subject []byte, public crypto.PublicKey, now time.Time) ([]byte, error) {
	return a.sign(&x509.Certificate{
		RawSubject:            subject,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, public, now)
}
