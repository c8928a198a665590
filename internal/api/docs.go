package api

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for the page
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// The reference page, and the renderer that scripts/docs-bundle writes. It
// reads /openapi.yaml in the browser and asks nobody else.
var (
	//go:embed docs/page.html
	docsPage []byte
	//go:embed docs/redoc.js.gz
	docsScript []byte
	//go:embed docs/redoc.LICENSE.txt
	docsLicence []byte
)

// docsPolicy lets the page run its own script and read the contract. The
// renderer styles by elements that it makes, and searches in a worker made of
// a blob.
const docsPolicy = "default-src 'none'; script-src 'self'; worker-src blob:; connect-src 'self'; style-src 'unsafe-inline'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// GetDocs serves the reference as a page.
func (s *Server) GetDocs(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	return c.Blob(http.StatusOK, mediaHTML, docsPage)
}

// docsAssets are no operations: only the page asks for them.
func (s *Server) docsAssets() {
	s.echo.GET("/docs/redoc.js", serveScript)
	s.echo.GET("/docs/redoc.LICENSE.txt", func(c echo.Context) error {
		return c.Blob(http.StatusOK, "text/plain; charset=utf-8", docsLicence)
	})
}

func serveScript(c echo.Context) error {
	h := c.Response().Header()
	h.Set(echo.HeaderCacheControl, "public, max-age=86400")
	h.Set(echo.HeaderVary, echo.HeaderAcceptEncoding)
	const media = "text/javascript; charset=utf-8"
	if strings.Contains(c.Request().Header.Get(echo.HeaderAcceptEncoding), "gzip") {
		h.Set(echo.HeaderContentEncoding, "gzip")
		return c.Blob(http.StatusOK, media, docsScript)
	}
	plain, err := gzip.NewReader(bytes.NewReader(docsScript))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, media, text)
}
