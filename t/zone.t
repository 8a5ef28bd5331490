#!/usr/bin/env perl

# Tests for the shared zone: what is known is kept by name over a reload, with
# the same size and another one; tenants are told apart; what goes when it is
# full.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'ok' });

my $http = <<'E';
    resilience_zone zone=gw:1m;
    resilience_tenant $http_x_tenant;

    resilience_policy p {
        retry 0;
        breaker failures=2 error_rate=0 open=1h;
        breaker_provider off;
    }
    resilience_policy quick {
        timeout attempt=1s;
        retry 0;
        breaker failures=1 open=1ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy all {
        retry 0;
        breaker off;
        breaker_provider tenants=2 open=1h;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider q { resilience_endpoint http://127.0.0.1:%%A%%; }

    resilience_chain a { policy p; provider a; }
    resilience_chain b { policy p; provider b; }
    resilience_chain c { policy all; provider c; }
    resilience_chain q { policy quick; provider q; }

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;
        large_client_header_buffers 4 16k;
        location /a/ { resilience_pass a; }
        location /b/ { resilience_pass b; }
        location /c/ { resilience_pass c; }
        location /q/ { resilience_pass q; }
        location /hash/ {
            resilience_tenant $http_x_tenant hash;
            resilience_pass a;
        }
        location = /status { resilience_status admin; }
    }
E

my $n = nginx(http => $http, vars => { A => $a->port });

sub call {
    my ($where, $tenant) = @_;
    return http($n)->get("/$where/", headers => { 'X-Tenant' => $tenant });
}

sub fail_on {
    my ($times, $where, $tenant) = @_;
    $a->on('/', 500);
    call($where, $tenant) for 1 .. $times;
    $a->on('/', { body => 'ok' });
}

# many calls on one connection
sub calls {
    my ($where, @tenants) = @_;
    my $c = http($n);
    while (my @some = splice @tenants, 0, 50) {
        $c->send_raw(join '', map { $c->bytes_of(GET => "/$where/",
            headers => { 'X-Tenant' => $_ }) } @some);
        $c->read_response for @some;
    }
}

sub status { http($n)->get('/status?limit=1000' . ($_[0] // ''))->json }
sub provider { status("&provider=$_[0]")->{providers}[0] }

sub breaker {
    my ($provider, $tenant) = @_;
    return status("&provider=$provider&tenant=$tenant")->{breakers}[0]
           // { state => 'none' };
}

my @fields = qw(state forced failures successes rejected opened closed
                consecutive error_rate inflight);

sub known {
    my (%known, $page);
    my $after = 0;
    while (defined $after) {
        my $s = status("&after=$after");
        for my $br (@{ $s->{breakers} }) {
            $known{"$br->{tenant} $br->{provider}"}
                = join ' ', map { $_ // 'null' } @$br{@fields};
        }
        $after = $s->{next};
    }
    return \%known;
}

sub counted {
    my %counted;
    for my $p (@{ status()->{providers} }) {
        $counted{ $p->{name} } = { map { $_ => $p->{$_} }
            qw(attempts successes failures inflight) };
        $counted{ $p->{name} }{$_} = $p->{breaker}{$_} for qw(state forced);
    }
    return \%counted;
}


# tenants of any length are told apart

my @tenants = ('', 'x', 'X', 'xx', '-x', map({ 'x' x $_ } 63 .. 66, 1000),
               'x' x 999 . 'y');

fail_on(1, 'a', $_) for @tenants;
my $known = known();
is(scalar keys %$known, scalar @tenants, 'as many breakers as tenants');
is(scalar(grep { !/^closed null 1 0 0 0 0 1 / } values %$known), 0,
    'each with its own failure');
ok($known->{"$_ a"}, length($_) . ' bytes: as they are')
    for grep { length && length() <= 64 } @tenants;
ok($known->{'- a'}, 'none: "-"');
is(scalar(grep { /^[0-9a-f]{16} / } keys %$known), 4, 'more: a hash');

fail_on(1, 'a', $_) for @tenants;
$known = known();
is(scalar(grep { !/^open null 2 0 0 1 0 2 / } values %$known), 0,
    'each is found again');
fail_on(1, 'b', $_) for @tenants;
is(scalar(grep { / a$/ && known()->{$_} ne $known->{$_} } keys %$known), 0,
    'for one provider they are others than for another one');

fail_on(2, 'hash', $_) for qw(sk-one sk-two);
my @hashed = sort grep { /^[0-9a-f]{16} a/ && !$known->{$_} }
             keys %{ known() };
is(scalar @hashed, 2, 'hashed tenants');

# any two of many

my @many = map { "many$_" } 1 .. 300;
$a->on('/', 500);
calls('b', @many);
$a->on('/', { body => 'ok' });
my $all = known();
is(scalar(grep { ($all->{"$_ b"} // '') !~ /^closed null 1 0 / } @many), 0,
    'none has what is another\'s');


# reloads keep it

sub say_to {
    my ($action, $provider, $tenant) = @_;
    my $of = defined $tenant ? "&tenant=$tenant" : '';
    return http($n)->post("/status?action=$action&provider=$provider$of")
                   ->status == 200;
}

ok(say_to('disable', 'a', 'x'), 'a word on a tenant');
call('a', 'fine') for 1 .. 3;
fail_on(1, 'c', $_) for qw(x y);
is(provider('c')->{breaker}{state}, 'open', 'breaker of all tenants');
ok(say_to('open', 'q'), 'a word on a provider');

my ($before, $counts);
sub keep { ($before, $counts) = (known(), counted()) }

sub kept {
    my ($name) = @_;
    is_deeply(known(), $before, "$name: breakers");
    is_deeply(counted(), $counts, "$name: providers");
}

keep();
my $larger = $http =~ s/gw:1m/gw:2m/r;

for my $case ([ 'the same', $http, 1 << 20 ], [ 'larger', $larger, 2 << 20 ],
              [ 'smaller', $http, 1 << 20 ])
{
    my ($name, $conf, $size) = @$case;
    $n->conf($conf);
    ok($n->reload(gone => 1), "reload, $name");
    is(status()->{zone}{size}, $size, "$name: size");
    kept($name);
    is(call('a', 'x' x 64)->status, 503, "$name: an open one refuses");
    is(call('a', 'x')->status, 200, "$name: a disabled one does not");
    is(call('hash', 'sk-one')->status, 503, "$name: a hashed one is known");
    is(call('a', 'x' x 1000)->status, 503, "$name: a long one, too");
    is(call('c', 'z')->status, 503, "$name: that of all tenants refuses");
    is(call('q', 'new')->status, 503, "$name: what was said of all holds");
    is(call('a', 'fine')->status, 200, "$name: a closed one does not");
    is(call('b', 'x')->status, 200, "$name: nor for another provider");
    keep();
}

# other providers, in another order, with other policies

my $moved = $http =~ s/(resilience_provider a .*?\n)(.*)(    resilience_chain a)/$2$1$3/sr
                  =~ s/provider b\b/provider NEW/gr
                  =~ s/failures=2/failures=5/r;
for my $size ('1m', '2m') {
    my $gone = $before->{'x b'};
    $n->conf($moved =~ s/gw:1m/gw:$size/r =~ s/NEW/new$size/gr);
    ok($n->reload(gone => 1), "reload with other providers, $size");
    my $now = known();
    is(join(' ', map { $_->{name} } @{ status()->{providers} }),
        "new$size c q a", "$size: others");
    is(scalar(grep { / [acq]$/ && $now->{$_} ne $before->{$_} }
              keys %$before), 0, "$size: known by name");
    is_deeply(counted()->{$_}, $counts->{$_}, "$size: $_ is counted by name")
        for qw(a c q);
    is(call('b', 'x')->status, 200, "$size: a new one");
    is($now->{"x new$size"}, undef, "$size: has nothing of an old one");
    is(call('a', 'x' x 64)->status, 503, "$size: open stays open");
    is($now->{'x b'}, $size eq '1m' ? $gone : undef,
        "$size: the old one is " . ($size eq '1m' ? 'remembered' : 'gone'));
    keep();
    fail_on(4, 'a', "five$size");
    is(breaker('a', "five$size")->{state}, 'closed', "$size: the new policy");
    fail_on(1, 'a', "five$size");
    is(breaker('a', "five$size")->{state}, 'open', "$size: decides");
    keep();
    $n->conf($http);
    if ($size eq '1m') {
        ok($n->reload(gone => 1), 'back again');
        is(breaker('b', 'x')->{failures}, 1, 'which is found again');
        keep();
    }
}

# votes of one tenant are not those of two

$n->conf($http);
ok($n->reload(gone => 1), 'reload');
ok(say_to('reset', 'c'), 'reset');
fail_on(1, 'c', 'one');
$n->conf($larger);
ok($n->reload(gone => 1), 'reload with another size');
fail_on(3, 'c', 'one');
is(provider('c')->{breaker}{state}, 'closed', 'a tenant alone opens nothing');
fail_on(1, 'c', 'two');
is(provider('c')->{breaker}{state}, 'open', 'two do');

# more providers than there is place for

$n->conf($larger . join '', map {
    "    resilience_provider p$_ { return 200; }\n" } 1 .. 200);
$n->expect_log(qr/\[emerg\].*zone "gw" is too small for provider "p\d+"/);
ok(!$n->reload, 'too many providers are refused');
is(breaker('a', 'x' x 64)->{state}, 'open', 'all goes on');
$n->conf($larger);
ok($n->reload(gone => 1), 'with those that there were');


# what runs meanwhile

sub running {
    my ($provider) = @_;
    my $s = status("&provider=$provider");
    my $sum = 0;
    $sum += $_->{inflight} for @{ $s->{breakers} };
    return $s->{providers}[0]{inflight} . " $sum";
}

sub start {
    my ($where, $tenant) = @_;
    return http($n)->start(GET => "/$where/",
                           headers => { 'X-Tenant' => $tenant });
}

$a->on('/b/', { hold => 'run', body => 'ran' });
$a->forget;
my @runs = map { start('b', "run$_") } 1 .. 5;
ok($a->wait_held(5), 'calls run');
is(running('b'), '5 5', 'and are counted');
ok($n->reload, 'reload');
is(running('b'), '5 5', 'those of old workers are counted');
push @runs, map { start('b', "run$_") } 5 .. 7;
ok($a->wait_held(8), 'more of them');
is(running('b'), '8 8', 'those of new ones, too');
$a->release('run');
$_->read_until_end for @runs;
is(scalar(grep { $_->body ne 'ran' } @runs), 0, 'all end');
ok(wait_until(5, sub { running('b') eq '0 0' }), 'none is left')
    or diag(running('b'));

$a->rearm('run');
$a->forget;
@runs = map { start('b', "run$_") } 1 .. 5;
ok($a->wait_held(5), 'calls run');
my @old = $n->workers;
$n->conf($http);
ok($n->reload, 'reload with another size');
is(running('b'), '0 0', 'the new zone has none of them');
push @runs, start('b', 'run1');
ok($a->wait_held(6), 'one more');
is(running('b'), '1 1', 'is counted');
$a->release('run');
$_->read_until_end for @runs;
is(scalar(grep { $_->body ne 'ran' } @runs), 0, 'all end');
ok($n->wait_gone(@old, 10), 'and old workers');
ok(wait_until(5, sub { running('b') eq '0 0' }), 'none is left')
    or diag(running('b'));
is(breaker('b', 'run2')->{successes}, 1,
    'what they were told is not in the new zone');

# a probe that is out comes back by its time

ok(say_to('auto', 'q'), 'auto');
fail_on(1, 'q', 'probe');
$a->on('/q/', { hold => 'probe', body => 'ok' });
$a->forget;
my $probe = start('q', 'probe');
ok($a->wait_held(1), 'a probe is out');
my $since = now;
$n->conf($larger);
ok($n->reload, 'reload with another size');
is(call('q', 'probe')->status, 503, 'it still is');
$probe->close;
$a->release('probe');
ok(wait_until(6, sub { call('q', 'probe')->status == 200 }), 'another one');
cmp_ok(now - $since, '>=', 1.9, 'when the first one must have ended');


# full

$n->stop;
$n->conf($http =~ s/gw:1m/gw:160k/r);
$n->start;
my $capacity = status()->{zone}{capacity};
cmp_ok($capacity, '>', 100, 'a zone for some');
fail_on(2, 'a', "open$_") for 1 .. 5;
calls('a', map { "fill$_" } 1 .. $capacity - 5);
my $s = status();
is($s->{zone}{cells}, $capacity, 'full');
is($s->{zone}{evictions}, 0, 'none is given up yet');
calls('a', 'fill1', 'more1', 'more2', 'fill2', 'more3');
$known = known();
is(status()->{zone}{evictions}, 4, 'one for each that is new');
is(scalar keys %$known, $capacity, 'full still');
ok($known->{'fill1 a'}, 'one that was used again is not given up');
is(join(' ', grep { !$known->{"fill$_ a"} } 1 .. 10), '3 4 5',
    'those are that were not used longest');
calls('a', map { "flood$_" } 1 .. 3 * $capacity);
$known = known();
is(scalar(grep { ($known->{"open$_ a"} // '') =~ /^open/ } 1 .. 5), 5,
    'open ones are kept while others come and go');
is(scalar(grep { /^flood/ } keys %$known), $capacity - 5, 'all others are not');
ok(say_to('disable', 'a', "flood" . 3 * $capacity), 'a word on one');
calls('a', map { "again$_" } 1 .. $capacity);
is(breaker('a', "flood" . 3 * $capacity)->{forced}, 'disabled', 'is kept, too');

# nothing but open ones

$a->on('/', 500);
calls('a', map { ($_) x 2 } map { "all$_" } 1 .. $capacity);
$a->on('/', { body => 'ok' });
is(status('&state=closed')->{breakers}[0], undef, 'all are open');
is(call('a', 'last')->status, 200, 'a call goes through');
is(breaker('a', 'last')->{state}, 'closed', 'and has its breaker');
is(status()->{zone}{cells}, $capacity, 'in the place of another one');

# into a smaller zone those go that are open, then those used last

$n->conf($http);
ok($n->reload(gone => 1), 'reload with a larger zone');
calls('a', map { "after$_" } 1 .. $capacity);
fail_on(2, 'a', 'late');
$n->conf($http =~ s/gw:1m/gw:160k/r);
ok($n->reload(gone => 1), 'reload with a smaller one');
$s = status();
is($s->{zone}{cells}, $s->{zone}{capacity}, 'filled');
is(breaker('a', 'late')->{state}, 'open', 'the last open one is there');
is(scalar(grep { !/^open/ } values %{ known() }), 0, 'with other open ones');

ok($n->wait_log(qr/\[warn\].*zone "gw" is full/), 'told in the log');

done_testing();
