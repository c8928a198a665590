// Package gen is generated from openapi.yaml: the API's types, and the
// interface and routes of its server.
package gen

//go:generate go tool -modfile=../../../tools.mod oapi-codegen -config config.yaml ../../../openapi.yaml
