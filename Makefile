# make run    build holdfast and start its tour: needs Go and npm only
# make test   install the servers that the tests need, check, build, run every test
# The other targets are parts of these two, and the long measurements.

SHELL       := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
# The product has no cgo; with one setting for all, nothing is compiled twice but for the race detector.
PLAIN       := CGO_ENABLED=0
# No path of the machine is in a binary, and what was compiled in one directory serves in another. Under the race
# detector, which needs cgo, Pebble has the zstd of the product all the same, and no C is compiled.
export GOFLAGS := $(GOFLAGS) -trimpath -tags=pebblegozstd
# A test that hangs is a failure, with every goroutine's stack.
TIMEOUT     ?= 25m
# A process under the race detector that ends well sleeps a second first, for a race of goroutines that
# nobody waits for. Ours are waited for, and the tests start hundreds of processes.
export GORACE ?= atexit_sleep_ms=10

# The packages that take longest begin first, so that none of them runs alone at the end.
LONGEST := $(addprefix ./,tests/weather connector/clickhouse tests/transfer tests/whole tests/crash face/cli tests/ui \
	connector/httppush connector/influxdb connector/files job/stream/processor job/stream/serve \
	job/stream/streamer job/stream/ingester kernel/store/forensic kernel/store connector/nats \
	kernel/checkpoint job/collect)

# What the console is built of, and what the build leaves, which the binary embeds.
UI       := face/ui
CONSOLE  := $(UI)/page/built/index.html
UI_PARTS := $(shell find $(UI)/src -type f) $(addprefix $(UI)/,index.html package.json package-lock.json tsconfig.json vite.config.ts)
UI_TOOLS := $(UI)/node_modules/.package-lock.json

.PHONY: run test check build package bench torture deps console

run: build
	bin/holdfast demo

build: console
	$(PLAIN) go build -ldflags "-s -w" -o bin/holdfast .

# .deb and .rpm of amd64 and arm64, into build/package.
package: console
	@scripts/package.sh

# Without npm the binary is whole all the same: it has a page then that says how to get the console.
ifeq ($(shell command -v npm),)
console:
	@echo "npm is missing: holdfast is built without its console (install Node.js 20.19 or later, and run make again)"
else
console: $(CONSOLE)
endif

$(CONSOLE): $(UI_PARTS) $(UI_TOOLS)
	cd $(UI) && npm run --silent build

# npm writes the file last: one that is there stands for a whole installation.
$(UI_TOOLS): $(UI)/package.json $(UI)/package-lock.json
	cd $(UI) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Twice as many packages at a time as there are cores, for many of them wait for servers, disks and
# time. But nothing may run beside a TestTimed: it measures how soon a gate opens, and what a role that waits costs.
# What go test would vet, check has vetted.
test: deps check build
	go test -race -vet=off -p $$(($$(nproc) * 2)) -timeout $(TIMEOUT) -skip '^TestTimed' $(LONGEST) \
		$$(go list ./... | grep -v '/bench$$')
	go test -race -vet=off -p 1 -timeout $(TIMEOUT) -run '^TestTimed' ./tests/weather ./tests/ui
	@scripts/deps.sh missing

# Format, vet, staticcheck, and the direction of the imports.
check:
	@unformatted=$$(gofmt -l .); if [[ -n $$unformatted ]]; then \
		echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(PLAIN) go vet ./...
	$(PLAIN) go run $(STATICCHECK) ./...
	$(PLAIN) go test -count=1 -run '^TestArrows' ./tests

# Speed and memory against peers and bounds, on the plain binary.
bench: deps build
	go test -count=1 -timeout 120m -run '^Test' -bench . -v ./bench/...

# Every kill, power-cut and damage campaign at its full count.
torture: deps build
	HOLDFAST_TORTURE=1 go test -count=1 -timeout 180m -skip '^TestTimed' $$(go list ./... | grep -v '/bench$$')
	go test -count=1 -p 1 -timeout 20m -run '^TestTimed' ./tests/weather ./tests/ui

deps:
	@scripts/deps.sh
