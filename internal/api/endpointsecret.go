package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// Overlaps of a rotation: how long the secret before it signs too.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// RotateSecret gives an endpoint a new signing secret.
func (s *Server) RotateSecret(c echo.Context, name gen.EndpointName) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.SecretRotation
	if err := s.readOptional(c, &in); err != nil {
		return err
	}
	r := rotation{s: s, project: own.who.Project, name: name}
	if err := r.read(&in, &own.faults); err != nil {
		return err
	}
	s.refresh(ctx)
	_, ep, err := s.Endpoints.UpdateEndpoint(ctx, r.project, name, r.of)
	if err != nil {
		return err
	}
	view := s.viewEndpoint(ctx, &ep)
	view.Secret = &r.secret
	return s.json(c, http.StatusOK, view)
}

// rotation is a change of secrets.
type rotation struct {
	s             *Server
	project, name string
	secret        string // the new one
	sealed        []byte
	until         time.Time // when the one before stops to sign
}

func (r *rotation) read(in *gen.SecretRotation, f *faults) error {
	read := reader{prefix: "/", note: f.inBody, opt: &r.s.opt}
	overlap := defaultOverlap
	if in.Overlap != nil {
		overlap = read.bounded("overlap", in.Overlap, 0, maxOverlap)
	}
	if in.Secret != nil {
		r.secret = *in.Secret
		if detail, ok := r.s.Secrets.Check(r.secret); !ok {
			read.fault("secret", detail)
		}
	} else {
		r.secret = r.s.Secrets.Generate()
	}
	if err := f.err(); err != nil {
		return err
	}
	r.until = r.s.opt.Now().UTC().Add(overlap)
	var err error
	r.sealed, err = r.s.Secrets.Seal(r.project, r.name, r.secret)
	return err
}

func (r *rotation) of(old *task.Endpoint) (task.Endpoint, error) {
	if old == nil {
		return task.Endpoint{}, noEndpoint()
	}
	next := *old
	switch {
	case r.s.Secrets.Signs(old, r.secret):
		// A repeat, whose first answer was lost perhaps: the secret before it
		// must not be rotated out by it.
	case r.until.After(r.s.opt.Now()):
		next.SealedSecret = old.SealedSecret.Rotated(r.sealed, r.until)
	default:
		next.SealedSecret = task.SealedSecret{Current: r.sealed}
	}
	return next, nil
}
