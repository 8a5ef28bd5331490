#!/usr/bin/env perl

# A smoke test with the nginx of newer Debian releases: the module builds for
# it and calls, streams and breakers work. "make matrix" runs all tests so.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";
my @suites = qw(trixie sid);
my @tests = map { "t/$_.t" } qw(client stream nginx);

plan skip_all => 'these tests have an nginx of their own already'
    if $ENV{TEST_NGINX_BINARY} || $ENV{TEST_NGINX_VALGRIND};
plan skip_all => 'no apt-get to have packages of other releases with'
    unless grep { -x "$_/apt-get" } split /:/, $ENV{PATH};

local $ENV{MATRIX_TESTS} = "@tests";
my $said = `$root/scripts/matrix @suites 2>&1`;
my %result;
for my $what (qw(passed failed skipped)) {
    my ($list) = $said =~ /^matrix:.*\b$what:([^;\n]*)/m;
    $result{$_} = $what for grep { $_ ne 'none' } split ' ', $list // '';
}

for my $suite (@suites) {
    SKIP: {
        my ($why) = $said =~ /^SKIPPED: (.*\b$suite\b.*)$/m;
        skip $why // "$suite was skipped", 1
            if ($result{$suite} // '') eq 'skipped';
        my ($version) = $said =~ /^$suite: nginx version: (\S+)/m;
        is($result{$suite}, 'passed', "$suite: " . ($version // 'no nginx'))
            or diag($said);
    }
}

done_testing();
