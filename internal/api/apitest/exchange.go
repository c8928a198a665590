package apitest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// patience bounds an exchange, whatever the server does.
	patience  = 20 * time.Second
	maxAnswer = 1 << 20
)

// exchange sends a row and reads the answer to it.
func exchange(ctx context.Context, addr string, row wired) (*answer, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("set the deadline: %w", err)
	}
	s := sender{conn: conn, done: make(chan struct{})}
	go s.send(row)
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(row.wire)))
	if err != nil {
		request = nil
	}
	a, err := receive(bufio.NewReader(conn), request)
	_ = conn.Close()
	<-s.done
	if err != nil {
		return nil, fmt.Errorf("read the answer (sent: %w): %w", errors.Join(s.err, errNothing), err)
	}
	a.sent = s.sent.Load()
	return a, nil
}

var errNothing = errors.New("no more")

func receive(in *bufio.Reader, request *http.Request) (*answer, error) {
	resp, err := http.ReadResponse(in, request)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, request)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	// A server that has answered may cut off a body that it does not want.
	if err != nil && len(body) == 0 {
		return nil, err
	}
	return &answer{request: request, status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// sender writes while the answer is awaited: a server may answer, and stop
// reading, before it has everything.
type sender struct {
	conn net.Conn
	sent atomic.Int64
	done chan struct{}
	err  error
}

func (s *sender) send(row wired) {
	defer close(s.done)
	if !s.write(row.wire) {
		return
	}
	for row.endless != "" {
		if !s.write(row.endless) {
			return
		}
	}
	if half, ok := s.conn.(*net.TCPConn); ok && row.half {
		s.err = half.CloseWrite()
	}
}

func (s *sender) write(text string) bool {
	n, err := io.WriteString(s.conn, text)
	s.sent.Add(int64(n))
	s.err = err
	return err == nil
}
