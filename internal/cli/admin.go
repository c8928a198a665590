package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/client"
)

// keysCmd is "taskgate keys".
type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List keys, the oldest first."`
	Get    keysGetCmd    `cmd:"" help:"Show keys, without what authenticates."`
	Create keysCreateCmd `cmd:"" help:"Create a key; it is shown once, here."`
	Revoke keysRevokeCmd `cmd:"" help:"Revoke keys."`
}

type keysListCmd struct{}

// Run lists the keys.
func (*keysListCmd) Run(ctx context.Context, s *session) error {
	return s.docs(ctx, []string{"ID", "NAME", "SCOPES", "BOUND TO", "CREATED", "EXPIRES", "LAST USED"},
		func(api *client.Client, limit *int, cursor *string) (*http.Response, error) {
			return api.ListKeys(ctx, &client.ListKeysParams{Limit: limit, Cursor: cursor})
		}, func(doc json.RawMessage) ([]string, error) {
			k, err := decode[client.Key](reply{body: doc})
			expires, used := "", ""
			if k.ExpiresAt != nil {
				expires = stamp(*k.ExpiresAt)
			}
			if k.LastUsedAt != nil {
				used = stamp(*k.LastUsedAt)
			}
			return []string{k.Id, k.Name, scopes(k), strings.Join(slices.Concat(k.Endpoints, k.Addresses), ","), stamp(k.CreatedAt), expires, used}, err
		})
}

func scopes(k client.Key) string {
	out := make([]string, len(k.Scopes))
	for i, scope := range k.Scopes {
		out[i] = string(scope)
	}
	return strings.Join(out, ",")
}

type keysGetCmd struct {
	ID []string `arg:"" help:"Ids of keys." name:"id"`
}

// Run shows every key.
func (c *keysGetCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.ID, func(id string) error {
		return show(ctx, s, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return api.GetKey(ctx, id) }, keyBlock)
	})
}

type keysCreateCmd struct {
	Name      string   `arg:"" help:"Whose key it is, for people."`
	Scope     []string `help:"What it may do, such as tasks:write or endpoints:*; repeat it, or separate scopes by commas." placeholder:"SCOPE" required:""`
	ExpiresIn string   `help:"Its end from now on, such as 90d." placeholder:"DURATION" xor:"expiry"`
	ExpiresAt string   `help:"Its end (RFC 3339)." placeholder:"TIME" xor:"expiry"`
	Rate      string   `help:"How often it may call, as requests a second, or with a burst: 20 or 20/40." placeholder:"RATE"`
	Endpoint  []string `help:"Bind it to an endpoint, or with a * at the end to all whose names begin so; repeatable." placeholder:"NAME"`
	Address   []string `help:"Where it may be used from, a CIDR or an address; repeatable." placeholder:"CIDR"`
	Quiet     bool     `help:"Print what authenticates only." short:"q"`
}

// Run creates the key.
func (c *keysCreateCmd) Run(ctx context.Context, s *session) error {
	body := client.KeyConfig{
		Name: c.Name, ExpiresIn: opt(c.ExpiresIn), ExpiresAt: opt(c.ExpiresAt), Endpoints: c.Endpoint, Addresses: c.Address,
	}
	for _, scope := range c.Scope {
		body.Scopes = append(body.Scopes, client.Scope(scope))
	}
	var err error
	if body.Rate, err = parseRate(c.Rate); err != nil {
		return err
	}
	create := func(api *client.Client) (*http.Response, error) { return api.CreateKey(ctx, body) }
	return show(ctx, s, call{}, create, func(k client.Key) string {
		if c.Quiet && k.Key != nil {
			return clean(*k.Key) + "\n"
		}
		return keyBlock(k)
	})
}

func keyBlock(k client.Key) string {
	var b block
	b.add("id", k.Id)
	b.add("name", k.Name)
	b.add("project", k.Project)
	b.add("scopes", scopes(k))
	b.add("endpoints", strings.Join(k.Endpoints, ","))
	b.add("addresses", strings.Join(k.Addresses, ","))
	b.add("created", stamp(k.CreatedAt))
	if k.CreatedBy != nil {
		b.add("created by", *k.CreatedBy)
	}
	b.time("expires", k.ExpiresAt)
	b.time("last used", k.LastUsedAt)
	b.add("rate", rate(k.Rate))
	b.secret("key", k.Key)
	return b.String()
}

type keysRevokeCmd struct {
	ID []string `arg:"" help:"Ids of keys." name:"id"`
}

