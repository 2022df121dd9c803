# `make` without a target lists the targets with their descriptions.

CARGO ?= cargo
# How many minutes `make fuzz` runs.
MINUTES ?= 5
TARGET ?= query
# `make agree`: the number of queries against the hand-written record type, the number of generated record types that
# share as many queries again, and the random seed.
CASES ?= 100000
SCHEMAS ?= 300
SEED ?= $(shell date +%s)

.PHONY: help run test contract console faults attack sdk check fmt bench load plans regress peers agree fuzz openapi docs pictures image manifests tools postgres redis

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run:  ## Build and start the demo with the sample movies
	$(CARGO) build --profile demo --bin cinequery
	@target/demo/cinequery demo

test: postgres redis manifests tools  ## Run the tests on SQLite and PostgreSQL, without the long ones of `contract`, `faults` and `sdk`
	$(CARGO) test --all-targets
	$(CARGO) test --doc

# `make test` runs the part of these that takes a minute. This adds long property tests and a browser.
contract: postgres redis tools  ## Test the service against its OpenAPI document (long)
	contract/tools.sh chromium
	$(CARGO) test --test suite -- contract:: --include-ignored --nocapture

# `make test` runs the part of these that takes a minute.
console: postgres tools  ## Build the console, and use all of it in a browser (long)
	PATH="$(CURDIR)/target/tools/python/bin:$$PATH" npm --prefix console run --silent build
	$(CARGO) build --bin cinequery
	$(CARGO) test --test suite -- console:: the_pages_sign_users_in --include-ignored --nocapture

# `make test` runs the part of these that takes two minutes. This adds longer faults, more kills and more requests.
faults: postgres  ## Inject faults into the service and its dependencies and check the behaviour (long)
	$(CARGO) test --test suite -- faults:: --include-ignored --nocapture --test-threads=1

# Takes half an hour. FAST=1 takes five minutes, at a lower level of sqlmap.
attack: postgres  ## Attack every parameter with sqlmap
	$(CARGO) build --profile demo --bin cinequery
	contract/attack.sh target/demo/cinequery

sdk: postgres tools  ## Generate SDKs for four languages into target/sdk and test them
	contract/tools.sh java
	$(CARGO) test --test suite -- clients:: --skip faults:: --include-ignored --nocapture

check:  ## Check formatting, lints and documentation with warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

fmt:  ## Format the code
	$(CARGO) fmt

bench: load  ## Measure each stage of the filter language, whether the time of a sign-in reveals which users exist, and `load`
	$(CARGO) bench --bench language
	$(CARGO) bench --bench sign_in

# `make load LOAD="requests --rounds 2 --workloads search"` passes arguments on: benches/load/load.py --help
load: postgres  ## Measure the service under load, beside a bare program, pgbench and PocketBase (half an hour)
	$(CARGO) build --release --bin cinequery
	$(CARGO) build --release --target-dir target --manifest-path benches/load/bare/Cargo.toml
	benches/load/load.py $(LOAD)

plans: postgres  ## Compare access paths with their alternatives for 300 questions on 1,000,000 movies (fifteen minutes)
	$(CARGO) build --release --bin cinequery
	CARGO='$(CARGO)' benches/plans.py $(if $(PUBLISH),--publish)

# `make regress RECORD=1` records the counts of the current code instead.
regress:  ## Count the instructions of two stages under valgrind, and compare them with benches/regress.toml
	CARGO='$(CARGO)' benches/regress.py $(if $(RECORD),--record)

# First measures with the service's own build, then in one binary with cql2. The latter enables pest features that
# cql2 needs and the service does not.
peers:  ## Compare the time from filter text to SQL with that of cql2's parser
	$(CARGO) bench --bench language -- "text to statement"
	$(CARGO) run --release --target-dir target --manifest-path benches/peers/Cargo.toml

agree: postgres  ## Compare the results of CASES random queries in the evaluator, SQLite and PostgreSQL; again for SCHEMAS record types
	AGREE_CASES=$(CASES) AGREE_SCHEMAS=$(SCHEMAS) AGREE_SEED=$(SEED) \
		$(CARGO) test --profile demo --test suite -- agreement --nocapture

fuzz:  ## Fuzz the filter language for MINUTES, or with TARGET=file or workbook the import of files
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@mkdir -p fuzz/found/$(TARGET)
	$(CARGO) fuzz run --sanitizer none $(TARGET) fuzz/found/$(TARGET) fuzz/corpus/$(TARGET) -- \
		-dict=fuzz/$(TARGET).dict -max_len=8400 -timeout=5 -max_total_time=$$((60 * $(MINUTES)))

openapi:  ## Generate openapi/v1.json from the code
	$(CARGO) run --quiet -- openapi > openapi/v1.json.new
	mv openapi/v1.json.new openapi/v1.json

docs:  ## Write the manual into target/guide, as /docs/guide of the service serves it
	$(CARGO) run --quiet -- guide target/guide
	@echo "open target/guide/index.html"

pictures: tools  ## Draw the pictures of README.md from the program
	$(CARGO) build --profile demo --bin cinequery
	contract/tools.sh chromium
	PATH="$(CURDIR)/target/tools/python/bin:$$PATH" python docs/pictures/draw.py target/demo/cinequery

image:  ## Build the container image with docker or buildah, run it, and check that it is ready
	@deploy/image.sh

manifests: ## Validate deploy/kubernetes.yaml against the Kubernetes schemas
	@deploy/validate.sh

tools:  ## Install the tools that check the OpenAPI document into target/tools
	@contract/tools.sh node console chromium promtool systemd proxies libreoffice

postgres:  ## Find PostgreSQL's server programs, or install them (as root with apt-get)
	@tests/support/postgres.sh faults

redis:  ## Find redis-server, or install it (as root with apt-get)
	@tests/support/redis.sh
