# Two commands do everything on a machine with Go, git and make: make demo, make test.

# Trivy needs it to build; see README.md.
export GOEXPERIMENT = jsonv2

GO       ?= go
BIN      := bin
# The tools whose word the tests take are built from this module's own graph, so their versions are pinned.
COSIGN   := $(BIN)/cosign
TRIVY    := $(BIN)/trivy
SYFT     := $(BIN)/syft
# Gitea is pinned by a module of its own: internal/testenv/gitea/README.md.
GITEA    := $(BIN)/gitea
# So are the readers of container runtimes: internal/testenv/runtimes/README.md.
RUNTIMES := $(BIN)/runtimes
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 20s

.PHONY: help build demo test test-race fuzz lint test-crash e2e-real e2e-gitea bench bench-intake bench-line bench-large bench-memory clean self-scan test-hostile test-runtimes bench-rescan hint-test FORCE

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 24

build: $(BIN)/pratique ## build bin/pratique

$(BIN)/pratique: FORCE
	@mkdir -p $(BIN)
	@echo "Building $@: the first time takes about ten minutes, with a line for each package that is compiled; later ones about half a minute."
	$(GO) build -v -buildvcs=auto -ldflags "-s -w" -o $@ ./cmd/pratique

demo: build ## run the whole line on this machine: one image is committed, one is denied
	$(BIN)/pratique demo

test: hint-test $(COSIGN) ## all quick tests
	@echo "2 of 3: go vet, silent for a minute or two"
	$(GO) vet ./...
	@echo "3 of 3: the tests; each package has its line when it ends, and every 20 s one says what is running"
	PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) $(GO) run ./internal/testenv/testprogress -timeout 30m ./...

hint-test:
	@echo "About five minutes on two cores with everything built, and about ten more the first time. 1 of 3: $(COSIGN), whose word some tests take"

$(COSIGN): go.mod
	@mkdir -p $(BIN)
	$(GO) build -v -o $@ github.com/sigstore/cosign/v2/cmd/cosign

$(TRIVY): go.mod
	@mkdir -p $(BIN)
	$(GO) build -o $@ github.com/aquasecurity/trivy/cmd/trivy

$(SYFT): go.mod
	@mkdir -p $(BIN)
	$(GO) build -o $@ github.com/anchore/syft/cmd/syft

KILLS ?= 200
CUTS  ?= 100

# Cutting the power needs root and /dev/fuse; make test-crash CUTS= leaves it out where they are not to be had.
test-crash: $(COSIGN) ## kill the service at every edge of every stage, and KILLS times under load; cut its power CUTS times
	PRATIQUE_TEST_ALL_EDGES=1 PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) $(GO) test -count=1 -timeout 20m -run TestCrashAtEveryEdge ./cmd/pratique/e2e
	PRATIQUE_TEST_KILLS=$(KILLS) PRATIQUE_TEST_CUTS=$(CUTS) $(GO) test -count=1 -v -timeout 40m -run TestAcknowledged ./cmd/pratique/e2e

test-hostile: ## images made to do harm, in their full sizes, through the whole service
	PRATIQUE_TEST_HOSTILE=1 $(GO) test -count=1 -v -timeout 30m -run '^TestHostileImages$$' ./cmd/pratique/e2e

