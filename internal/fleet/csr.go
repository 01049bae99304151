package fleet

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	text, err := readCSRFile(path)
	if err == nil {
		text, err = cleanCSR(text, device)
	}
	if err != nil {
		return "", InvalidInput{{Source: path, Field: "csr", Reason: err.Error()}}
	}
	return text, nil
}

// CSRsBeside resolves the csr fields of a manifest in a file: paths, relative ones from the
// manifest's directory. The errors are InvalidInput. It is for whoever may read all files that the
// manifest's author could name.
func CSRsBeside(manifest string) func(ref string) (string, error) {
	return func(ref string) (string, error) {
		path := ref
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(manifest), path)
		}
		text, err := readCSRFile(path)
		if err != nil {
			return "", InvalidInput{{Source: path, Field: "csr", Reason: err.Error()}}
		}
		return text, nil
	}
}

// MaxCSRBytes is the most that a file with a certificate request may have: one of RSA with 4096
// bits has 2 KB, and a wrong path is not to be read into memory.
const MaxCSRBytes = 64 << 10

func readCSRFile(path string) (string, error) {
	file, err := os.Open(path)
	var of *os.PathError // it repeats the path
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", errors.New("there is no such file")
	case errors.As(err, &of):
		return "", fmt.Errorf("cannot be read: %w", of.Err)
	case err != nil:
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxCSRBytes+1))
	switch {
	case errors.As(err, &of):
		return "", fmt.Errorf("cannot be read: %w", of.Err)
	case err != nil:
		return "", err
	case len(data) > MaxCSRBytes:
		return "", fmt.Errorf("has more than %d bytes: too large for a certificate request", MaxCSRBytes)
	}
	return string(data), nil
}

// cleanCSR checks a device's certificate request and returns it without anything else that the
// text holds.
func cleanCSR(text, device string) (string, error) {
	if err := CheckCSR(text, device); err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(text))
	return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})), nil
}
