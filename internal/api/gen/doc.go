package gen //nolint:revive // its comment is generated

//go:generate go tool -modfile=../../../tools.mod oapi-codegen -config config.yaml ../../../openapi.yaml
