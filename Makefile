# mfctl: build, try, test, measure, install. `make` alone lists the targets.
#
# `demo` and `test` share the dev profile, so that the dependencies are built once. What `install` puts on a machine, and
# what `bench` measures, is built by the `dist` profile (whole-program optimisation, stripped).

CARGO      ?= cargo
PREFIX     ?= /usr/local
DESTDIR    ?=
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
MFCTL      := $(TARGET_DIR)/debug/mfctl
SHIPPED    := $(TARGET_DIR)/dist/mfctl
# Pinned: a linter that changes under us fails builds that changed nothing.
MARKDOWNLINT := markdownlint-cli2@0.21.0
GENERATED  := completions schemas docs/reference
# Tests start processes and wait for them: one more runs at a time than there are processors.
RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) + 1)))
# Tests on real servers often wait, and each has names of its own on the servers: more of them run at once than there are
# cores. Those that write gigabytes stall every fsync of the servers for up to a minute, so they run one at a time after the
# others. Outages break the servers for every other test, and the kills of stack/stack start another stack: these run by
# themselves. The tests with the release before need its program.
REAL_TEST_THREADS ?= 4
DISK_HEAVY := large:: faults::hostile::
REAL_TESTS := --skip outages:: --skip stack_kills:: --skip release_before:: --test-threads=$(REAL_TEST_THREADS)
OUTAGES    := outages:: --test-threads=1
# Of each profile. Pauses of up to 40 s outlast every timeout: sessions end after 10 s, transactions after 15 s.
SOAK       := MFCTL_TEST_FAULTS=$${MFCTL_TEST_FAULTS:-300} MFCTL_TEST_FILES=$${MFCTL_TEST_FILES:-2400} \
              MFCTL_TEST_LONGEST_PAUSE=$${MFCTL_TEST_LONGEST_PAUSE:-40} MFCTL_TEST_MINUTES=$${MFCTL_TEST_MINUTES:-45}
# The commit of the release before, whose workers may run beside those of this one, and its program.
RELEASE_BEFORE ?= 76da124
BEFORE_DIR := $(abspath $(TARGET_DIR))/release-before
PROGRAM_BEFORE := $(BEFORE_DIR)/$(RELEASE_BEFORE)/dist/mfctl

bindir  := $(DESTDIR)$(PREFIX)/bin
mandir  := $(DESTDIR)$(PREFIX)/share/man/man1
bashdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
zshdir  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
fishdir := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.DEFAULT_GOAL := help
.PHONY: help prerequisites demo build test lint lint-files lint-format lint-rust lint-docs lint-schemas lint-dependencies fmt \
        bench bench-memory bench-real generate check-generated stack-up stack-status stack-env stack-down test-real \
        build-test-real test-stack-kills test-outages test-upgrade soak test-compose install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

prerequisites:
	@scripts/prerequisites

demo: build ## run the whole job on the sample media and show what happened
	@$(MFCTL) demo

build: prerequisites ## build target/debug/mfctl
	$(CARGO) build --locked

test: prerequisites ## run every test
	RUST_TEST_THREADS=$(RUST_TEST_THREADS) $(CARGO) test --locked $(TEST_ARGS)

lint: lint-files lint-rust ## check format, lints, documents, schemas and licences

lint-files: lint-format lint-docs lint-schemas lint-dependencies

lint-format: prerequisites
	$(CARGO) fmt --check

lint-rust: prerequisites
	$(CARGO) clippy --all-targets --locked -- -D warnings
	# `--all-targets` leaves out the tests that need the real servers.
	$(CARGO) clippy --test real --locked -- -D warnings

lint-docs:
	@command -v npx >/dev/null || { echo 'make lint needs npx (Node.js 20 or newer) to check the documents' >&2; exit 1; }
	npx --yes $(MARKDOWNLINT)

lint-schemas:
	@scripts/check-schemas

lint-dependencies:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --all-features check bans licenses sources; \
	else \
	  echo 'skipped: cargo deny is not installed (cargo install cargo-deny); make test still checks the licences'; \
	fi

stack-up: ## install and start the real servers on this machine: Kafka, MinIO, PostgreSQL, PostgREST, registry
	@stack/stack up

stack-status: ## each server: up or down, pid, memory, health, ports
	@stack/stack status

stack-env: ## the servers' addresses and keys, as shell lines
	@stack/stack env

stack-down: ## stop what stack-up started; the data stays
	@stack/stack down

test-real: prerequisites stack-up ## run the tests that need the real servers
	stack_env=$$(stack/stack env) && eval "$$stack_env" && $(if $(TEST_ARGS),\
	  $(CARGO) test --locked --test real $(TEST_ARGS) -- $(REAL_TESTS),\
	  $(CARGO) test --locked --test real -- $(REAL_TESTS) $(DISK_HEAVY:%=--skip %) && \
	  $(CARGO) test --locked --test real -- $(DISK_HEAVY) --test-threads=1)

