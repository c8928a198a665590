package app

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/seal"
	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

// secrets makes, hides and opens signing secrets.
type secrets struct{ ring *seal.Ring }

func (s secrets) Generate() string { return signing.Generate().Reveal() }

func (s secrets) GeneratePair() string { return signing.GenerateKeyPair().Reveal() }

func (s secrets) Public(secret string) string {
	parsed, err := signing.Parse(secret)
	if err != nil {
		return ""
	}
	public, _ := parsed.Public()
	return public.String()
}

func (s secrets) Check(secret string) (string, bool) {
	if _, err := signing.Parse(secret); err != nil {
		return err.Error(), false
	}
	return "", true
}

func (s secrets) Seal(project, endpoint, secret string) ([]byte, error) {
	return s.ring.Seal([]byte(secret), project, endpoint), nil
}

func (s secrets) Signs(ep *task.Endpoint, secret string) bool {
	plain, err := s.ring.Open(ep.SealedSecret.Current, ep.Project, ep.Name)
	return err == nil && subtle.ConstantTimeCompare(plain, []byte(secret)) == 1
}

// ownerAuth keeps a sealed target's secret from passing for a signing secret.
const ownerAuth = "auth"

func (s secrets) SealTarget(project, endpoint string, secret task.TargetSecret) ([]byte, error) {
	plain, err := json.Marshal(secret) //nolint:gosec // G117: sealed in the next line
	if err != nil {
		return nil, fmt.Errorf("encode target's secret: %w", err)
	}
	return s.ring.Seal(plain, project, endpoint, ownerAuth), nil
}

// openTarget returns what an endpoint's target asks its callers for.
func (s secrets) openTarget(ep *task.Endpoint) (out task.TargetSecret, err error) {
	plain, err := s.ring.Open(ep.Auth.Sealed, ep.Project, ep.Name, ownerAuth)
	if err != nil {
		return out, fmt.Errorf("what the target asks for, of %s: %w", named(ep), err)
	}
	if json.Unmarshal(plain, &out) != nil {
		return out, errors.New("not a target's secret") // the cause would quote it
	}
	return out, nil
}

func (s secrets) Asks(ep *task.Endpoint, secret task.TargetSecret) bool {
	if ep.Auth == nil || len(ep.Auth.Sealed) == 0 {
		return false
	}
	present, err := s.openTarget(ep)
	return err == nil && present == secret
}

// open returns what signs an endpoint's deliveries now, the current secret
// first.
func (s secrets) open(ep *task.Endpoint) ([]signing.Secret, error) {
	var out []signing.Secret
	for _, sealed := range ep.SealedSecret.At(time.Now()) {
		plain, err := s.ring.Open(sealed, ep.Project, ep.Name)
		if err != nil {
			return nil, fmt.Errorf("the signing secret of %s: %w", named(ep), err)
		}
		secret, err := signing.Parse(string(plain))
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}
