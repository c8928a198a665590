SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
# Built once and kept: building it takes minutes, running it seconds.
GOLANGCI := .cache/bin/golangci-lint-$(GOLANGCI_VERSION)

# How long `make fuzz-short` runs each fuzz test, and `make soak` its load.
FUZZTIME ?= 10s
SOAK ?= 10m
# Packages tested at the same time: each may start processes and load the one broker.
TEST_P ?= 2
TEST_FLAGS ?= -race -shuffle=on -timeout=20m -p=$(TEST_P)

REPORT := .cache/bin/testreport

.PHONY: help
help: ## Print this help
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## Build gateway, dispatcher and taskgate into ./bin (static)
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: run
run: build ## Build and start everything in one process, with an echo handler
	./bin/taskgate dev --echo

.PHONY: generate
generate: ## Regenerate what is generated (API, configuration page)
	go generate ./...

.PHONY: fmt
fmt: $(GOLANGCI) ## Format the Go files
	$(GOLANGCI) fmt ./...

.PHONY: clean
clean: ## Remove ./bin and what the tests left behind (not the caches)
	rm -rf bin bench/bin bench/.work coverage.out coverage.html .cache/test.json

##@ Check

.PHONY: test
test: generate-check lint lint-contract vet need-tools $(REPORT) ## Run every check and test, RabbitMQ and Redis included
	TASKGATE_WEBHOOK_EXAMPLES="$$(scripts/fixtures)"; export TASKGATE_WEBHOOK_EXAMPLES; \
	TASKGATE_NODE_TOOLS="$$(scripts/node-tools)"; export TASKGATE_NODE_TOOLS; \
	PATH="$$(scripts/node-bin):$$PATH"; export PATH; \
	export TASKGATE_REQUIRE_SERVICES=1 CGO_ENABLED=1; \
	scripts/services run -- go test -json $(TEST_FLAGS) ./... | $(REPORT) -save .cache/test.json

.PHONY: test-short
test-short: $(REPORT) ## Run the tests that need no server
	go test -json -short -shuffle=on -timeout=5m ./... | $(REPORT)

.PHONY: lint
lint: $(GOLANGCI) ## Lint and check the format
	$(GOLANGCI) run ./...

.PHONY: lint-contract
lint-contract: ## Lint openapi.yaml
	export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true; \
	tools="$$(scripts/node-tools)"; PATH="$$(scripts/node-bin):$$PATH"; \
	"$$tools"/node_modules/.bin/redocly lint --format=stylish openapi.yaml 2>&1 | sed '/[╔║╚]/d'

.PHONY: vet
vet: ## Run go vet
	go vet ./...

.PHONY: generate-check
generate-check: ## Fail when a generated file is stale
	scripts/generate-check

.PHONY: fuzz-short
fuzz-short: ## Run each fuzz test for FUZZTIME (10s)
	scripts/fuzz $(FUZZTIME)

.PHONY: soak
soak: $(REPORT) ## Run the load with a failing handler for SOAK (10m), on both backends
	export TASKGATE_REQUIRE_SERVICES=1 TASKGATE_SOAK=$(SOAK); \
	scripts/services run -- go test -json -count=1 -timeout=24h -run 'Soak' ./e2e/... | $(REPORT)

# CHAOS chooses scenarios by a pattern, as CHAOS=kill/embedded; the report is written by a whole run only.
CHAOS ?=

.PHONY: chaos
chaos: $(REPORT) ## Kill, cut and starve everything under load (25m), into docs/reliability.md
	export TASKGATE_REQUIRE_SERVICES=1 $(if $(CHAOS),,TASKGATE_CHAOS_REPORT="$(CURDIR)/docs/reliability.md"); \
	go test -json -v -tags chaos -count=1 -timeout=60m -run 'TestChaos/$(CHAOS)' ./e2e/chaos | $(REPORT) -save .cache/chaos.json

.PHONY: chaos-short
chaos-short: $(REPORT) ## The same, smaller (4m); make test runs it, too
	export TASKGATE_REQUIRE_SERVICES=1; \
	go test -json -v -race -count=1 -timeout=20m -run 'TestChaos/$(CHAOS)' ./e2e/chaos | $(REPORT)

.PHONY: cover
cover: ## Measure coverage over all packages, services included, into coverage.html
	export TASKGATE_REQUIRE_SERVICES=1; \
	TASKGATE_WEBHOOK_EXAMPLES="$$(scripts/fixtures)"; export TASKGATE_WEBHOOK_EXAMPLES; \
	TASKGATE_NODE_TOOLS="$$(scripts/node-tools)"; export TASKGATE_NODE_TOOLS; \
	PATH="$$(scripts/node-bin):$$PATH"; export PATH; \
	scripts/services run -- go test -p=$(TEST_P) -coverpkg=./... -coverprofile=coverage.out ./...
	go tool cover -html=coverage.out -o coverage.html
	go tool cover -func=coverage.out | tail -n 1

##@ Bench

# A module of its own: its peers' libraries are none of the product's.
BENCH := bench/bin/bench

.PHONY: bench
bench: bench-build ## Measure against the bare chain and the peers (45m) into bench/RESULTS.md
	bench/tools
	$(BENCH) run -out bench/RESULTS.md

.PHONY: bench-short
bench-short: bench-build ## Measure against the bare chain (2m); fail on a gross loss only
	$(BENCH) short

.PHONY: bench-profile
bench-profile: bench-build ## Profile the standard job, on services and embedded
	$(BENCH) profile -system services
	$(BENCH) profile -system embedded

.PHONY: bench-build
bench-build: build
	cd bench && CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: bench-check
bench-check: $(GOLANGCI) ## Vet, lint and test the bench itself
	cd bench && go vet ./... && ../$(GOLANGCI) run ./... && go test -shuffle=on -timeout=5m ./...

##@ Services

.PHONY: services-up
services-up: ## Start RabbitMQ and Redis for tests and print their URLs
	@scripts/services up

.PHONY: services-down
services-down: ## Stop what services-up started
	@scripts/services down

# The race detector needs a C compiler, the test that pastes the printed lines curl, the one of
# docs/receiving.md Python, and that of the alert rules promtool. Node and npm are installed by the
# scripts that use them.
.PHONY: need-tools
need-tools:
	@command -v gcc >/dev/null || scripts/apt-install gcc libc6-dev
	@command -v curl >/dev/null || scripts/apt-install curl
	@command -v python3 >/dev/null || scripts/apt-install python3
	@command -v promtool >/dev/null || scripts/apt-install prometheus
	@PATH="$$PATH:/usr/sbin" command -v haproxy >/dev/null || scripts/apt-install haproxy

$(GOLANGCI): lint.mod lint.sum
	@echo "building golangci-lint $(GOLANGCI_VERSION), once"
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -modfile=lint.mod -trimpath -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

.PHONY: $(REPORT)
$(REPORT):
	@CGO_ENABLED=0 go build -o $@ ./scripts/testreport
