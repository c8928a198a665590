package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/task"
)

// maxHead bounds a JSON body beside its payload.
const maxHead = 64 << 10

// readBody reads the request's body whole, up to limit bytes, with its own
// deadline.
func (s *Server) readBody(c echo.Context, limit int) ([]byte, error) {
	r := c.Request()
	tooLarge := task.Errorf(codePayloadTooLarge, "the body is longer than %d bytes", limit)
	if r.ContentLength > int64(limit) {
		return nil, tooLarge
	}
	if err := s.holdBody(c, limit); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, int64(limit)))
	if err == nil {
		s.bodyArrived(c)
		return body, s.enter(c)
	}
	if over := (*http.MaxBytesError)(nil); errors.As(err, &over) {
		return nil, tooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, task.Errorf(codeRequestTimeout, "the body did not arrive within %s", s.opt.BodyTimeout)
	}
	return nil, task.Wrap(codeMalformed, err, "the body ended early or is wrongly framed")
}

// expectBody bounds how long the body may take to arrive, whether or not
// anybody reads it: before it answers, the server reads what is left, and
// without a deadline a client that sends nothing would hold it for ever.
func (s *Server) expectBody(c echo.Context) {
	if c.Request().ContentLength != 0 {
		s.readBy(c, time.Now().Add(s.opt.BodyTimeout))
	}
}

// bodyArrived lifts the deadline: left over, it would end the context of a
// long-poll.
func (s *Server) bodyArrived(c echo.Context) { s.readBy(c, time.Time{}) }

func (s *Server) readBy(c echo.Context, at time.Time) {
	_ = http.NewResponseController(c.Response()).SetReadDeadline(at) // recorders in tests have none
}

// readJSON reads a JSON body into dst. Faults are noted with the call's; dst
// then holds what could be read, so that its meaning can be checked as well.
// The text of the member named exempt is returned untouched.
func (s *Server) readJSON(c echo.Context, dst any, exempt string) (body, payload []byte, err error) {
	own := callOf(c)
	if err := mustBe(own.op.media, c.Request().Header.Values(echo.HeaderContentType)); err != nil {
		return nil, nil, err
	}
	if err := mustBePlain(c); err != nil {
		return nil, nil, err
	}
	limit := maxHead
	if exempt != "" {
		limit += s.opt.MaxPayload
	}
	if body, err = s.readBody(c, limit); err != nil {
		return nil, nil, err
	}
	doc, err := readDocument(body, exempt, maxHead, &own.faults)
	if err != nil {
		return nil, nil, err
	}
	if len(doc.exempt) > s.opt.MaxPayload {
		return nil, nil, task.Errorf(codePayloadTooLarge, "the payload is longer than %d bytes", s.opt.MaxPayload)
	}
	conform(own.op.body, doc.tree, own.faults.inBody)
	// A member of the wrong type is noted above; the others are still read.
	err = json.Unmarshal(doc.head, dst)
	wrong := (*json.UnmarshalTypeError)(nil)
	switch {
	case err != nil && !errors.As(err, &wrong):
		return nil, nil, task.Wrap(task.CodeInternal, err, "")
	case err != nil && len(own.faults.body) == 0:
		// What the contract lets pass and the code cannot hold must not be
		// taken for absent.
		own.faults.inBody("/"+strings.ReplaceAll(wrong.Field, ".", "/"), "is not what the contract asks for")
	}
	return body, doc.exempt, nil
}

// readOptional reads a JSON body into dst, if the request has one.
func (s *Server) readOptional(c echo.Context, dst any) error {
	if c.Request().ContentLength == 0 {
		return nil
	}
	_, _, err := s.readJSON(c, dst, "")
	return err
}

func mustBe(want string, contentTypes []string) error {
	if len(contentTypes) == 1 {
		media, params, err := mime.ParseMediaType(contentTypes[0])
		charset := params["charset"]
		if err == nil && media == want && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return task.Errorf(codeUnsupportedMedia, "send the body as %s, in UTF-8", want)
}

// mustBePlain refuses codings (RFC 9110, section 8.4): a compressed body could
// be small where it is counted and large where it is read.
func mustBePlain(c echo.Context) error {
	for _, coding := range splitCommas(c.Request().Header.Values(echo.HeaderContentEncoding)) {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			c.Response().Header().Set(echo.HeaderAcceptEncoding, "identity")
			return task.Errorf(codeUnsupportedMedia, "send the body without a Content-Encoding")
		}
	}
	return nil
}
