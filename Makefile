SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL: # set-up comes before building, building before testing; go builds in parallel by itself

include tools/versions.mk

# What `make bench` is told: make bench ONLY=lifted-sqlite-csr DEVICES=20000 RUNS=1 WORKERS=2
BENCH_FLAGS = $(if $(ONLY),-only '$(ONLY)') $(if $(RUNS),-runs $(RUNS)) $(if $(DEVICES),-devices $(DEVICES)) $(if $(WORKERS),-workers $(WORKERS))

# The version is part of the path: another version is another file, and so is installed.
STATICCHECK   := bin/tools/staticcheck@$(STATICCHECK_VERSION)/staticcheck
WORKFLOWCHECK := bin/tools/workflowcheck@$(WORKFLOWCHECK_VERSION)/workflowcheck

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: setup-build bin/starter bin/worker bin/temporal ## bin/starter, bin/worker and bin/temporal

.PHONY: demo
demo: setup-demo build ## three devices, provisioned and proven on this machine
	examples/demo.sh

.PHONY: dev
dev: build ## Temporal, local AWS and a worker on this machine, until Ctrl-C
	exec bin/starter dev

.PHONY: lint
lint: $(STATICCHECK) $(WORKFLOWCHECK) ## formatting, go vet, staticcheck, determinism of the workflows
	@unformatted=$$(gofmt -l .); if [[ $$unformatted ]]; then printf 'not gofmt-ed:\n%s\n' "$$unformatted"; exit 1; fi
	go mod tidy -diff
	go vet ./...
	$(STATICCHECK) ./...
	$(WORKFLOWCHECK) ./workflows/...

.PHONY: test
test: setup-test build lint ## everything that decides whether the project works
	go mod verify
	go test -race -timeout 15m ./activities/... ./internal/... ./starter/... ./worker/... ./workflows/...
	go test -count=1 -timeout 30m ./test/...

.PHONY: chaos
chaos: build ## every AWS call failing in every way, and every refusal and cancellation; half an hour
	EDGEFLEET_CHAOS=all go test -count=1 -v -timeout 90m -run '^Test(CrashMatrix|TemporalKilled|OnboardingSurvives|Cancellation|Refusal|UndoRefused|LostForGood)$$' ./test/

.PHONY: bench
bench: setup-bench build bin/temporal-server ## devices a second, latency, memory, storage, into docs/performance.md; half an hour
	go run -buildvcs=false ./test/bench $(BENCH_FLAGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

setup-%:
	@tools/setup.sh $*

# Always built anew: go's own cache knows better than make what has changed. No version-control
# stamp, for it fails in a checkout that belongs to another user.
bin/starter bin/worker: bin/%: FORCE
	go build -trimpath -buildvcs=false -o $@ ./$*

bin/temporal: FORCE
	@tools/temporal.sh $(TEMPORAL_VERSION)

bin/temporal-server: FORCE
	@tools/temporal-server.sh $(TEMPORAL_SERVER_VERSION)

$(STATICCHECK):
	GOBIN="$(CURDIR)/$(@D)" go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

$(WORKFLOWCHECK):
	GOBIN="$(CURDIR)/$(@D)" go install go.temporal.io/sdk/contrib/tools/workflowcheck@$(WORKFLOWCHECK_VERSION)

FORCE:
