// Package deliver calls the handler, for the bare chain and the peers: one pooled HTTP POST.
package deliver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	timeout = 30 * time.Second
	idle    = 512 // connections kept: more than any worker has at once
)

// Poster posts to one handler.
type Poster struct {
	url    string
	client *http.Client
}

// New makes a poster.
func New(url string) *Poster {
	return &Poster{url: url, client: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{MaxIdleConns: idle, MaxIdleConnsPerHost: idle, DisableCompression: true},
	}}
}

// Post sends a task's payload and returns the answer. Anything but a 2xx is an error.
func (p *Poster) Post(ctx context.Context, id string, payload []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", id)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("handler answers %s", resp.Status)
	}
	return answer, nil
}
