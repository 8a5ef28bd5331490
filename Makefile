# make help says what there is.

SHELL = /bin/bash
ROOT := $(CURDIR)
BUILD := $(ROOT)/build
MODULE := $(BUILD)/ngx_http_resilience_module.so

CC ?= gcc
ifeq ($(origin CC),default)
CC = gcc
endif

CC_EXTRA ?=
FUZZ_SECONDS ?= 60
PROVE ?= prove -j2
PROVE_ARGS ?=

# what valgrind runs when no nginx source can be had: it is slow
VALGRIND_TESTS ?= $(wildcard t/00-harness.t t/*stream*.t t/*retry*.t           \
                  t/*abort*.t t/*breaker*.t)

nginx_version = $(shell nginx -v 2>&1 | sed -n 's|.*nginx/\([0-9.]*\).*|\1|p')

export CC CC_OPT CC_EXTRA

.DEFAULT_GOAL := module
.PHONY: all module unit test test-asan test-valgrind sdk matrix deb deb-test \
        fuzz bench demo run soak storm model page install clean help


all: module unit

help:  ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' \
	    Makefile

install:  ## install with apt what building and testing needs (as root)
	@scripts/install build test

module:  ## build/ngx_http_resilience_module.so for the installed nginx (CC=, CC_EXTRA=)
	@scripts/install build
	@scripts/build-module $(BUILD)/nginx-$(nginx_version) $(MODULE)


# unit tests: each t/unit/*.c is a program that speaks TAP

ifdef SANITIZE
UNIT := $(BUILD)/unit-asan
UNIT_FLAGS := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
              -fno-omit-frame-pointer
else
UNIT := $(BUILD)/unit
UNIT_FLAGS := -O2
endif

PURE := $(wildcard src/engine/*.c src/llm/*.c)
PURE_OBJ := $(PURE:%.c=$(UNIT)/%.o)
UNIT_SRC := $(wildcard t/unit/*.c)
UNIT_BIN := $(UNIT_SRC:t/unit/%.c=$(UNIT)/%)
UNIT_CFLAGS := -std=c11 -D_GNU_SOURCE -g $(UNIT_FLAGS) -Wall -Wextra -Werror    \
               -pthread -Isrc -It/unit -MMD -MP

unit: $(UNIT_BIN)  ## build the unit tests of src/engine and src/llm (t/unit.t runs them)

$(UNIT)/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(UNIT_CFLAGS) $(CC_EXTRA) -c -o $@ $<

$(UNIT)/pure.a: $(PURE_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	@ar rcs $@ $^

$(UNIT)/%: t/unit/%.c $(UNIT)/pure.a
	@mkdir -p $(@D)
	@$(CC) $(UNIT_CFLAGS) $(CC_EXTRA) -MF $@.d -o $@ $< $(UNIT)/pure.a     \
	    -lcrypto -lm

-include $(PURE_OBJ:.o=.d) $(UNIT_BIN:=.d)


ifdef SANITIZE
test: export TEST_UNIT_DIR := $(UNIT)
test:
	@scripts/install build test browser sanitize
	@$(MAKE) -s --no-print-directory unit sdk
	@scripts/build-asan $(BUILD)/asan;                                       \
	 case $$? in                                                             \
	     0) $(MAKE) -s --no-print-directory test-asan ;;                     \
	     3) echo "no nginx source: valgrind runs a part of the suite";       \
	        scripts/install valgrind                                         \
	        && $(MAKE) -s --no-print-directory module test-valgrind ;;       \
	     *) exit 1 ;;                                                        \
	 esac
else
test: module  ## build, then run the whole suite (SANITIZE=1: with ASan and UBSan)
	@scripts/install build test matrix browser
	@$(MAKE) -s --no-print-directory unit sdk
	@$(PROVE) -r $(PROVE_ARGS) t/
endif

test-asan:
	@TEST_NGINX_BINARY=$(BUILD)/asan/nginx                                   \
	 TEST_NGINX_MODULE=$(BUILD)/asan/ngx_http_resilience_module.so           \
	 TEST_TIME_FACTOR=$${TEST_TIME_FACTOR:-4}                                \
	     $(PROVE) -r $(PROVE_ARGS) t/

test-valgrind:
	@TEST_NGINX_VALGRIND=1 TEST_TIME_FACTOR=$${TEST_TIME_FACTOR:-10}         \
	     $(PROVE) $(PROVE_ARGS) $(VALGRIND_TESTS)

sdk:
	@scripts/npm-ci t/sdk
	@scripts/npm-ci t/page
	@scripts/pip-venv $(BUILD)/venv t/sdk/requirements.txt

page:  ## src/ngx_http_resilience_page.h of the .html beside it
	@scripts/page

matrix:  ## build and test against the nginx of newer Debian suites (SUITES=)
	@scripts/install build test matrix
	@$(MAKE) -s --no-print-directory sdk
	@PROVE_ARGS="$(PROVE_ARGS)" scripts/matrix $(SUITES)

deb:  ## a Debian package for the installed nginx, in build/deb
	@scripts/install build deb
	@scripts/build-deb $(BUILD)/deb

deb-test: deb  ## lint the package, install it into a Debian of its own, try, purge
	@scripts/install test deb-test
	@lintian --allow-root --fail-on error,warning                            \
	     --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog \
	     $(BUILD)/deb/*.changes
	@TEST_DEB=$$(ls $(BUILD)/deb/libnginx-mod-http-resilience_*.deb)         \
	     $(PROVE) -v t/deb.t

fuzz:  ## run each fuzzer of t/fuzz for FUZZ_SECONDS (60)
	@scripts/install fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

bench: module  ## compare with plain proxy_pass in the same nginx
	@scripts/install build bench
	@bench/run
	@bench/scrape

soak: module  ## many calls at once to failing providers, SOAK_SECONDS (600)
	@scripts/install build test
	@t/soak/run

storm: module  ## kill workers at random under load, for minutes
	@scripts/install build test
	@t/kill/storm

model:  ## check the permits' protocol with Spin
	@scripts/install model
	@t/model/run

demo: module  ## play a short story in the terminal: a provider fails, calls go on
	@scripts/install build test
	@examples/demo.sh

run: module  ## the demo's nginx and providers, left running to try with curl
	@scripts/install build test
	@examples/demo.sh --keep

clean:  ## remove all that was built
	@rm -rf $(BUILD) t/sdk/node_modules t/page/node_modules
