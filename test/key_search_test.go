package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/proxy"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// keySearch looks for private keys in any bytes: for the words of a PEM key, and for pieces of
// keys that it was told of, in the encodings that they could have got there by.
type keySearch struct {
	needles map[[prefixLength]byte][]needle // by how they begin, so that all are looked for in one pass
}

type needle struct {
	what string
	text []byte
}

const (
	prefixLength = 8
	// chunkLength is how much of a key, in bytes, is looked for at once: too much for chance, and a
	// multiple of 3, so that base64 of it ends with it.
	chunkLength = 24
)

func newKeySearch() *keySearch {
	s := &keySearch{needles: map[[prefixLength]byte][]needle{}}
	// A key that was lost is in no store, and so not known: but each begins like all others.
	s.addAnyhow("the words of a PEM key", []byte("PRIVATE KEY"))
	s.addAnyhow("the head of an RSA key's DER", []byte{2, 1, 0, 2, 0x82, 1, 1, 0})
	s.addAnyhow("the head of an EC key's DER", []byte{2, 1, 0, 0x30, 0x13, 6, 7, 0x2a})
	return s
}

// addAnyhow looks for the text as it is, in hex, and in base64 wherever it stands in there.
func (s *keySearch) addAnyhow(what string, text []byte) {
	s.add(what, text)
	s.add(what+", hex", []byte(hex.EncodeToString(text)))
	s.add(what+", HEX", []byte(strings.ToUpper(hex.EncodeToString(text))))
	for skip := range 3 {
		whole := text[skip : skip+(len(text)-skip)/3*3]
		s.add(what+", base64", []byte(base64.StdEncoding.EncodeToString(whole)))
	}
}

func (s *keySearch) add(what string, text []byte) {
	prefix := [prefixLength]byte(text)
	s.needles[prefix] = append(s.needles[prefix], needle{what, text})
}

// addKey makes the search know a private key, in PEM.
func (s *keySearch) addKey(whose string, text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("the key of %s is no PEM", whose)
	}
	public, secrets, err := partsOf(block.Bytes)
	if err != nil {
		return fmt.Errorf("the key of %s: %w", whose, err)
	}
	// What a certificate shows as well is no secret: the key holds its public half.
	secret := func(chunk []byte) bool { return !bytes.Contains(public, chunk) }

	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		raw, err := base64.StdEncoding.DecodeString(line)
		const edge = chunkLength / 2
		if err == nil && len(raw) >= edge && secret(raw[:edge]) && secret(raw[len(raw)-edge:]) {
			what := fmt.Sprintf("line %d of the PEM key of %s", i+1, whose)
			s.add(what, []byte(line))
			// A key in a []byte field of a JSON document is base64 of the PEM text.
			s.addChunks(what, []byte(line), func([]byte) bool { return true })
		}
	}
	s.addChunks("the DER of the key of "+whose, block.Bytes, secret)
	for name, number := range secrets {
		// Alone, as JSON of a key's fields would have it.
		s.addChunks(name+" of the key of "+whose, number.Bytes(), secret)
		s.add(name+" of the key of "+whose+", decimal", []byte(number.String()))
	}
	return nil
}

// addChunks looks for pieces of the bytes as they are, in hex, and in base64 at each of the three
// places that they can have relative to its groups.
func (s *keySearch) addChunks(what string, whole []byte, secret func([]byte) bool) {
	for start := 0; start+chunkLength <= len(whole); start++ {
		chunk := whole[start : start+chunkLength]
		if start%chunkLength > 2 || !secret(chunk) {
			continue
		}
		where := fmt.Sprintf("%s, bytes %d to %d", what, start, start+chunkLength)
		s.add(where+", base64", []byte(base64.StdEncoding.EncodeToString(chunk)))
		s.add(where+", URL-safe base64", []byte(base64.URLEncoding.EncodeToString(chunk)))
		if start%chunkLength == 0 {
			s.add(where, chunk)
			s.add(where+", hex", []byte(hex.EncodeToString(chunk)))
			s.add(where+", HEX", []byte(strings.ToUpper(hex.EncodeToString(chunk))))
		}
	}
}

// partsOf are the public half of a key, in DER, and its secret numbers.
func partsOf(der []byte) (public []byte, secrets map[string]*big.Int, err error) {
	var key any
	if key, err = x509.ParsePKCS1PrivateKey(der); err != nil {
		if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
			return nil, nil, err
		}
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		public, err = x509.MarshalPKIXPublicKey(&k.PublicKey)
		return public, map[string]*big.Int{
			"the exponent": k.D, "the first prime": k.Primes[0], "the second prime": k.Primes[1],
			"the first CRT exponent": k.Precomputed.Dp, "the second CRT exponent": k.Precomputed.Dq, "the CRT coefficient": k.Precomputed.Qinv,
		}, err
	case *ecdsa.PrivateKey:
		public, err = x509.MarshalPKIXPublicKey(&k.PublicKey)
		if err != nil {
			return nil, nil, err
		}
		raw, err := k.Bytes()
		return public, map[string]*big.Int{"the scalar": new(big.Int).SetBytes(raw)}, err
	}
	return nil, nil, fmt.Errorf("a %T is not known here", key)
}

// in returns what of the keys is in the text; each leak once, named by where.
func (s *keySearch) in(where string, text []byte) []string {
	var found []string
	for i := 0; i+prefixLength <= len(text); i++ {
		for _, n := range s.needles[[prefixLength]byte(text[i:])] {
			if bytes.HasPrefix(text[i:], n.text) {
				found = append(found, where+" holds "+n.what)
			}
		}
	}
	return found
}

// inMessage searches a message as it travels, as it is shown, and each payload in it decoded. A
// payload that it cannot read is a finding: nobody knows what it holds.
func (s *keySearch) inMessage(where string, m proto.Message) ([]string, error) {
	wire, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	shown, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	found := append(s.in(where, wire), s.in(where+" (as JSON)", shown)...)
	err = proxy.VisitPayloads(context.Background(), m, proxy.VisitPayloadsOptions{
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*common.Payload) ([]*common.Payload, error) {
			for _, p := range payloads {
				switch encoding := string(p.GetMetadata()["encoding"]); encoding {
				case "json/plain", "binary/null", "binary/plain", "json/protobuf":
					found = append(found, s.in(where+" (payload)", p.GetData())...)
				default:
					found = append(found, fmt.Sprintf("%s holds a payload of the encoding %q, which the search cannot read", where, encoding))
				}
			}
			return payloads, nil
		},
	})
	return found, err
}
