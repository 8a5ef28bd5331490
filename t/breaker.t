#!/usr/bin/env perl

# Tests for the circuit breaker: opening, refusing, probing, closing; one
# state for all workers, kept over a reload; tenants apart.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $http = <<'E';
    resilience_zone zone=breakers:1m;
    resilience_tenant $http_x_tenant;
    resilience_headers on;

    resilience_policy consecutive {
        retry 0;
        breaker failures=3 error_rate=0 open=1h probes=1 successes=1;
    }
    resilience_policy rate {
        retry 0;
        breaker failures=0 error_rate=50% window=10 min_calls=4 open=1h;
    }
    resilience_policy quick {
        retry 0;
        breaker failures=1 open=300ms open_max=10s probes=1 successes=2;
    }
    resilience_policy retried {
        retry 3 base=1ms max=1ms;
        breaker failures=2 error_rate=0 open=1h;
    }
    resilience_policy counted {
        retry 3 base=1ms max=1ms;
        breaker failures=0 error_rate=100% window=10 min_calls=4 open=1h;
    }
    resilience_policy off { retry 0; breaker off; }
    resilience_policy never { retry 0; fail_on none; }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider r { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider q { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider o { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider w { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider t { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider l {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain consecutive { policy consecutive; provider a; provider b; }
    resilience_chain alone       { policy consecutive; provider a; }
    resilience_chain rate        { policy rate; provider r; }
    resilience_chain quick       { policy quick; provider q; provider b; }
    resilience_chain retried     { policy retried; provider t; provider b; }
    resilience_chain counted     { policy counted; provider t; }
    resilience_chain off         { policy off; provider o; }
    resilience_chain never       { policy never; provider o; }
    resilience_chain llm         { policy consecutive; provider l; }
    resilience_chain wait  { policy quick; provider w; when_open wait=5s; }
    resilience_chain short { policy quick; provider w; when_open wait=10ms; }
    resilience_chain try   { policy consecutive; provider a; when_open try; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location /consecutive/ { resilience_pass consecutive; }
        location /alone/       { resilience_pass alone; }
        location /rate/        { resilience_pass rate; }
        location /quick/       { resilience_pass quick; }
        location /retried/     { resilience_pass retried; }
        location /counted/     { resilience_pass counted; }
        location /off/         { resilience_pass off; }
        location /never/       { resilience_pass never; }
        location /llm/         { resilience_pass llm; }
        location /wait/        { resilience_pass wait; }
        location /short/       { resilience_pass short; }
        location /try/         { resilience_pass try; }
        location = /status     { resilience_status; }
        location = /pid        { return 200 $pid; }
    }
E

my $n = nginx($http, vars => { A => $a->port, B => $b->port });

sub answers {
    $a->on('/', @_);
    $b->on('/', { body => 'from b' });
    $_->forget for $a, $b;
}

# a connection of its own for each call: any worker may take it
sub call {
    my ($chain, $tenant, %opt) = @_;
    return http($n)->get("/$chain/",
        headers => { $tenant ? ('X-Tenant' => $tenant) : (),
                     %{ $opt{headers} || {} } });
}

# a success is counted when its end was passed on, so a client may be faster
sub breaker {
    my ($provider, $tenant, $inflight) = @_;
    $tenant //= '-';
    my $breaker;
    wait_until(5, sub {
        my $s = http($n)->get("/status?provider=$provider&tenant=$tenant");
        $breaker = $s->json->{breakers}[0];
        return ($breaker->{inflight} // 0) == ($inflight // 0);
    });
    return $breaker;
}


# consecutive failures

answers(500);
is(call('consecutive')->body, 'from b', "failure $_") for 1, 2;
is(breaker('a')->{state}, 'closed', 'closed after two');
is(breaker('a')->{failures}, 2, 'two failures');
call('consecutive');

my $br = breaker('a');
is($br->{state}, 'open', 'open after three');
is($br->{failures}, 3, 'three failures');
is($br->{opened}, 1, 'opened once');
cmp_ok($br->{retry_in_ms}, '>', 3_500_000, 'for an hour, at least nearly');
cmp_ok($br->{retry_in_ms}, '<=', 3_960_000, 'and at most 10 % more');
ok($n->wait_log(qr/\[warn\].*breaker\ of\ tenant\ "-"\ and\ provider\ "a"
                   \ went\ from\ closed\ to\ open:\ /x),
    'a transition is logged');

$a->forget;
my $r = call('consecutive');
is($r->body, 'from b', 'an open breaker moves the call on');
is($r->header('x-resilience-attempts'), '1', 'at no attempt\'s cost');
is($a->count, 0, 'the provider is spared');
is(breaker('a')->{rejected}, 1, 'rejections are counted');

$r = call('alone');
is($r->status, 503, 'nothing is left');
is($r->header('x-resilience-outcome'), 'breaker_open', 'outcome');
cmp_ok($r->header('retry-after'), '>=', 3500, 'Retry-After');
cmp_ok($r->header('retry-after'), '<=', 3961, 'Retry-After, rounded up');

is(call('try')->status, 500, 'when_open try');
is($a->count, 1, 'asks the provider all the same');
is(breaker('a')->{state}, 'open', 'which changes nothing');
is(breaker('a')->{inflight}, 0, 'and leaves nothing in flight');


# tenants

answers(200);
is(call('alone', 'acme')->status, 200, 'another tenant has its own breaker');
is(breaker('a', 'acme')->{state}, 'closed', 'which is closed');
is(call('alone')->status, 503, 'the first is refused still');

answers(500, 500, 200);
call('alone', 'reset') for 1 .. 3;
answers(500, 500, 200);
call('alone', 'reset') for 1 .. 3;
is(breaker('a', 'reset')->{state}, 'closed', 'a success starts over');
is(breaker('a', 'reset')->{failures}, 4, 'though failures are counted');


# what counts

for my $status (400, 404, 429, 301) {
    answers($status);
    call('alone', "n$status") for 1 .. 4;
    is(breaker('a', "n$status")->{state}, 'closed', "$status is no failure");
}

answers(200);
answers({ status => 500, times => 2 }, { status => 429, times => 1 }, 500);
call('alone', 'neutral') for 1 .. 4;
is(breaker('a', 'neutral')->{state}, 'open',
    'a neutral outcome does not start over');

$a->forget;
$a->on('/', 500);
call('never') for 1 .. 8;
is(breaker('o')->{state}, 'closed', 'fail_on none');
call('off') for 1 .. 8;
is(breaker('o')->{state}, 'closed', 'breaker off');
is($a->count, 16, 'refuses nothing');


# only the first failed attempt of a call is one of "failures"

answers(500);
call('retried');
is($a->count, 4, 'four attempts');
is(breaker('t')->{state}, 'closed', 'are one failure in a row');
is(breaker('t')->{failures}, 4, 'but four failures');
call('retried');
is(breaker('t')->{state}, 'open', 'the second call is the second in a row');

answers(500);
call('counted', 'window');
is(breaker('t', 'window')->{state}, 'open', 'the window counts each');


# error rate

answers(200, 500, 200, 500);
call('rate') for 1 .. 3;
is(breaker('r')->{state}, 'closed', 'too few calls for a rate');
call('rate');
$br = breaker('r');
is($br->{state}, 'open', 'two of four are 50 %');
is($br->{error_rate}, 50, 'error rate');

answers({ status => 500, times => 3 }, 200);
call('rate', 'success') for 1 .. 4;
is(breaker('r', 'success')->{state}, 'open', 'looked at after a success, too');

answers({ status => 200, times => 10 }, { status => 500, times => 4 }, 200,
    500);
call('rate', 'slide') for 1 .. 15;
is(breaker('r', 'slide')->{state}, 'closed', 'four of the last ten');
call('rate', 'slide');
is(breaker('r', 'slide')->{state}, 'open', 'five of the last ten');


# half-open

answers(500, { body => 'again' });
is(call('quick')->body, 'from b', 'opened');
is(breaker('q')->{state}, 'open', 'is open');
my $wait = breaker('q')->{retry_in_ms};
cmp_ok($wait, '<=', 330, 'for the time said');
ok(wait_until(5, sub { breaker('q')->{retry_in_ms} == 0 }), 'time passes');
is(breaker('q')->{state}, 'open', 'it turns half-open with a call only');

is(call('quick')->body, 'again', 'first probe');
is(breaker('q')->{state}, 'half_open', 'one success is not enough');
is(call('quick')->body, 'again', 'second probe');
is(breaker('q')->{state}, 'closed', 'two successes close it');
is(breaker('q')->{closed}, 1, 'closed once');
ok($n->wait_log(qr/went from open to half_open/), 'half-open is logged');
ok($n->wait_log(qr/went from half_open to closed/), 'closed is logged');

# probes=1: while one is out, others are not admitted

answers(500, { hold => 'probe', body => 'probe' }, { body => 'more' });
call('quick', 'p');
ok(wait_until(5, sub { breaker('q', 'p')->{retry_in_ms} == 0 }), 'elapsed');
my $probe = http($n)->start(GET => '/quick/', headers => { 'X-Tenant' => 'p' });
ok($a->wait_held(1), 'a probe is out');
is(breaker('q', 'p', 1)->{inflight}, 1, 'in flight');
$r = call('quick', 'p');
is($r->body, 'from b', 'no second one');
is($a->count, 2, 'the provider is asked no more');
$a->release('probe');
$probe->read_until_end;
is($probe->body, 'probe', 'the probe is answered');
is(call('quick', 'p')->body, 'more', 'the next may go');
$a->rearm('probe');

# a failed probe reopens, for twice the time

answers(500);
call('quick', 'd');
ok(wait_until(5, sub { breaker('q', 'd')->{retry_in_ms} == 0 }), 'elapsed');
call('quick', 'd');
$br = breaker('q', 'd');
is($br->{state}, 'open', 'a failed probe reopens');
is($br->{opened}, 2, 'opened twice');
cmp_ok($br->{retry_in_ms} + $br->{since_ms}, '>=', 600, 'for twice the time');
cmp_ok($br->{retry_in_ms} + $br->{since_ms}, '<=', 665, 'and 10 % at most');

# a neutral probe gives its permit back

answers(500, 404, 200);
call('quick', 'n');
ok(wait_until(5, sub { breaker('q', 'n')->{retry_in_ms} == 0 }), 'elapsed');
is(call('quick', 'n')->status, 404, 'a neutral probe');
is(breaker('q', 'n')->{state}, 'half_open', 'moves nothing');
is(call('quick', 'n')->status, 200, 'and leaves its place');

# an abandoned probe, too

answers(500, { silent => 1 }, 200);
call('quick', 'g');
ok(wait_until(5, sub { breaker('q', 'g')->{retry_in_ms} == 0 }), 'elapsed');
$probe = http($n)->start(GET => '/quick/', headers => { 'X-Tenant' => 'g' });
ok($a->wait_requests(2), 'the probe is out');
$probe->close;
ok($a->wait_aborted(1), 'the client is gone');
ok(wait_until(5, sub { breaker('q', 'g')->{inflight} == 0 }), 'permit is back');
is(call('quick', 'g')->status, 200, 'the next probe');

# a stream closes the breaker when it begins, not when it ends

answers(500, { openai => { stream => 1, content => 'one two' },
               stall_after_events => 3 });
$n->conf($http =~ s/failures=3(.*?)open=1h/failures=1$1open=1ms/r);
ok($n->reload(gone => 1), 'reload with another policy');
call('llm', 's');
is(breaker('l', 's')->{state}, 'open', 'open');
my $stream = http($n)->start(GET => '/llm/', headers => { 'X-Tenant' => 's' });
ok($stream->wait_body(qr/one/), 'the stream has begun');
is(breaker('l', 's', 1)->{state}, 'closed', 'and the breaker is closed');
is(breaker('l', 's', 1)->{inflight}, 1, 'while it runs');
$stream->close;
ok(wait_until(5, sub { breaker('l', 's')->{inflight} == 0 }), 'it is over');
is(breaker('l', 's')->{state}, 'closed', 'closed still');


# when_open wait

answers(500, { body => 'waited' });
call('short', 'w');
is(breaker('w', 'w')->{state}, 'open', 'open');
is(call('short', 'w')->status, 503, 'a wait that is too short');
my $began = now;
$r = call('wait', 'w');
is($r->body, 'waited', 'a wait for the half-open');
is($a->count, 2, 'asked once more');


# two workers, one state

sub workers_seen {
    my %pid;
    for (1 .. 400) {
        $pid{ http($n)->get('/pid')->body } = 1;
        return 1 if keys %pid == 2;
    }
    return 0;
}

ok(workers_seen(), 'both workers take calls');

$n->conf($http);
ok($n->reload(gone => 1), 'reload');
is(breaker('a')->{state}, 'open', 'an open breaker is open after a reload');
is(breaker('a')->{opened}, 1, 'with its counts');
answers(200);
is(call('alone')->status, 503, 'and refuses');

answers(500);
call('alone', 'both') for 1 .. 3;
$a->forget;
is(scalar(grep { call('alone', 'both')->status != 503 } 1 .. 40), 0,
    'what one worker opened is open for each');
is($a->count, 0, 'no call got through');

# thresholds are the new configuration's at once

answers(500);
call('alone', 'later') for 1, 2;
$n->conf($http =~ s/failures=3/failures=1/r);
ok($n->reload, 'reload with a lower threshold');
call('alone', 'later');
is(breaker('a', 'later')->{state}, 'open', 'old counts, new threshold');

done_testing();
