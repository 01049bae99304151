package localaws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const certificateKind = "cert"

// The statuses of a certificate that the local AWS knows.
const (
	statusActive   = "ACTIVE"
	statusInactive = "INACTIVE"
	statusRevoked  = "REVOKED"
)

// maxCSR is how long a certificate signing request may be (AWS IoT API model), in characters.
const maxCSR = 4096

var certificateIDs = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// awsSubject is the subject of certificates whose keys AWS makes, in DER.
var awsSubject = mustMarshal(pkix.Name{CommonName: "AWS IoT Certificate"}.ToRDNSequence())

func mustMarshal(value any) []byte {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return der
}

type certificate struct {
	pem      string
	status   string
	created  time.Time
	modified time.Time
	version  int
}

// fingerprint is the id of a certificate: the SHA-256 of its DER, in hex.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func (r *region) certificateNamed(id string) (*certificate, error) {
	c, ok := r.certificates.get(id)
	if !ok {
		return nil, notFound("The certificate given in the request does not exist. certificateId=%s", id)
	}
	return c, nil
}

// principalID returns the id of the certificate that an ARN names.
func (r *region) principalID(arn string) (string, error) {
	id, ok := r.named(certificateKind, arn)
	if !ok || certificateIDRule.violation("principal", id) != "" {
		return "", invalidRequest("Invalid principal: %s", arn)
	}
	if !r.certificates.has(id) {
		return "", notFound("Principal %s not found", arn)
	}
	return id, nil
}

type issued struct {
	ARN     string   `json:"certificateArn"`
	ID      string   `json:"certificateId"`
	PEM     string   `json:"certificatePem"`
	KeyPair *keyPair `json:"keyPair,omitempty"`
}

type keyPair struct {
	PublicKey  string
	PrivateKey string
}

// issue signs a certificate and enters it.
func (r *region) issue(subject []byte, public crypto.PublicKey, active bool) (*issued, error) {
	now := r.now()
	der, err := r.server.devices.deviceCertificate(subject, public, now)
	if err != nil {
		return nil, err
	}
	id := fingerprint(der)
	c := &certificate{
		pem:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		status: statusInactive, created: now, modified: now, version: 1,
	}
	if active {
		c.status = statusActive
	}
	r.certificates.put(id, c)
	r.server.enter(id, r)
	return &issued{ARN: r.arn(certificateKind, id), ID: id, PEM: c.pem}, nil
}

// createKeysAndCertificate gives another certificate and key each time: AWS has no client token for it.
func (r *region) createKeysAndCertificate(q *request) (any, error) {
	r.mu.Unlock() // a key may have to be waited for, and the region must not wait with it
	key, err := r.server.keys.take(q.Context())
	r.mu.Lock()
	if err != nil {
		return nil, err
	}
	out, err := r.issue(awsSubject, key.public, q.flag("setAsActive"))
	if err != nil {
		return nil, err
	}
	out.KeyPair = &keyPair{PublicKey: key.publicPEM, PrivateKey: key.privatePEM}
	return out, nil
}

