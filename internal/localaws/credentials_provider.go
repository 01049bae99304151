package localaws

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	assumeRoleOperation = "credentials:AssumeRoleWithCertificate"
	assumeRoleAction    = "iot:AssumeRoleWithCertificate"
	thingNameHeader     = "X-Amzn-Iot-Thingname"
)

var errNoServerName = errors.New("the client sent no server name (SNI)")

// providerTLS wants a server name and a client certificate of the caller, as AWS does. Who the certificate is of
// is not the handshake's business: an unknown one gets 403.
func providerTLS(server tls.Certificate) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{server},
		ClientAuth:   tls.RequireAnyClientCert,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "" {
			return nil, errNoServerName
		}
		return nil, nil
	}
	return cfg
}

// credentialsHandler is the IoT credential provider: GET /role-aliases/ALIAS/credentials.
func (s *Server) credentialsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /role-aliases/{roleAlias}/credentials", func(w http.ResponseWriter, r *http.Request) {
		id := fingerprint(r.TLS.PeerCertificates[0].Raw)
		home := s.home(id)
		x := exchange{operation: assumeRoleOperation, protocol: providerJSON}
		if home != nil {
			x.region = home.name
		}
		x.names = func() string { return home.namesOfDevice(r, id) }
		x.work = func(w http.ResponseWriter) {
			credentials, err := home.assumeRole(id, r.PathValue("roleAlias"), r.Header.Get(thingNameHeader))
			if err != nil {
				s.log.Debug("credentials refused", zap.String("certificate", id), zap.Error(err))
				providerJSON.refuse(w, asAPIError(err))
				return
			}
			writeJSON(w, http.StatusOK, "application/json", struct {
				Credentials *temporaryCredentials `json:"credentials"`
			}{credentials})
		}
		s.serve(w, r, x)
	})
	mux.HandleFunc(anyPath, func(w http.ResponseWriter, _ *http.Request) {
		providerJSON.refuse(w, notFound("Not Found"))
	})
	return mux
}

// namesOfDevice are the alias, the thing that the caller names, its certificate and the things that has.
func (r *region) namesOfDevice(call *http.Request, id string) string {
	names := []string{call.URL.Path, call.Header.Get(thingNameHeader), id}
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		names = append(names, r.principals.froms(r.arn(certificateKind, id))...)
	}
	return strings.Join(names, "\n")
}

// temporaryCredentials are what a device gets.
type temporaryCredentials struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
	Expiration      string `json:"expiration"` // RFC 3339, in UTC
}

// refusedCredentials is all that AWS says, whatever the reason.
func refusedCredentials(reason string) error {
	return fmt.Errorf("%w: %s", failure("AccessDeniedException", http.StatusForbidden, "Access Denied"), reason)
}

// assumeRole gives credentials to the holder of a certificate that is known and active, attached to the thing the
// caller names if it names one, and allowed by policy to assume the role alias. The receiver is the region of the
// certificate, nil if no region has it.
func (r *region) assumeRole(certificateID, alias, thing string) (*temporaryCredentials, error) {
	if r == nil {
		return nil, refusedCredentials("the certificate is not known")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.certificates.get(certificateID)
	if !ok || c.status != statusActive {
		return nil, refusedCredentials("the certificate is not active")
	}
	a, ok := r.roleAliases.get(alias)
	if !ok {
		return nil, notFound("Role alias %s not found", alias)
	}
	arn := r.arn(certificateKind, certificateID)
	if thing != "" {
		if l := r.principals.get(thing, arn); l == nil || !l.inForce() {
			return nil, refusedCredentials("the certificate is not attached to thing " + thing)
		}
	}
	if !allowed(r.policiesOf(arn), assumeRoleAction, r.arn(roleAliasKind, alias)) {
		return nil, refusedCredentials("no policy allows it")
	}
	expiration := r.now().Add(time.Duration(a.duration) * time.Second)
	return &temporaryCredentials{
		AccessKeyID:     "ASIA" + rand.Text()[:16],
		SecretAccessKey: randomBase64(30),
		SessionToken:    randomBase64(300),
		Expiration:      expiration.UTC().Format(time.RFC3339),
	}, nil
}

func randomBase64(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}
