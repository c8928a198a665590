package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http/httpproxy"

	"github.com/taskgate/taskgate/client"
)

const (
	callLimit = 30 * time.Second // of one attempt of a call that does not wait
	dialLimit = 5 * time.Second
	// maxAnswer bounds what is read of an answer: a page of 500 tasks, or a
	// result, is far smaller.
	maxAnswer = 32 << 20
	// maxInput bounds a payload or a configuration that is read; the server
	// takes 8 MiB at most.
	maxInput = 16 << 20
)

var dialer = &net.Dialer{Timeout: dialLimit}

// session is what one command works with.
type session struct {
	Process

	opt      *options
	asJSON   bool
	progress *progress

	transport *http.Transport // of every request, so that connections are kept
	key       string
}

// call is how a request is made.
type call struct {
	repeatable bool          // see again
	limit      time.Duration // of one attempt; 0 means callLimit
	once       bool          // no second attempt, whatever happens
	open       bool          // without the key
	withTries  *int          // gets the number of attempts
}

// reply is an answer of 2xx.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send makes a request, again if that makes sense, and reads the answer. An
// answer that is not 2xx is a failure.
func (s *session) send(ctx context.Context, c call, request func(api *client.Client) (*http.Response, error)) (reply, error) {
	if err := s.connect(); err != nil {
		return reply{}, err
	}
	t := &tries{repeatable: c.repeatable, until: time.Now().Add(s.opt.RetryFor), notice: s.retrying}
	if c.once {
		t.until = time.Time{}
	}
	api, err := client.NewClient(s.opt.Server, client.WithHTTPClient(s.doer(t, c.limit)), s.credentials(c.open))
	if err != nil {
		return reply{}, usage("%v", err)
	}
	resp, err := request(api)
	if c.withTries != nil {
		*c.withTries = t.made
	}
	if ctx.Err() != nil && err != nil {
		return reply{}, context.Cause(ctx)
	}
	if err != nil {
		return reply{}, unreachable(s.opt.Server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return reply{}, context.Cause(ctx)
	case err != nil:
		return reply{}, unreachable(s.opt.Server, fmt.Errorf("the answer broke off: %w", err))
	case len(body) > maxAnswer:
		return reply{}, unreachable(s.opt.Server, fmt.Errorf("an answer of more than %d bytes", maxAnswer))
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return reply{}, refusal(resp, body)
	}
	return reply{resp.StatusCode, resp.Header, body}, nil
}

// doer makes requests with the tries of one call.
func (s *session) doer(t *tries, limit time.Duration) client.HttpRequestDoer {
	if limit == 0 {
		limit = callLimit
	}
	return doer{&retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: s.transport, Timeout: limit,
			// A redirected POST would become a GET: better to say where it wants to go.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax: maxTries, CheckRetry: t.check, Backoff: t.wait, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}}
}

type doer struct{ *retryablehttp.Client }

func (d doer) Do(r *http.Request) (*http.Response, error) {
	again, err := retryablehttp.FromRequest(r)
	if err != nil {
		return nil, err
	}
	return d.Client.Do(again)
}

// credentials are what every request carries.
func (s *session) credentials(open bool) client.ClientOption {
	return client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("User-Agent", program+"/"+or(s.Process.Version, "dev"))
		if s.key != "" && !open {
			r.Header.Set("Authorization", "Bearer "+s.key)
		}
		if s.opt.Project != "" && !open {
			r.Header.Set(projectHeader, s.opt.Project)
		}
		return nil
	})
}

// connect checks the settings of the connection, once.
func (s *session) connect() error {
	if s.transport != nil {
		return nil
	}
	u, err := url.Parse(s.opt.Server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usage(`--server (%s): want a URL such as "https://tasks.example.com"`, envServer)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return usage("--server (%s): must not have user, query or fragment; the key has a setting of its own", envServer)
	}
	if !httpguts.ValidHeaderFieldValue(s.opt.Project) {
		return usage("--project (%s): %q is no name of a project", envProject, s.opt.Project)
	}
	if s.key, err = s.readKey(); err != nil {
		return err
	}
	trust, err := s.authorities()
	if err != nil {
		return err
	}
	env := environment(s.Environ)
	proxy := (&httpproxy.Config{
		HTTPProxy:  or(env.get("HTTP_PROXY"), env.get("http_proxy")),
		HTTPSProxy: or(env.get("HTTPS_PROXY"), env.get("https_proxy")),
		NoProxy:    or(env.get("NO_PROXY"), env.get("no_proxy")),
	}).ProxyFunc()
	s.transport = &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 2 * dialLimit,
		TLSClientConfig:     &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
	}
	return nil
}