// Run revokes every key.
func (c *keysRevokeCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.ID, func(id string) error {
		return s.remove(ctx, id, func(api *client.Client) (*http.Response, error) { return api.DeleteKey(ctx, id) })
	})
}

// projectsCmd is "taskgate projects".
type projectsCmd struct {
	List   projectsListCmd   `cmd:"" help:"List projects by name."`
	Get    projectsGetCmd    `cmd:"" help:"Show projects."`
	Put    projectsPutCmd    `cmd:"" help:"Create a project, or give it quotas or a callback secret."`
	Delete projectsDeleteCmd `cmd:"" help:"Delete projects that are empty."`

	RotateSecret projectsRotateCmd `cmd:"" help:"Give the project that is acted in a new secret for its callbacks."`
}

type projectsListCmd struct{}

// Run lists the projects.
func (*projectsListCmd) Run(ctx context.Context, s *session) error {
	return s.docs(ctx, []string{"NAME", "SOURCE", "CREATED"},
		func(api *client.Client, limit *int, cursor *string) (*http.Response, error) {
			return api.ListProjects(ctx, &client.ListProjectsParams{Limit: limit, Cursor: cursor})
		}, func(doc json.RawMessage) ([]string, error) {
			p, err := decode[client.Project](reply{body: doc})
			return []string{p.Name, string(p.Source), stamp(p.CreatedAt)}, err
		})
}

type projectsGetCmd struct {
	Name []string `arg:"" help:"Names of projects." name:"name"`
}

// Run shows every project.
func (c *projectsGetCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.Name, func(name string) error {
		return s.project(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return api.GetProject(ctx, name) })
	})
}

// project makes a request that is answered with a project.
func (s *session) project(ctx context.Context, c call, request func(*client.Client) (*http.Response, error)) error {
	return show(ctx, s, c, request, func(p client.Project) string {
		var b block
		b.add("name", p.Name)
		b.add("source", string(p.Source))
		for _, key := range p.PublicKeys {
			b.add("public key", key)
		}
		b.time("old secret until", p.PreviousSecretUntil)
		b.quotas(p.Quotas, p.Usage)
		b.add("created", stamp(p.CreatedAt))
		b.add("updated", stamp(p.UpdatedAt))
		b.secret("secret", p.Secret)
		return b.String()
	})
}

type projectsPutCmd struct {
	Name       string `arg:"" help:"Name of the project."`
	SecretFile string `help:"File with the secret that signs its callbacks; a new project gets a generated one otherwise." placeholder:"FILE"`

	Rate         string `help:"Quota: tasks a second that it may submit, or with a burst: 200 or 200/400." placeholder:"RATE"`
	WaitingTasks int64  `help:"Quota: how many tasks that have not ended it may have." placeholder:"N"`
	PayloadBytes int64  `help:"Quota: how many bytes of payloads." placeholder:"N"`
}

// Help is the command's longer help.
func (*projectsPutCmd) Help() string {
	return `Quotas that are given take the place of all that the project had; without any it keeps them. What is left out is
the installation's.`
}

// Run puts the project.
func (c *projectsPutCmd) Run(ctx context.Context, s *session) error {
	secret, err := secretFrom(c.SecretFile)
	if err != nil {
		return err
	}
	body := client.ProjectConfig{Secret: secret}
	if body.Quotas, err = c.quotas(); err != nil {
		return err
	}
	return s.project(ctx, call{}, func(api *client.Client) (*http.Response, error) {
		return api.PutProject(ctx, c.Name, body)
	})
}

type projectsDeleteCmd struct {
	Name []string `arg:"" help:"Names of projects." name:"name"`
}

// Run deletes every project.
func (c *projectsDeleteCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.Name, func(name string) error {
		return s.remove(ctx, name, func(api *client.Client) (*http.Response, error) { return api.DeleteProject(ctx, name) })
	})
}

type projectsRotateCmd struct{ rotation }

// Help is the command's longer help.
func (*projectsRotateCmd) Help() string {
	return `It is the key's project, or that of --project. The new secret is shown once, here. Until the end of the overlap
callbacks carry two signatures.`
}

// Run rotates the secret.
func (c *projectsRotateCmd) Run(ctx context.Context, s *session) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	rotate := func(api *client.Client) (*http.Response, error) { return api.RotateCallbackSecret(ctx, body) }
	return show(ctx, s, call{}, rotate, func(c client.CallbackSecret) string {
		var b block
		for _, key := range c.PublicKeys {
			b.add("public key", key)
		}
		b.time("old secret until", c.PreviousSecretUntil)
		b.secret("secret", c.Secret)
		return b.String()
	})
}
