package localaws

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keyBits = 2048 // of the keys AWS IoT makes
	// preparedKeys are made ahead while every certificate gets a key of its own.
	preparedKeys = 16
	// restAfterKey is how long the making of keys pauses after each, in times of what it took, unless one is
	// waited for: it shares the machine with what is tested.
	restAfterKey = 3
)

// deviceKey is an RSA key pair, encoded as AWS IoT returns it.
type deviceKey struct {
	public     *rsa.PublicKey
	publicPEM  string
	privatePEM string
}

func newDeviceKey() (*deviceKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return &deviceKey{
		public:     &key.PublicKey,
		publicPEM:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		privatePEM: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}, nil
}

// keyPool has keys ready, because making one takes a tenth of a second or more.
type keyPool struct {
	shared  int // deal from so many keys; 0: each key once
	closing <-chan struct{}
	waiting atomic.Int32

	fresh chan *deviceKey // keys that nobody has had, unless they are shared

	first chan struct{} // closed once there is a shared key
	mu    sync.Mutex
	keys  []*deviceKey // the shared ones
	next  int
}

func newKeyPool(shared int, closing <-chan struct{}) *keyPool {
	return &keyPool{shared: shared, closing: closing, fresh: make(chan *deviceKey, preparedKeys), first: make(chan struct{})}
}

// fill makes keys until there are enough, and goes on when some were taken. It returns when the server closes.
func (p *keyPool) fill() {
	for made := 0; p.shared == 0 || made < p.shared; made++ {
		begun := time.Now()
		key, err := newDeviceKey()
		if err != nil {
			return // the system's randomness is gone; nothing works without it
		}
		took := time.Since(begun)
		if p.shared > 0 {
			p.share(key)
		} else {
			select {
			case p.fresh <- key:
			case <-p.closing:
				return
			}
		}
		if p.waiting.Load() > 0 {
			continue
		}
		rest := time.NewTimer(restAfterKey * took)
		select {
		case <-rest.C:
		case <-p.closing:
			rest.Stop()
			return
		}
	}
}

func (p *keyPool) share(key *deviceKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys = append(p.keys, key); len(p.keys) == 1 {
		close(p.first)
	}
}

// take returns a key, and waits for one if none is ready.
func (p *keyPool) take(ctx context.Context) (*deviceKey, error) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	fresh := p.fresh
	if p.shared > 0 {
		fresh = nil
	}
	select {
	case key := <-fresh:
		return key, nil
	case <-p.first:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.next++
		return p.keys[p.next%len(p.keys)], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closing:
		return nil, failure("ServiceUnavailableException", http.StatusServiceUnavailable, "The local AWS is closing")
	}
}