// authorities are whom to trust; nil: the system's.
func (s *session) authorities() (*x509.CertPool, error) {
	if s.opt.CAFile == "" {
		return nil, nil //nolint:nilnil // as tls.Config means it
	}
	text, err := os.ReadFile(s.opt.CAFile)
	if err != nil {
		return nil, usage("--ca-file (%s): %v", envCAFile, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usage("--ca-file (%s): there is no certificate in %s", envCAFile, s.opt.CAFile)
	}
	return pool, nil
}

// close ends what the command has begun.
func (s *session) close() {
	s.progress.stop()
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
}

// readKey takes the key from the file that is named, else from the environment.
func (s *session) readKey() (string, error) {
	key, from := environment(s.Environ).get(envKey), envKey
	if s.opt.KeyFile != "" {
		text, err := os.ReadFile(s.opt.KeyFile)
		if err != nil {
			return "", usage("--key-file (%s): %v", envKeyFile, err)
		}
		key, from = strings.TrimSpace(string(text)), s.opt.KeyFile
		if key == "" {
			return "", usage("%s has no key", from)
		}
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usage("the key of %s has characters that a header cannot carry", from)
	}
	return key, nil
}

// retrying tells a person why nothing happens.
func (s *session) retrying(resp *http.Response, err error) {
	if err != nil {
		s.progress.note(asFailure(unreachable(s.opt.Server, err)).Detail + "; trying again")
		return
	}
	s.progress.note(fmt.Sprintf("the server answers %d; trying again", resp.StatusCode))
}

// refusal makes a failure of an answer that is not 2xx.
func refusal(resp *http.Response, body []byte) error {
	title := cmp.Or(http.StatusText(resp.StatusCode), fmt.Sprintf("HTTP %d", resp.StatusCode))
	f := &failure{exit: ExitNo, Status: resp.StatusCode, Code: "http", Title: title}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		f.exit = ExitUnavailable
	}
	f.request = resp.Header.Get("X-Request-ID")
	var p client.Problem
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case kind == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Code != "":
		f.problem, f.Title, f.Code, f.Errors, f.request = compact(body), cmp.Or(p.Title, f.Title), string(p.Code), p.Errors, p.Instance
		if p.Detail != nil {
			f.Detail = *p.Detail
		}
		f.hint = hint(p)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		f.Detail = fmt.Sprintf("the server redirects to %q: is --server right?", resp.Header.Get("Location"))
	default:
		f.Detail = "this is not an answer of Taskgate's: is --server right?"
	}
	return f
}

// hint is what to do about a problem, where the problem does not say it.
func hint(p client.Problem) string {
	switch {
	case p.Code == client.ProblemCodeUnauthenticated:
		return "the key comes from " + envKey + ", or from the file of --key-file"
	case p.Code == client.ProblemCodeEndpointHasTasks:
		return "--force cancels them"
	case p.TaskId != nil:
		return "it is about task " + *p.TaskId
	}
	return ""
}

// compact is a JSON document on one line; what is not JSON stays as it is.
func compact(doc []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil {
		return doc
	}
	return b.Bytes()
}

// decode reads an answer's document.
func decode[T any](r reply) (T, error) {
	var out T
	if err := json.Unmarshal(r.body, &out); err != nil {
		return out, &failure{
			exit: ExitUnavailable, Code: "unreadable", Title: "The answer cannot be read",
			Detail: "this is not an answer of Taskgate's: is --server right?",
		}
	}
	return out, nil
}

// show makes a request and prints the document that answers it.
func show[T any](ctx context.Context, s *session, c call, request func(api *client.Client) (*http.Response, error), people func(doc T) string) error {
	r, err := s.send(ctx, c, request)
	if err != nil {
		return err
	}
	return s.printDoc(r.body, func() (string, error) {
		doc, err := decode[T](r)
		if err != nil {
			return "", err
		}
		return people(doc), nil
	})
}

// input returns what an argument means: its text, @FILE's or, for "-",
// standard input's.
func (s *session) input(arg string) ([]byte, error) {
	name, isFile := strings.CutPrefix(arg, "@")
	var from io.Reader
	switch {
	case arg == "-" || arg == "@-":
		from = s.Stdin
	case isFile:
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("%v", err)
		}
		defer f.Close()
		from = f
	default:
		return []byte(arg), nil
	}
	if from == nil {
		return nil, usage("there is no standard input")
	}
	content, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return nil, usage("read %s: %v", arg, err)
	}
	if len(content) > maxInput {
		return nil, usage("%s is longer than %d MiB", arg, maxInput>>20)
	}
	return content, nil
}

// each does one thing for every argument and goes on after a failure; the
// command then ends as the first failure did.
func (s *session) each(ctx context.Context, names []string, do func(name string) error) error {
	worst := ExitOK
	for _, name := range names {
		var err error
		if name == "" {
			err = usage("an argument is empty")
		} else {
			err = do(name)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		code := ExitOK
		var q quiet
		switch {
		case errors.As(err, &q):
			code = Exit(q)
		case err != nil:
			code = s.report(name, err)
		}
		if worst == ExitOK {
			worst = code
		}
	}
	if worst != ExitOK {
		return quiet(worst)
	}
	return nil
}
