package fleet

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ParseCSR reads a certificate request in PEM.
func ParseCSR(text string) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, errors.New("it holds no PEM certificate request, or something before it")
	}
	// A key that was put into the same file must not travel with it.
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("it holds a %s beside the certificate request", strings.ToLower(more.Type))
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// CheckCSR tells what is wrong with the certificate request of a device: it must be signed by its
// own key, have a key that AWS IoT takes (RSA of 2048 bits or more, EC P-256 or P-384), and the
// device's name as the common name of its subject.
func CheckCSR(text, device string) error {
	request, err := ParseCSR(text)
	if err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return fmt.Errorf("its signature is bad: %w", err)
	}
	switch key := request.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			return fmt.Errorf("its RSA key has %d bits; AWS IoT takes 2048 or more", bits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits != 256 && bits != 384 {
			return fmt.Errorf("its EC key is on %s; AWS IoT takes P-256 and P-384", key.Curve.Params().Name)
		}
	default:
		return fmt.Errorf("its key is of the type %s; AWS IoT takes RSA and EC", request.PublicKeyAlgorithm)
	}
	if got := request.Subject.CommonName; got != device {
		return fmt.Errorf("its subject's common name is %q, not the device's name %q", got, device)
	}
	return nil
}

// ReadCSR reads the certificate request of a device from a file and checks it. The error is an
// InvalidInput.
func ReadCSR(path, device string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = CheckCSR(string(data), device)
	}
	if err != nil {
		return "", InvalidInput{{Source: path, Field: "csr", Reason: err.Error()}}
	}
	block, _ := pem.Decode(data)
	return string(pem.EncodeToMemory(block)), nil // the request, and nothing else that the file holds
}
