#!/usr/bin/env perl

# Tests for slow attempts, the ramp, what a timeout is blamed on, and the
# breaker that all tenants of a provider share.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream({ body => 'from b' });

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    resilience_zone zone=breakers:1m;
    resilience_tenant $http_x_tenant;

    resilience_policy slow {
        timeout attempt=10s;
        retry 0;
        breaker failures=0 error_rate=0 window=10 min_calls=3 open=1h;
        breaker_slow over=200ms rate=60%;
    }
    resilience_policy hang {
        timeout attempt=10s;
        retry 0;
        breaker failures=0 error_rate=0 window=10 min_calls=1 open=1h;
        breaker_slow over=200ms rate=100%;
    }
    resilience_policy short {
        timeout first_byte=5s attempt=10s total=200ms;
        retry 0;
        breaker failures=1 open=1h;
    }
    resilience_policy fair {
        timeout first_byte=100ms attempt=10s total=2s;
        retry 0;
        breaker failures=1 open=1h;
    }
    resilience_policy probe {
        retry 0;
        breaker failures=1 open=100ms open_max=100ms probes=1 successes=1;
    }
    resilience_policy ramp {
        retry 0;
        breaker failures=1 open=1ms open_max=1ms probes=1 successes=1
                ramp=1h;
    }
    resilience_policy common {
        retry 0;
        breaker failures=100 error_rate=0;
        breaker_provider tenants=3 window=1h open=1s open_max=1s
                         probes=1 successes=2;
    }

    resilience_policy first {
        retry 1 base=1ms max=1ms;
        breaker failures=2 error_rate=0 open=1h;
    }

    resilience_provider first_a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider first_b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider slow { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider hang { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider short { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider fair { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider probe { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider ramp { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider common { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider single { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }

    resilience_chain c_twice  { policy first; provider first_a;
                                provider first_b; }
    resilience_chain c_slow   { policy slow; provider slow; provider b; }
    resilience_chain c_hang   { policy hang; provider hang; provider b; }
    resilience_chain c_short  { policy short; provider short; }
    resilience_chain c_fair   { policy fair; provider fair; }
    resilience_chain c_probe  { policy probe; provider probe; }
    resilience_chain c_ramp   { policy ramp; provider ramp; provider b; }
    resilience_chain c_common { policy common; provider common; provider b; }
    resilience_chain c_single { policy common; provider single; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location ~ ^/(?<chain>\w+)/ { resilience_pass c_$chain; }
        location = /status { resilience_status; }
    }
E

sub answers {
    $a->on('/', @_);
    $a->forget;
}

sub call {
    my ($chain, $tenant) = @_;
    return http($n)->get("/$chain/", headers => { 'X-Tenant' => $tenant });
}

sub start {
    my ($chain, $tenant) = @_;
    return http($n)->start(GET => "/$chain/",
        headers => { 'X-Tenant' => $tenant });
}

# a success is counted when its end was passed on, so a client may be faster
sub breaker {
    my ($provider, $tenant, $inflight) = @_;
    my $breaker;
    wait_until(5, sub {
        my $s = http($n)->get("/status?provider=$provider&tenant=$tenant");
        $breaker = $s->json->{breakers}[0];
        return ($breaker->{inflight} // 0) == ($inflight // 0);
    });
    return $breaker;
}

sub common {
    my ($provider) = @_;
    return http($n)->get("/status?provider=$provider")
        ->json->{providers}[0]{breaker};
}


# slow attempts

answers({ body => 'fast' }, { delay_ms => 300, body => 'slow' });
is(call('slow', 's')->body, 'fast', 'fast');
is(call('slow', 's')->body, 'slow', 'slow, and yet a success');
is(breaker('slow', 's')->{slow_rate}, 50, 'slow rate');
is(breaker('slow', 's')->{state}, 'closed', 'too few calls');
is(breaker('slow', 's')->{successes}, 2, 'two successes');
my $running = start('slow', 's');
ok(wait_until(5, sub { breaker('slow', 's', 1)->{state} eq 'open' }),
    'opened when it became slow');
is(breaker('slow', 's', 1)->{inflight}, 1, 'not at its end');
ok($running->read_until_end, 'it may end');
is($running->body, 'slow', 'as ever');
ok($n->wait_log(qr/went from closed to open: slow_rate/), 'told why');

# a client that gives up on a slow one

answers({ silent => 1 });
$running = start('hang', 'patient');
ok($a->wait_requests(1), 'a call hangs');
ok(wait_until(5, sub { breaker('hang', 'patient', 1)->{state} eq 'open' }),
    'it is slow before anyone gives up');
$running->close;

answers({ silent => 1 });
$running = start('hang', 'hasty');
ok($a->wait_requests(1), 'another one');
$running->close;
ok($a->wait_aborted(1), 'its client leaves at once');
ok(wait_until(5, sub { breaker('hang', 'hasty')->{inflight} == 0 }), 'gone');
is(breaker('hang', 'hasty')->{state}, 'closed', 'and nobody is blamed');


# one request that fails at all of a chain's providers, and is retried there

answers(500);
$b->on('/', 500);
call('twice', 'o');
is(breaker("first_$_", 'o')->{consecutive}, 1,
    "$_: a call counts once in the row of each") for 'a', 'b';
is(breaker("first_$_", 'o')->{failures}, 2, "$_: and twice in its window")
    for 'a', 'b';
is(breaker("first_$_", 'o')->{state}, 'closed', "$_: closed") for 'a', 'b';
call('twice', 'o');
is(breaker("first_$_", 'o')->{state}, 'open', "$_: two calls open it")
    for 'a', 'b';
$b->on('/', { body => 'from b' });


# timeouts

answers({ silent => 1 });
is(call('short', 't')->status, 504, 'no time was left');
is(breaker('short', 't')->{state}, 'closed', 'the provider is not blamed');
is(call('fair', 't')->status, 504, 'time enough');
is(breaker('fair', 't')->{state}, 'open', 'the provider is blamed');


# a probe that is answered 429

answers(500, 429, 200);
call('probe', 'p');
ok(wait_until(5, sub { breaker('probe', 'p')->{retry_in_ms} == 0 }), 'elapsed');
is(call('probe', 'p')->status, 429, 'a probe is answered 429');
is(breaker('probe', 'p')->{state}, 'open', 'and has failed');
is(breaker('probe', 'p')->{failures}, 1, 'which is no failure else');


# the ramp

answers(500, { body => 'a' });
call('ramp', 'r');
ok(wait_until(5, sub { breaker('ramp', 'r')->{retry_in_ms} == 0 }), 'elapsed');
is(call('ramp', 'r')->body, 'a', 'a probe closes it');
is(breaker('ramp', 'r')->{state}, 'closed', 'closed');
my %from = (a => 0, 'from b' => 0);
$from{ call('ramp', 'r')->body }++ for 1 .. 200;
cmp_ok($from{a}, '>=', 3, 'a tenth is admitted');
cmp_ok($from{a}, '<=', 50, 'not much more');
is($from{a} + $from{'from b'}, 200, 'the rest moves on');


# one breaker for all tenants

answers(500);
call('common', 'x') for 1 .. 20;
is(common('common')->{state}, 'closed', 'one tenant cannot open it');
call('common', 'y');
is(common('common')->{state}, 'closed', 'nor can two');
call('common', 'z');
is(common('common')->{state}, 'open', 'three can');
$a->forget;
is(call('common', 'new')->body, 'from b', 'a fourth is spared the wait');
is($a->count, 0, 'the provider is not asked');
ok($n->wait_log(qr/\[warn\].*breaker\ of\ all\ tenants\ and\ provider
                   \ "common"\ went\ from\ closed\ to\ open:\ tenants/x),
    'told so');
is(breaker('common', 'new')->{state}, 'closed', 'its own is closed');
is(breaker('common', 'x')->{state}, 'closed', 'so is that of the others');

answers({ body => 'a' });
ok(wait_until(5, sub { common('common')->{retry_in_ms} == 0 }), 'time passes');
is(call('common', 'new')->body, 'a', 'a probe of any tenant');
is(common('common')->{state}, 'half_open', 'half-open');
is(call('common', 'x')->body, 'a', 'another one');
is(common('common')->{state}, 'closed', 'closes it for all');

answers({ status => 429, times => 3 }, { status => 404, times => 3 });
call('common', "q$_") for 1 .. 6;
is(common('common')->{state}, 'closed', 'quotas and requests do not count');

# failures of some while it works for most

answers({ status => 200, times => 8 }, 500);
call('single', "ok$_") for 1 .. 8;
call('single', "bad$_") for 1 .. 3;
is(common('single')->{state}, 'closed', 'three of eleven are not half of them');

done_testing();
