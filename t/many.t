#!/usr/bin/env perl

# Tests for a thousand calls at once, to providers that fail at random: a short
# soak. Each call ends in exactly one outcome, the counters add up, nothing is
# left in flight.

use strict;
use warnings;

use FindBin;

$ENV{SOAK_SECONDS} = 8;
$ENV{SOAK_CALLS} = 1000;

exec $^X, "$FindBin::Bin/soak/run" or die "soak/run: $!\n";
