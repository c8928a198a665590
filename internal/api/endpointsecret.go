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
	r := rotation{s: s, project: own.who.Project, name: name, given: in.Secret, scheme: in.Signature}
	if err := r.read(&in, &own.faults); err != nil {
		return err
	}
	s.refresh(ctx)
	_, ep, err := s.Endpoints.UpdateEndpoint(ctx, r.project, name, r.of)
	if err != nil {
		return err
	}
	view := s.viewEndpoint(ctx, &ep)
	view.Secret = r.secret.shown()
	return s.json(c, http.StatusOK, view)
}

// secret is a signing secret to be set.
type secret struct {
	text   string
	public string // "" for one that both sides share
	made   bool   // by us
}

// shown is what the caller gets to see: a private key that we made is nobody's
// but ours.
func (s secret) shown() *string {
	if s.text == "" || s.made && s.public != "" {
		return nil
	}
	return &s.text
}

// newSecret is the one given, or a generated one of the scheme.
func (s *Server) newSecret(given *string, scheme gen.SignatureScheme) secret {
	switch {
	case given != nil:
		return secret{text: *given, public: s.Secrets.Public(*given)}
	case scheme == gen.V1a:
		text := s.Secrets.GeneratePair()
		return secret{text: text, public: s.Secrets.Public(text), made: true}
	}
	return secret{text: s.Secrets.Generate(), made: true}
}

// schemeOf is how an endpoint's deliveries are signed.
func schemeOf(sealed *task.SealedSecret) gen.SignatureScheme {
	if sealed.Public != "" {
		return gen.V1a
	}
	return gen.V1
}

// checkSecret notes what is wrong with a secret and the scheme given with it.
func (s *Server) checkSecret(given *string, scheme *gen.SignatureScheme, r *reader) {
	if given == nil {
		return
	}
	if detail, ok := s.Secrets.Check(*given); !ok {
		r.fault("secret", detail)
		return
	}
	if scheme != nil && (s.Secrets.Public(*given) != "") != (*scheme == gen.V1a) {
		r.fault("signature", "is not that of the secret")
	}
}

// rotation is a change of secrets.
type rotation struct {
	s             *Server
	project, name string
	given         *string
	scheme        *gen.SignatureScheme
	secret        secret    // the new one
	until         time.Time // when the one before stops to sign
}

func (r *rotation) read(in *gen.SecretRotation, f *faults) error {
	read := reader{prefix: "/", note: f.inBody, opt: &r.s.opt}
	overlap := defaultOverlap
	if in.Overlap != nil {
		overlap = read.bounded("overlap", in.Overlap, 0, maxOverlap)
	}
	r.s.checkSecret(r.given, r.scheme, &read)
	r.until = r.s.opt.Now().UTC().Add(overlap)
	return f.err()
}

func (r *rotation) of(old *task.Endpoint) (task.Endpoint, error) {
	if old == nil {
		return task.Endpoint{}, noEndpoint()
	}
	if err := writable(old, "secret"); err != nil {
		return task.Endpoint{}, err
	}
	next := *old
	var err error
	next.SealedSecret, err = r.next(old)
	return next, err
}

// next is the endpoint's secret after the rotation.
func (r *rotation) next(old *task.Endpoint) (task.SealedSecret, error) {
	scheme := schemeOf(&old.SealedSecret)
	if r.scheme != nil {
		scheme = *r.scheme
	}
	r.secret = r.s.newSecret(r.given, scheme)
	if r.given != nil && r.s.Secrets.Signs(old, *r.given) {
		// A repeat, whose first answer was lost perhaps: the secret before it
		// must not be rotated out by it.
		return old.SealedSecret, nil
	}
	sealed, err := r.s.Secrets.Seal(r.project, r.name, r.secret.text)
	if r.until.After(r.s.opt.Now()) {
		return old.SealedSecret.Rotated(sealed, r.secret.public, r.until), err
	}
	return task.SealedSecret{Current: sealed, Public: r.secret.public}, err
}
