# make demo   reads a book and goes on writing it; TOKENS=4000 reads less of it
# make test   builds and runs all tests
# Both install what is missing: llvm-dev and libopenblas-dev (as root or with sudo).

SHELL := /bin/bash
TOKENS ?= 32000
NEW ?= 200
# Tests see the modules' internals, which needs a build of its own.
# Plug-ins use the tool's symbols; the manifest stays free of unsafe flags.
TOOL_FLAGS := -Xlinker --export-dynamic
TEST_FLAGS := $(TOOL_FLAGS) -c release -Xswiftc -enable-testing --scratch-path .build/testing

.PHONY: build demo test packages format format-check

build: packages
	swift build -c release $(TOOL_FLAGS) --product dustin

demo: build
	TOKENS=$(TOKENS) NEW=$(NEW) examples/run-a-book/run.sh

test: packages
	swift build $(TEST_FLAGS) --build-tests
	swift test $(TEST_FLAGS) --skip-build --disable-swift-testing

packages:
	@.ci/packages

format:
	swift format -i -r Package.swift Sources Tests examples

format-check:
	swift format lint --strict -r Package.swift Sources Tests examples
