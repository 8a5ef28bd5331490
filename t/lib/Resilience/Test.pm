package Resilience::Test;

# what nearly every test needs:
#
#     use FindBin;
#     use lib "$FindBin::Bin/lib";
#     use Resilience::Test;

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use Resilience::Http;
use Resilience::Nginx;
use Resilience::Upstream;

my %export = (
    nginx => \&nginx, upstream => \&upstream, http => \&http,
    config_ok => \&config_ok, config_error => \&config_error,
    wait_until => \&Resilience::Nginx::wait_until,
    now => sub () { clock_gettime(CLOCK_MONOTONIC) },
    factor => sub () { $Resilience::Nginx::FACTOR },
);

sub import {
    my $caller = caller;
    strict->import;
    warnings->import;
    my $name = "$caller\::";
    no strict 'refs';
    *{"$name$_"} = $export{$_} for keys %export;
    *{"$name$_"} = \&{"Test::More::$_"} for @Test::More::EXPORT;
    *{"${name}TODO"} = \${"Test::More::TODO"};
    Test::More->builder->exported_to($caller);
}

# nginx($http, %opt), or nginx(%opt)
sub nginx {
    unshift @_, 'http' if @_ % 2;
    return Resilience::Nginx->new(@_);
}

sub upstream { Resilience::Upstream->new(@_) }
sub http     { Resilience::Http->new(@_) }

# nginx -t accepts it without a warning, or with one that matches
sub config_ok {
    my ($http, $warning, $name, @opt) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($ok, $said) = Resilience::Nginx->check(http => $http, @opt);
    my $as_wanted = defined $warning ? $said =~ $warning
                                     : $said !~ /\[(?:warn|error)\]/;
    return ok($ok && $as_wanted, $name) || !diag($said);
}

# nginx -t refuses it and says why
sub config_error {
    my ($http, $message, $name, @opt) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($ok, $said) = Resilience::Nginx->check(http => $http, @opt);
    return ok(!$ok && $said =~ $message, $name) || !diag($said);
}

1;
