# Each target is what its line says. `make` alone lists them.

CARGO ?= cargo
# How long `make fuzz` goes on.
MINUTES ?= 5
# How many questions `make agree` asks of one record type made to be difficult, and of how many generated types it
# asks as many together; and which ones.
CASES ?= 100000
SCHEMAS ?= 300
SEED ?= $(shell date +%s)

.PHONY: help run test contract faults attack sdk check fmt bench peers agree fuzz openapi image manifests tools postgres redis

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run:  ## Build and start a demo on a sample catalogue
	$(CARGO) build --profile demo --bin cinequery
	@target/demo/cinequery demo

test: postgres redis manifests tools  ## Run the tests, on SQLite and PostgreSQL, but the long ones of `contract`, `faults` and `sdk`
	$(CARGO) test --all-targets
	$(CARGO) test --doc

# What `make test` does of these in a minute, and the rest: long property tests, and a browser.
contract: postgres redis tools  ## Test the specification against the service at length
	contract/tools.sh chromium
	$(CARGO) test --test suite -- contract:: --include-ignored --nocapture

# What `make test` does of these in two minutes, and the rest: longer faults, more kills, more requests.
faults: postgres  ## Break what the service relies on, at length, and test what it does then
	$(CARGO) test --test suite -- faults:: --include-ignored --nocapture --test-threads=1

# For half an hour; FAST=1 takes five minutes and attacks at a lower level.
attack: postgres  ## Attack every parameter with sqlmap
	$(CARGO) build --profile demo --bin cinequery
	contract/attack.sh target/demo/cinequery

sdk: postgres tools  ## Generate SDKs of four languages into target/sdk and prove them
	contract/tools.sh java
	$(CARGO) test --test suite -- clients:: --skip faults:: --include-ignored --nocapture

check:  ## Format, lint and document with warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

fmt:  ## Format the code
	$(CARGO) fmt

bench:  ## Measure the language, stage by stage, and whether signing in tells who exists
	$(CARGO) bench --bench language
	$(CARGO) bench --bench sign_in

# As the service is built, and then beside cql2, whose features pest is built with there.
peers:  ## Compare text to SQL with cql2's parser, in one run
	$(CARGO) bench --bench language -- "text to statement"
	$(CARGO) run --release --target-dir target --manifest-path benches/peers/Cargo.toml

agree: postgres  ## Ask the evaluator, SQLite and PostgreSQL CASES questions, and CASES more of SCHEMAS record types
	AGREE_CASES=$(CASES) AGREE_SCHEMAS=$(SCHEMAS) AGREE_SEED=$(SEED) \
		$(CARGO) test --profile demo --test suite -- agreement --nocapture

fuzz:  ## Fuzz the language for MINUTES
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@mkdir -p fuzz/found
	$(CARGO) fuzz run --sanitizer none query fuzz/found fuzz/corpus/query -- \
		-dict=fuzz/query.dict -max_len=8400 -timeout=5 -max_total_time=$$((60 * $(MINUTES)))

openapi:  ## Write openapi/v1.json from the code
	$(CARGO) run --quiet -- openapi > openapi/v1.json.new
	mv openapi/v1.json.new openapi/v1.json

image:  ## Build the image with docker or buildah, run it, and ask whether it is ready
	@deploy/image.sh

manifests: ## Check deploy/kubernetes.yaml against the schemas of Kubernetes
	@deploy/validate.sh

tools:  ## Install the programs that read the specification, into target/tools
	@contract/tools.sh node

postgres:  ## Find PostgreSQL's server programs, or install them where that may be done
	@tests/support/postgres.sh faults

redis:  ## Find redis-server, or install it where that may be done
	@tests/support/redis.sh