build-test-real: prerequisites
	$(CARGO) test --locked --test real --bench '*' --no-run

test-stack-kills: prerequisites ## kill stack/stack at random moments and in each step, and bring it up again
	$(CARGO) test --locked --test real $(TEST_ARGS) -- stack_kills:: --test-threads=1

test-outages: prerequisites stack-up ## kill the real servers and cut their network while files go through
	stack_env=$$(stack/stack env) && eval "$$stack_env" && $(CARGO) test --locked --test real $(TEST_ARGS) -- $(OUTAGES)

test-upgrade: prerequisites stack-up $(PROGRAM_BEFORE) ## run workers of the release before beside those of this one
	stack_env=$$(stack/stack env) && eval "$$stack_env" && MFCTL_RELEASE_BEFORE=$(PROGRAM_BEFORE) \
	  $(CARGO) test --locked --test real $(TEST_ARGS) -- release_before:: --test-threads=1

$(PROGRAM_BEFORE):
	rm -rf "$(BEFORE_DIR)/source" && git worktree prune
	git worktree add --detach "$(BEFORE_DIR)/source" $(RELEASE_BEFORE)
	cd "$(BEFORE_DIR)/source" && CARGO_TARGET_DIR="$(BEFORE_DIR)/$(RELEASE_BEFORE)" $(CARGO) build --profile dist --locked
	git worktree remove --force "$(BEFORE_DIR)/source"

soak: prerequisites stack-up ## kill and pause processes and servers 600 times on both profiles (MFCTL_TEST_FAULTS for each)
	export $(SOAK) && $(CARGO) test --locked --test main -- --nocapture faults::campaign
	export $(SOAK) && stack_env=$$(stack/stack env) && eval "$$stack_env" && MFCTL_TEST_SERVERS=1 \
	  $(CARGO) test --locked --test real -- --nocapture campaign_on_two_hosts

test-compose: ## the same tests against the upstream images (needs Docker)
	@stack/compose up
	stack_env=$$(stack/compose env) && eval "$$stack_env" && $(CARGO) test --locked --test real $(TEST_ARGS) -- $(REAL_TESTS)

fmt: ## format the sources
	$(CARGO) fmt

bench: $(SHIPPED) ## measure speed and memory beside peers (RESULTS=1 keeps the table, BENCH_LARGE=1 adds 200,000 files)
	@MFCTL=$(SHIPPED) bench/run

bench-memory: $(SHIPPED) ## compare the memory of worker persist over 10,000 and 200,000 events
	@MFCTL=$(SHIPPED) STRICT=1 bench/memory

bench-real: $(SHIPPED) stack-up ## measure speed and memory on the real servers, beside s5cmd, rclone and librdkafka
	@peers=$$(bench/peers) && stack_env=$$(stack/stack env) && eval "$$stack_env" && \
	  PATH="$$peers:$$PATH" MFCTL=$(SHIPPED) CARGO=$(CARGO) bench/real

generate: build ## write completions/, schemas/ and docs/reference/ from the code
	$(MFCTL) __generate

check-generated: generate ## fail when the generated files are not those of the code
	@changed=$$(git status --porcelain -- $(GENERATED)); \
	if [ -n "$$changed" ]; then \
	  git --no-pager diff -- $(GENERATED) | head -60; \
	  printf 'generated files differ from the code; run make generate and commit:\n%s\n' "$$changed" >&2; exit 1; \
	fi

$(SHIPPED): prerequisites
	$(CARGO) build --profile dist --locked

install: $(SHIPPED) ## install the binary, man pages and completions under PREFIX (/usr/local)
	install -d "$(bindir)" "$(mandir)" "$(bashdir)" "$(zshdir)" "$(fishdir)"
	install -m 755 $(SHIPPED) "$(bindir)/mfctl"
	$(SHIPPED) man --dir "$(mandir)"
	install -m 644 completions/mfctl.bash "$(bashdir)/mfctl"
	install -m 644 completions/_mfctl "$(zshdir)/_mfctl"
	install -m 644 completions/mfctl.fish "$(fishdir)/mfctl.fish"

uninstall: ## remove what install put there
	rm -f "$(bindir)/mfctl" "$(mandir)"/mfctl.1 "$(mandir)"/mfctl-*.1 "$(bashdir)/mfctl" "$(zshdir)/_mfctl" "$(fishdir)/mfctl.fish"

clean: ## remove what was built (never a data folder)
	$(CARGO) clean