// createCertificateFromCSR gives another certificate each time, with the subject and the key of the request.
func (r *region) createCertificateFromCSR(q *request) (any, error) {
	var in struct {
		CSR string `json:"certificateSigningRequest"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if len(in.CSR) > maxCSR {
		return nil, invalidRequest("1 validation error detected: Value at 'certificateSigningRequest' failed to satisfy constraint: Member must have length less than or equal to %d", maxCSR)
	}
	csr, err := parseCSR(in.CSR)
	if err != nil {
		return nil, invalidRequest("The certificate signing request is not valid: %v", err)
	}
	return r.issue(csr.RawSubject, csr.PublicKey, q.flag("setAsActive"))
}

// parseCSR checks what AWS IoT does: the signature, and a key of RSA with 2048 bits or more, or of ECC on
// NIST P-256, P-384 or P-521.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || !strings.HasSuffix(block.Type, "CERTIFICATE REQUEST") {
		return nil, fmt.Errorf("it is not PEM of a CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < keyBits {
			return nil, fmt.Errorf("its RSA key has %d bits, %d are needed", key.N.BitLen(), keyBits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Params().BitSize; bits < 256 {
			return nil, fmt.Errorf("its ECC key has %d bits, 256 are needed", bits)
		}
	default:
		return nil, fmt.Errorf("its key is neither RSA nor ECC")
	}
	return csr, nil
}

func (r *region) describeCertificate(q *request) (any, error) {
	id := q.PathValue("certificateId")
	c, err := r.certificateNamed(id)
	if err != nil {
		return nil, err
	}
	type validity struct {
		NotBefore epoch `json:"notBefore"`
		NotAfter  epoch `json:"notAfter"`
	}
	type description struct {
		ARN          string   `json:"certificateArn"`
		ID           string   `json:"certificateId"`
		Status       string   `json:"status"`
		PEM          string   `json:"certificatePem"`
		OwnedBy      string   `json:"ownedBy"`
		Created      epoch    `json:"creationDate"`
		Modified     epoch    `json:"lastModifiedDate"`
		Version      int      `json:"customerVersion"`
		GenerationID string   `json:"generationId"`
		Validity     validity `json:"validity"`
		Mode         string   `json:"certificateMode"`
	}
	return struct {
		Description description `json:"certificateDescription"`
	}{description{
		r.arn(certificateKind, id), id, c.status, c.pem, r.server.account, epoch(c.created), epoch(c.modified), c.version,
		id[:36], validity{epoch(c.created.Add(-clockSkew)), epoch(endOfTime)}, "DEFAULT",
	}}, nil
}

func (r *region) listCertificates(q *request) (any, error) {
	p, err := q.byMarker()
	if err != nil {
		return nil, err
	}
	type summary struct {
		ARN     string `json:"certificateArn"`
		ID      string `json:"certificateId"`
		Status  string `json:"status"`
		Mode    string `json:"certificateMode"`
		Created epoch  `json:"creationDate"`
	}
	certificates := []summary{}
	next := r.certificates.page(p, func(id string, c *certificate) bool {
		certificates = append(certificates, summary{r.arn(certificateKind, id), id, c.status, "DEFAULT", epoch(c.created)})
		return true
	})
	return struct {
		Certificates []summary `json:"certificates"`
		NextMarker   string    `json:"nextMarker,omitempty"`
	}{certificates, token(next)}, nil
}

// updateCertificate sets the status; setting the one it has succeeds. A revoked certificate stays revoked.
func (r *region) updateCertificate(q *request) (any, error) {
	id, status := q.PathValue("certificateId"), q.query.Get("newStatus")
	switch status {
	case statusActive, statusInactive, statusRevoked:
	case "PENDING_TRANSFER", "REGISTER_INACTIVE", "PENDING_ACTIVATION":
		return nil, invalidRequest("Status %s cannot be set by a caller", status)
	default:
		return nil, invalidRequest("%s", violationOf(status, "newStatus",
			"Member must satisfy enum value set: [ACTIVE, INACTIVE, REVOKED, PENDING_TRANSFER, REGISTER_INACTIVE, PENDING_ACTIVATION]"))
	}
	c, err := r.certificateNamed(id)
	if err != nil {
		return nil, err
	}
	if c.status == statusRevoked && status != statusRevoked {
		return nil, certificateState("The certificate is revoked and cannot become %s. certificateId=%s", status, id)
	}
	if c.status != status {
		c.status, c.modified = status, r.now()
		c.version++
	}
	return nil, nil
}

// deleteCertificate wants the certificate inactive and nothing attached; forceDelete overlooks policies.
func (r *region) deleteCertificate(q *request) (any, error) {
	id := q.PathValue("certificateId")
	c, err := r.certificateNamed(id)
	if err != nil {
		return nil, err
	}
	arn := r.arn(certificateKind, id)
	switch {
	case c.status == statusActive:
		return nil, certificateState("Certificate must be deactivated (not ACTIVE) before deletion. certificateId=%s", id)
	case r.principals.anyTo(arn, r.now()):
		return nil, deleteConflict("Things must be detached before deletion (arn=%s)", arn)
	case r.policyTargets.anyTo(arn, r.now()) && !q.flag("forceDelete"):
		return nil, deleteConflict("Certificate policies must be detached before deletion (arn=%s)", arn)
	}
	r.policyTargets.cutTo(arn)
	r.certificates.remove(id)
	r.server.forget(id)
	return nil, nil
}

// enter notes where a certificate lives, for the credential provider.
func (s *Server) enter(id string, r *region) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certificates[id] = r
}

func (s *Server) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.certificates, id)
}

// home is the region of a certificate, nil if it is not known.
func (s *Server) home(id string) *region {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certificates[id]
}
