package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// certificateEvery is how often the files of the certificate are looked at.
	certificateEvery = 2 * time.Second
	maxPEM           = 1 << 20
)

// certificate is what the API proves itself with, read again when its files
// change. A pair that is broken, as while it is being written, changes nothing.
type certificate struct {
	app     *App
	present atomic.Pointer[pair]
	reread  chan struct{} // asks for a look now
	refused string        // what was told of the files last, "" when they were good
}

// pair is what the files held at one time.
type pair struct {
	leaf *x509.Certificate
	// config is one for all connections, so that their sessions can be resumed
	// until the pair changes.
	config *tls.Config
	sum    [sha256.Size]byte
}

// openCertificate reads the files; nil when the API speaks HTTP. Errors name
// the setting.
func (a *App) openCertificate() (*certificate, error) {
	if a.cfg.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	c := &certificate{app: a, reread: make(chan struct{}, 1)}
	p, err := c.read()
	if err != nil {
		return nil, err
	}
	c.use(p)
	return c, nil
}

// read reads the files. Its errors have no content of theirs.
func (c *certificate) read() (*pair, error) {
	cfg := &c.app.cfg
	cert, err := readBounded(cfg.TLSCertFile, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("TASKGATE_TLS_CERT_FILE: %w", err)
	}
	key, err := readBounded(cfg.TLSKeyFile, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("TASKGATE_TLS_KEY_FILE: %w", err)
	}
	var authorities []byte
	if cfg.TLSClientCAFile != "" {
		if authorities, err = readBounded(cfg.TLSClientCAFile, maxPEM); err != nil {
			return nil, fmt.Errorf("TASKGATE_TLS_CLIENT_CA_FILE: %w", err)
		}
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TASKGATE_TLS_CERT_FILE and TASKGATE_TLS_KEY_FILE: %w", err)
	}
	p := &pair{
		leaf: own.Leaf, config: baseTLS(), sum: sha256.Sum256(bytes.Join([][]byte{cert, key, authorities}, []byte{0})),
	}
	p.config.Certificates = []tls.Certificate{own}
	if cfg.TLSClientCAFile != "" {
		p.config.ClientAuth, p.config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !p.config.ClientCAs.AppendCertsFromPEM(authorities) {
			return nil, errors.New("TASKGATE_TLS_CLIENT_CA_FILE: there is no certificate in it")
		}
	}
	return p, nil
}

func (c *certificate) use(p *pair) {
	c.present.Store(p)
	c.app.metrics.Certificate(p.leaf.NotAfter)
}

// config makes every connection see the present pair.
func (c *certificate) config() *tls.Config {
	out := baseTLS()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.present.Load().config, nil }
	return out
}

func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// run follows the files until ctx ends.
func (c *certificate) run(ctx context.Context) error {
	tick := time.NewTicker(certificateEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.reread:
		case <-ctx.Done():
			return nil
		}
		c.look(ctx)
	}
}

// look takes over what the files hold, when it is new and whole. What is
// broken is told once.
func (c *certificate) look(ctx context.Context) {
	present := c.present.Load()
	p, err := c.read()
	if err != nil {
		if c.refused != err.Error() {
			c.app.metrics.CertificateRead(false)
			c.app.log.ErrorContext(ctx, "the new certificate is not taken; the old one stays in use", "error", err, "until", present.leaf.NotAfter)
		}
		c.refused = err.Error()
		return
	}
	if c.refused = ""; p.sum != present.sum {
		c.use(p)
		c.app.metrics.CertificateRead(true)
		c.app.log.InfoContext(ctx, "a new certificate is in use", "subject", p.leaf.Subject.String(), "until", p.leaf.NotAfter)
	}
}
