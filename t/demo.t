#!/usr/bin/env perl

# Tests for "make demo": its story comes out, in a pipe as on a terminal.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";

plan skip_all => 'valgrind is too slow for its times'
    if $ENV{TEST_NGINX_VALGRIND};

local $ENV{MODULE} = $ENV{TEST_NGINX_MODULE} if $ENV{TEST_NGINX_MODULE};
local $ENV{NGINX_BINARY} = $ENV{TEST_NGINX_BINARY} if $ENV{TEST_NGINX_BINARY};

my $said = `$root/examples/demo.sh 2>&1`;
is($?, 0, 'exit status') or diag($said);

like($said, qr/^-- Act $_: /m, "act $_") for 1 .. 4;

like($said, qr/^ +[\d.]+s  X-Resilience-Provider: primary$/m, 'the primary');
like($said, qr/^ +[\d.]+s  data: \{"delta":\{"text":/m, 'Anthropic events');
like($said, qr/^ +[\d.]+s  X-Resilience-Provider: backup$/m, 'the backup');
like($said, qr/^ +[\d.]+s  data: \[DONE\]$/m, 'end of a stream');
like($said, qr/^   -  +primary +open +5 +1 +5 +\d+$/m, 'open breaker');
like($said, qr/^   -  +primary +closed +5 +3 +5 +0$/m, 'closed again');
like($said, qr/"primary:breaker_open:0:0\.000,$/m, 'trace');
unlike($said, qr/FAILED|\e/, 'no failure, no colour');
like($said, qr/^All of it came out as told\.$/m, 'the end');

done_testing();