$(RUNTIMES): $(wildcard internal/testenv/runtimes/*)
	@mkdir -p $(BIN)
	$(GO) build -C internal/testenv/runtimes -o $(CURDIR)/$@ .

test-runtimes: $(RUNTIMES) ## what containers/image and containerd choose from random indexes is what is evaluated
	PRATIQUE_RUNTIMES=$(CURDIR)/$(RUNTIMES) $(GO) test -count=1 -v -run '^TestAgainstRuntimes$$' ./internal/registry

test-race: $(COSIGN) ## all tests under the race detector
	PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) $(GO) test -race -timeout 40m ./...

fuzz: ## each fuzz target for FUZZTIME
	@set -e; $(GO) list -f '{{$$d := .Dir}}{{range .TestGoFiles}}{{$$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$d}}/{{.}} {{end}}' ./... \
	  | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sort -u | while IFS=: read -r file func; do \
	    echo "$$func in $$(dirname $$file)"; \
	    $(GO) test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname $$file)"; done

lint: ## the linter, from the module proxy
	$(GO) run $(LINT) run ./...

e2e-real: build $(COSIGN) $(TRIVY) $(SYFT) ## the line over real images and a real database: make e2e-real DATA=DIR
	@test -n "$(DATA)" || { echo "say where the data are: make e2e-real DATA=DIR" >&2; exit 2; }
	PRATIQUE_TEST_DATA=$(abspath $(DATA)) PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) PRATIQUE_TRIVY=$(CURDIR)/$(TRIVY) PRATIQUE_SYFT=$(CURDIR)/$(SYFT) \
	  $(GO) test -count=1 -v -timeout 30m -run 'Real|AgainstCommandLine' ./cmd/pratique/e2e ./scanner/... ./sbom/...

$(GITEA): internal/testenv/gitea/go.mod
	@mkdir -p $(BIN)
	$(GO) build -C internal/testenv/gitea -tags "sqlite sqlite_unlock_notify" -ldflags "-s -w" -o $(CURDIR)/$@ code.gitea.io/gitea

e2e-gitea: $(GITEA) $(COSIGN) ## webhook to verdict against a real Gitea (it takes minutes to build)
	PRATIQUE_GITEA=$(CURDIR)/$(GITEA) PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) $(GO) test -count=1 -v -timeout 10m -run '^TestRealGitea' ./cmd/pratique/e2e

bench: ## the benchmarks of all packages; with DATA=DIR also bench-line, bench-large and bench-rescan
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(if $(DATA),$(MAKE) bench-line bench-large bench-rescan)

bench-intake: ## webhooks acknowledged a second, beside publishes to JetStream that syncs each
	$(GO) test -run '^$$' -bench Intake -benchtime 5s -count 3 ./cmd/pratique/e2e

bench-line: build $(COSIGN) $(TRIVY) $(SYFT) ## push to commit, beside the command lines: make bench-line DATA=DIR [REPETITIONS=5]
	@test -n "$(DATA)" || { echo "say where the data are: make bench-line DATA=DIR" >&2; exit 2; }
	PRATIQUE_TEST_DATA=$(abspath $(DATA)) PRATIQUE_BENCH_REPETITIONS=$(REPETITIONS) PRATIQUE_BINARY=$(CURDIR)/$(BIN)/pratique \
	  PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) PRATIQUE_TRIVY=$(CURDIR)/$(TRIVY) PRATIQUE_SYFT=$(CURDIR)/$(SYFT) \
	  $(GO) test -count=1 -v -timeout 60m -run '^TestSideBySide$$' ./cmd/pratique/e2e

bench-large: build $(COSIGN) $(TRIVY) $(SYFT) ## an image of 1 GiB, with the most memory held: make bench-large DATA=DIR
	@test -n "$(DATA)" || { echo "say where the data are: make bench-large DATA=DIR" >&2; exit 2; }
	PRATIQUE_TEST_DATA=$(abspath $(DATA)) PRATIQUE_BINARY=$(CURDIR)/$(BIN)/pratique \
	  PRATIQUE_COSIGN=$(CURDIR)/$(COSIGN) PRATIQUE_TRIVY=$(CURDIR)/$(TRIVY) PRATIQUE_SYFT=$(CURDIR)/$(SYFT) \
	  $(GO) test -count=1 -v -timeout 30m -run '^TestLargeImage$$' ./cmd/pratique/e2e

bench-memory: build ## what the service and its children hold after 18 images, and at rest: make bench-memory DATA=DIR
	@test -n "$(DATA)" || { echo "say where the data are: make bench-memory DATA=DIR" >&2; exit 2; }
	PRATIQUE_TEST_DATA=$(abspath $(DATA)) PRATIQUE_BINARY=$(CURDIR)/$(BIN)/pratique \
	  $(GO) test -count=1 -v -timeout 10m -run '^TestMemoryAtRest$$' ./cmd/pratique/e2e

bench-rescan: $(TRIVY) ## a database change over IMAGES images, beside trivy: make bench-rescan DATA=DIR [IMAGES=10000]
	@test -n "$(DATA)" || { echo "say where the data are: make bench-rescan DATA=DIR" >&2; exit 2; }
	PRATIQUE_TEST_DATA=$(abspath $(DATA)) PRATIQUE_BENCH_IMAGES=$(IMAGES) PRATIQUE_TRIVY=$(CURDIR)/$(TRIVY) \
	  $(GO) test -count=1 -v -timeout 60m -run '^TestRescanBench$$' ./cmd/pratique/e2e

# DATABASE is what pratique db import takes, REF the artifact in it if there are several. Without it the newest is downloaded.
self-scan: build ## evaluate an image of the binary with our own policy: make self-scan [DATABASE=FILE [REF=NAME]]
	.ci/self-scan $(BIN)/pratique $(DATABASE) $(REF)

clean: ## remove what make built
	rm -rf $(BIN)
