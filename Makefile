# make build  builds the tool, and the runner that 'dustin compile' makes executables of
# make demo   reads a book and goes on writing it; TOKENS=4000 reads less of it
# make test   builds and runs all tests
# make fuzz   tries 100,000 broken modules, pipelines and command lines; FUZZ=1000000 tries more
# Both install what is missing: llvm-dev and libopenblas-dev (as root or with sudo).

SHELL := /bin/bash
TOKENS ?= 32000
NEW ?= 200
FUZZ ?= 100000
# Plug-ins use the tool's symbols; the manifest stays free of unsafe flags.
TOOL_FLAGS := -Xlinker --export-dynamic
# Tests see the modules' internals, which needs a build of its own.
TEST_FLAGS := $(TOOL_FLAGS) -c release -Xswiftc -enable-testing --scratch-path .build/testing

# The runner needs no library at the place where it runs: flags that a package may not set, and so a build of its own.
RUNNER := .build/runner
RUNNER_FLAGS := -c release --scratch-path $(RUNNER)
# What lies beside the tool.
BESIDE := dustin-runner-static dustin-runtime.o

.PHONY: build demo runner test fuzz packages format format-check docs

build: packages runner
	swift build -c release $(TOOL_FLAGS) --product dustin
	for file in $(BESIDE); do cp $(RUNNER)/$$file .build/release/$$file.new && mv .build/release/$$file.new .build/release/$$file; done

# What executables and bundles are made of. Swift's library could open others if it were asked to, about which the linker
# warns: nothing asks.
runner:
	set -o pipefail; swift build $(RUNNER_FLAGS) --product dustin-runner -Xswiftc -static-executable -Xlinker -s 2>&1 \
	  | { grep -v "Using 'dlopen' in statically linked" || true; }
	cp $(RUNNER)/release/dustin-runner $(RUNNER)/dustin-runner-static
	swift build $(RUNNER_FLAGS) --product DustinBundle -Xswiftc -static-executable -Xlinker -s
	.ci/link-runtime $(RUNNER)/release/libDustinBundle.a $(RUNNER)/dustin-runtime.o

demo: build
	TOKENS=$(TOKENS) NEW=$(NEW) examples/run-a-book/run.sh

test: packages runner
	swift build $(TEST_FLAGS) --build-tests
	swift test $(TEST_FLAGS) --skip-build --disable-swift-testing

fuzz: packages
	swift build $(TEST_FLAGS) --build-tests
	DUSTIN_FUZZ=$(FUZZ) swift test $(TEST_FLAGS) --skip-build --disable-swift-testing --filter FuzzTests

packages:
	@.ci/packages

format:
	swift format -i -r Package.swift Sources Tests examples

format-check:
	swift format lint --strict -r Package.swift Sources Tests examples

# The public API and the pages of Docs as a web site: .build/docs, to be shown by any web server. Needs no network.
docs: build
	.ci/docs .build/release .build/docs
