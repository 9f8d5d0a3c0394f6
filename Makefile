# Every target does its own set-up; results go to build/, downloads and long builds to the cache (HOLDFAST_CACHE).

KERNEL_SERIES ?=
VERSION       ?= 0.1.0
RUN_FLAGS     ?=
BUILD         := go run ./hack/build -series "$(KERNEL_SERIES)" -version $(VERSION)

export CGO_ENABLED ?= 1

.DEFAULT_GOAL := help
.PHONY: help build cli keys run test soak lint bench fuzz reproduce clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

build: ## build the disk image, build/disk.raw
	@$(BUILD)

cli: ## build the command line, build/holdfast
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$(VERSION)" -o build/holdfast ./services/holdfast

keys: ## make the development Secure Boot keys
	@$(BUILD) -only keys

run: build ## boot a node in QEMU and show it (ONCE=1: exit after the summary)
	@go run ./hack/run $(if $(ONCE),-once) $(RUN_FLAGS)

test: build lint ## run every test, those in virtual machines included
	go test -timeout 20m ./kernel/... ./rootfs/... ./init/... ./services/... ./hack/...
	go test -timeout 40m -p 1 -parallel 2 ./tests/...

soak: build ## run the long form of the tests of the supervisor (hours)
	HOLDFAST_SOAK=1 go test -v -timeout 4h -p 1 -parallel 2 ./tests/supervise
	HOLDFAST_SOAK=1 go test -v -timeout 2h -p 1 -parallel 2 -run 'TestServicesComeBackWithoutTheirPods|TestGreedyPodDiesAlone' ./tests/boot

lint: ## check formatting, vet and run the linters
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	@go vet ./...
	@go tool -modfile=hack/lint/go.mod golangci-lint run ./...

bench: build ## measure sizes, boot time and memory, and PID 1 beside systemd
	@go run ./hack/bench

fuzz: ## fuzz every parser for FUZZTIME each (default 10s)
	@go run ./hack/fuzz $(or $(FUZZTIME),10s)

reproduce: ## build the kernel again in a clean directory and compare
	@$(BUILD) -reproduce

clean: ## remove build/ (the cache stays)
	rm -rf build
