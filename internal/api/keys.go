package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// longestKey is how far ahead the end of a key may be.
const longestKey = 3650 * 24 * time.Hour

// CreateKey makes a key.
func (s *Server) CreateKey(c echo.Context) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.KeyConfig
	if _, _, err := s.readJSON(c, &in, ""); err != nil {
		return err
	}
	k, err := s.wantedKey(ctx, own, &in)
	if err != nil {
		return err
	}
	token := auth.NewToken(s.opt.Now())
	k.ID, k.Digest, k.CreatedBy = token.ID, token.Digest, own.who.KeyID
	if k, err = s.Keys.AddKey(ctx, k); err != nil {
		return err
	}
	own.target = k.ID
	view := viewKey(&k, time.Time{})
	view.Key = new(token.Reveal())
	c.Response().Header().Set(echo.HeaderLocation, "/v1/keys/"+k.ID)
	return s.json(c, http.StatusCreated, view)
}

// wantedKey reads what the key shall be; what is well-formed must also be the
// caller's to give.
func (s *Server) wantedKey(ctx context.Context, own *call, in *gen.KeyConfig) (task.APIKey, error) {
	note := own.faults.inBody
	opt := s.opt
	opt.MaxDelay = longestKey
	r := reader{prefix: "/", note: note, opt: &opt}
	now := opt.Now()
	k := task.APIKey{
		Project: own.who.Project, Name: in.Name, Rate: rateOf(&own.who, in.Rate, r.fault),
		ExpiresAt: r.moment(now, "expires_in", in.ExpiresIn, "expires_at", in.ExpiresAt).UTC().Truncate(time.Millisecond),
	}
	end := "expires_at"
	if in.ExpiresIn != nil {
		end = "expires_in"
	}
	switch latest := own.who.ExpiresAt; {
	case k.ExpiresAt.IsZero():
		k.ExpiresAt = latest
	case !k.ExpiresAt.After(now):
		r.fault(end, "must be in the future")
	case !latest.IsZero() && k.ExpiresAt.After(latest):
		r.fault(end, "must not be later than the end of the key that asks")
	}
	readBinding(own, in, &k)
	readScopes(in, &k, r.fault)
	if strings.ContainsFunc(in.Name, unicode.IsControl) {
		r.fault("name", "must not contain control characters")
	}
	if in.Project != nil {
		if k.Project = *in.Project; own.who.Admin() && !s.findProject(ctx, k.Project) {
			r.fault("project", "no such project")
		}
	}
	err := own.faults.err()
	if err == nil {
		err = mayGive(&own.who, &k)
	}
	return k, err
}

// readScopes reads what the key may do.
func readScopes(in *gen.KeyConfig, k *task.APIKey, fault func(field, detail string)) {
	for i, scope := range in.Scopes {
		k.Scopes = append(k.Scopes, auth.Scope(scope))
		if scope == gen.Admin && k.Endpoints.Bound() {
			fault("endpoints", "must not be given with the scope admin")
		}
		if slices.Contains(in.Scopes[:i], scope) {
			fault("scopes/"+strconv.Itoa(i), "is given more than once")
		}
	}
}

// readBinding reads what the key shall be bound to: what it is not told is as
// its maker is bound.
func readBinding(own *call, in *gen.KeyConfig, k *task.APIKey) {
	k.Endpoints, k.Addresses = own.who.Endpoints, own.who.Addresses
	if in.Endpoints != nil {
		k.Endpoints = in.Endpoints
	}
	if in.Addresses != nil {
		k.Addresses = nil
	}
	for i, text := range in.Addresses {
		p, ok := task.ParseAddress(text)
		if !ok {
			own.faults.inBody("/addresses/"+strconv.Itoa(i), "is neither a CIDR nor an address of IPv4 or IPv6")
		}
		k.Addresses = append(k.Addresses, p)
	}
}

// mayGive: nobody gives away what they do not have.
func mayGive(who *auth.Principal, k *task.APIKey) error {
	if k.Project != who.Project && !who.Admin() {
		return task.Errorf(auth.CodeForbidden, "this key may make keys of its own project only")
	}
	if !who.Endpoints.Covers(k.Endpoints) || !who.Addresses.Covers(k.Addresses) {
		return task.Errorf(auth.CodeForbidden, "this key is bound to less, so it cannot make a key for these endpoints or addresses")
	}
	for _, scope := range k.Scopes {
		if !who.Can(scope) {
			return task.Errorf(auth.CodeForbidden, "this key lacks the scope %s, so it cannot give it to another", scope)
		}
	}
	return nil
}

// ListKeys lists a page of keys by age.
func (s *Server) ListKeys(c echo.Context, params gen.ListKeysParams) error {
	ctx := c.Request().Context()
	s.refresh(ctx)
	who := &callOf(c).who
	visible := slices.DeleteFunc(s.Keys.Keys(who.Project), func(k task.APIKey) bool { return !visibleKey(who, &k) })
	l := listing[task.APIKey]{all: visible, name: func(k *task.APIKey) string { return k.ID }, mark: "k1."}
	page, next, err := l.page(params.Limit, params.Cursor)
	if err != nil {
		return err
	}
	uses := s.keyUses(ctx)
	out := gen.KeyList{Data: make([]gen.Key, len(page)), NextCursor: next}
	for i := range page {
		out.Data[i] = viewKey(&page[i], uses[page[i].ID])
	}
	return s.json(c, http.StatusOK, out)
}

// GetKey shows a key.
func (s *Server) GetKey(c echo.Context, id gen.KeyId) error {
	ctx := c.Request().Context()
	s.refresh(ctx)
	who := &callOf(c).who
	k, ok := s.Keys.Key(who.Project, id)
	if !ok || !visibleKey(who, k) {
		return noKey()
	}
	return s.json(c, http.StatusOK, viewKey(k, s.keyUses(ctx)[id]))
}

// DeleteKey revokes a key.
func (s *Server) DeleteKey(c echo.Context, id gen.KeyId) error {
	own, ctx := callOf(c), c.Request().Context()
	err := s.Keys.DeleteKey(ctx, own.who.Project, id, func(k *task.APIKey) error {
		if !visibleKey(&own.who, k) {
			return noKey()
		}
		if (auth.Principal{Scopes: k.Scopes}).Admin() && !own.who.Admin() {
			return task.Errorf(auth.CodeForbidden, "a key with scope admin can be revoked by such a key only")
		}
		return nil
	})
	switch {
	case task.CodeOf(err) == task.CodeNotFound:
		return noKey()
	case err != nil:
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func noKey() error { return task.Errorf(task.CodeNotFound, "no such key") }

// keyUses says when keys were used; nothing while the store is away.
func (s *Server) keyUses(ctx context.Context) map[string]time.Time {
	uses, err := s.Keys.KeyUses(ctx)
	if err != nil {
		s.opt.Logger.WarnContext(ctx, "the last uses of keys cannot be read", "error", err)
	}
	return uses
}

func viewKey(k *task.APIKey, used time.Time) gen.Key {
	out := gen.Key{
		Id: k.ID, Prefix: auth.Shown(k.ID), Name: k.Name, Project: k.Project, CreatedAt: k.CreatedAt.UTC(),
		CreatedBy: unlessZero(k.CreatedBy), ExpiresAt: viewTime(k.ExpiresAt), LastUsedAt: viewTime(used),
		Scopes: make([]gen.Scope, len(k.Scopes)), Rate: viewRate(k.Rate),
	}
	for i, scope := range k.Scopes {
		out.Scopes[i] = gen.Scope(scope)
	}
	out.Endpoints = k.Endpoints
	for _, p := range k.Addresses {
		out.Addresses = append(out.Addresses, p.String())
	}
	return out
}
