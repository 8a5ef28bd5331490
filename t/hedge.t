#!/usr/bin/env perl

# Tests for hedges: a second attempt beside a silent one.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Digest::SHA qw(sha256_hex);

my $a = upstream();
my $b = upstream();
my $c = upstream();

my $http = <<'E';
    log_format call '$resilience_trace|$resilience_outcome|$status|$http_x_id';
    access_log %%PREFIX%%/access.log call;

    resilience_zone zone=hedges:1m;
    resilience_headers on;
    resilience_tenant $http_x_tenant;

    resilience_policy one {
        retry 0;
        hedge after=200ms max=1;
        breaker failures=1 error_rate=0 open=1h;
    }
    resilience_policy two { retry 0; hedge after=100ms max=2; breaker off; }
    resilience_policy many { retry 0; hedge after=50ms max=10; breaker off; }
    resilience_policy again {
        retry 3 base=1ms;
        hedge after=100ms;
        breaker off;
    }
    resilience_policy post {
        retry 0;
        hedge after=100ms;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_policy total {
        retry 0;
        timeout total=600ms;
        hedge after=100ms;
        breaker failures=1 error_rate=0 open=1h;
    }
    resilience_policy poor {
        retry 0;
        hedge after=100ms;
        retry_budget 0% min=0;
        breaker off;
    }
    resilience_policy p95 { retry 0; hedge after=p95; breaker off; }
    resilience_policy quick {
        retry 0;
        hedge after=100ms;
        breaker failures=1 error_rate=0 open=1ms probes=1 successes=1;
    }
    resilience_policy llm {
        preset llm_chat;
        retry 0;
        hedge after=200ms;
        breaker failures=100 error_rate=0;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%C%%; }
    resilience_provider p { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider oa {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider ob {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }

    resilience_chain one   { policy one; provider a; provider b; }
    resilience_chain three { policy one; provider a; provider b; provider c; }
    resilience_chain alone { policy one; provider a; }
    resilience_chain two   { policy two; provider a; provider b; provider c; }
    resilience_chain many  { policy many; attempts 3; provider a; }
    resilience_chain again { policy again; provider a; }
    resilience_chain post  { policy post; provider a; provider b; }
    resilience_chain total { policy total; provider a; provider b; }
    resilience_chain poor  { policy poor; provider a; provider b; }
    resilience_chain p95   { policy p95; provider p; provider b; }
    resilience_chain quick { policy quick; provider a; provider b; }
    resilience_chain b     { policy one; provider b; }
    resilience_chain bq    { policy quick; provider b; }
    resilience_chain llm   { policy llm; provider oa; provider ob; }

    server {
        listen 127.0.0.1:%%PORT%%;
        client_max_body_size 8m;
        location /one/   { resilience_pass one; }
        location /three/ { resilience_pass three; }
        location /alone/ { resilience_pass alone; }
        location /two/   { resilience_pass two; }
        location /many/  { resilience_pass many; }
        location /again/ { resilience_pass again; }
        location /post/  { resilience_pass post; }
        location /total/ { resilience_pass total; }
        location /poor/  { resilience_pass poor; }
        location /p95/   { resilience_pass p95; }
        location /quick/ { resilience_pass quick; }
        location /b/     { resilience_pass b; }
        location /bq/    { resilience_pass bq; }
        location /llm/   { resilience_pass llm; }
    }
    server {
        listen 127.0.0.1:%%PORT2%%;
        access_log off;
        location = /status { resilience_status; }
    }
E

my $n = nginx($http, vars => { A => $a->port, B => $b->port, C => $c->port });

my %of = (a => $a, b => $b, c => $c);
my $id = 0;

# what the upstreams answer, as lists; one that is not given says its name
sub answers {
    my %say = @_;
    for my $name (keys %of) {
        $of{$name}->on('/', @{ $say{$name} // [ { body => "from $name" } ] });
        $of{$name}->forget;
    }
}

sub headers {
    my (%opt) = @_;
    return { 'X-Id' => ++$id, 'X-Tenant' => $opt{tenant} // '',
             %{ $opt{headers} // {} } };
}

sub call {
    my ($chain, %opt) = @_;
    my $method = $opt{method} // 'GET';
    return http($n)->request($method => "/$chain/", headers => headers(%opt),
        $method eq 'POST' ? (body => 'x') : ());
}

sub start {
    my ($chain, %opt) = @_;
    return http($n)->start(GET => "/$chain/", headers => headers(%opt));
}

# of the last call: trace, without times; outcome; status
sub logged {
    return undef if !$n->wait_access_log(qr/\|$id$/);
    my ($line) = reverse $n->access_log(qr/\|$id$/);
    return $line =~ s/:[\d.]+(?=,|\|)//gr =~ s/\|$id$//r;
}

sub status { http($n->port(2))->get("/status?$_[0]")->json }

sub breaker {
    my ($provider, $tenant) = @_;
    my $s = status("provider=$provider&tenant=" . ($tenant // '-'));
    return $s->{breakers}[0];
}

sub inflight {
    my $sum = 0;
    $sum += $_->{inflight} for @{ status('')->{providers} };
    return $sum;
}

sub idle_ok {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(wait_until(5, sub { inflight() == 0 }), "$name: nothing in flight");
}


# a silent first provider

answers(a => [ { silent => 1 } ]);
my $r = call('one', headers => { Authorization => 'Bearer client' });
is($r->body, 'from b', 'the hedge wins');
is($a->last_request->{header}{authorization}, 'Bearer client',
    'the client\'s credential is for the first');
is($b->last_request->{header}{authorization}, undef, 'and not for a hedge');
cmp_ok($r->time_total, '>=', 0.19, 'after its delay');
cmp_ok($r->time_total, '<', 2 * factor, 'and not much later');
is($r->header('x-resilience-attempts'), 2, 'two attempts');
is($r->header('x-resilience-provider'), 'b', 'winner');
ok($a->wait_aborted(1), 'the loser is closed');
like(logged(), qr/^a:cancelled:\S*, b:success:200\|success\|200$/, 'trace');
my $br = breaker('a');
is($br->{state}, 'closed', 'the loser\'s breaker');
is($br->{failures}, 0, 'has no failure');
is($br->{successes}, 0, 'and no success');
idle_ok('a hedge');
ok($n->wait_log(qr/hedge at provider "b" beside "a"/), 'a hedge is logged');

# a quick one has none

answers();
is(call('one')->body, 'from a', 'a quick first');
is($b->count, 0, 'has no hedge');
like(logged(), qr/^a:success:200\|success\|200$/, 'trace of one');

# late, but before the hedge

answers(a => [ { hold => 'a', body => 'from a' } ], b => [ { silent => 1 } ]);
my $s = start('one');
ok($b->wait_requests(1), 'a hedge runs');
$a->release('a');
$s->read_until_end;
is($s->body, 'from a', 'the first wins');
ok($b->wait_aborted(1), 'the hedge is closed');
like(logged(), qr/^b:cancelled:\S*, a:success:200\|success\|200$/,
    'trace of a lost hedge');
is(breaker('b')->{failures}, 0, 'a lost hedge is no failure');
idle_ok('a lost hedge');
$a->rearm('a');


# failures

answers(a => [ { hold => 'a', status => 503 } ],
        b => [ { hold => 'b', body => 'from b' } ]);
$s = start('three', tenant => 'f1');
ok($b->wait_held(1), 'two run');
$a->release('a');
ok($a->wait_done(1), 'the first fails');
ok(!$s->wait_header(0.2), 'which does not end the call');
is($c->count, 0, 'nor asks another');
$b->release('b');
$s->read_until_end;
is($s->body, 'from b', 'the hedge answers');
is(breaker('a', 'f1')->{failures}, 1, 'a failure is one');
$_->rearm('a'), $_->rearm('b') for $a, $b;

answers(a => [ { hold => 'a', body => 'from a' } ], b => [ 500 ]);
$s = start('three', tenant => 'f2');
ok($b->wait_done(1), 'a hedge fails');
ok(!$s->wait_header(0.2), 'which does not end the call');
is($c->count, 0, 'and there is no other');
$a->release('a');
$s->read_until_end;
is($s->body, 'from a', 'the first answers');
$a->rearm('a');

answers(a => [ { hold => 'a', status => 503 } ], b => [ 500 ]);
$s = start('three', tenant => 'f3');
ok($b->wait_done(1), 'a hedge fails');
$a->release('a');
$s->read_until_end;
is($s->body, 'from c', 'both failed: the next one');
like(logged(), qr/^b:server_error:500, a:overloaded:503, c:success:200\|/,
    'in that order');
$a->rearm('a');

answers(a => [ { hold => 'a', status => 503, body => 'no a' } ],
        b => [ { hold => 'b', status => 500, body => 'no b' } ]);
$s = start('one', tenant => 'f4');
ok($b->wait_held(1), 'two run');
$a->release('a');
ok(wait_until(5, sub { breaker('a', 'f4')->{failures} == 1 }),
    'the first fails');
$b->release('b');
$s->read_until_end;
is($s->status, 503, 'spent with the first\'s error');
is($s->body, 'no a', 'as it came');
like(logged(), qr/^a:overloaded:503, b:server_error:500\|overloaded\|503$/,
    'trace of two failures');
$_->rearm('a'), $_->rearm('b') for $a, $b;

answers(a => [ { hold => 'a', status => 503, body => 'no a' } ],
        b => [ { status => 500, body => 'no b' } ]);
$s = start('one', tenant => 'f5');
ok($b->wait_done(1), 'the hedge fails first');
ok(wait_until(5, sub { breaker('b', 'f5')->{failures} == 1 }), 'is known');
$a->release('a');
$s->read_until_end;
is($s->body, 'no a', 'the error is still the first provider\'s');
$a->rearm('a');
idle_ok('failures');

# an answer that is the client's ends both

answers(a => [ { silent => 1 } ], b => [ { status => 404, body => 'none' } ]);
$r = call('one', tenant => 'f6');
is($r->status, 404, 'a 404 of the hedge');
ok($a->wait_aborted(1), 'is an answer');

# what the first asked for is kept in mind

answers(a => [ { hold => 'a', status => 429,
                 headers => { 'Retry-After' => 3000 } } ],
        b => [ { hold => 'b', body => 'from b' } ]);
$s = start('one', tenant => 'hint');
ok($b->wait_held(1), 'two run');
$a->release('a');
ok($a->wait_done(1), 'the first is to rest');
$b->release('b');
$s->read_until_end;
is($s->body, 'from b', 'the hedge answers');
cmp_ok(breaker('a', 'hint')->{retry_in_ms}, '>', 2_000_000,
    'Retry-After of a first that failed beside a hedge');
$_->rearm('a'), $_->rearm('b') for $a, $b;


# how many, and where

answers(a => [ { silent => 1, times => 1 }, { body => 'second' } ]);
is(call('alone', tenant => 'n1')->body, 'second', 'one provider');
is($a->count, 2, 'is asked twice');
ok($a->wait_aborted(1), 'and closed once');

answers(a => [ { silent => 1 } ], b => [ { silent => 1 } ]);
$s = start('three', tenant => 'n2');
ok($b->wait_requests(1), 'max=1');
ok(!$s->wait_header(0.5), 'silent for long');
is($a->count + $b->count + $c->count, 2, 'and no second hedge');
$s->close;
ok($a->wait_aborted(1), 'the client went: the first is closed');
ok($b->wait_aborted(1), 'and the hedge');
like(logged(), qr/\|client_abort\|499$/, 'outcome');
is(breaker('a', 'n2')->{failures}, 0, 'no failure of the first');
is(breaker('b', 'n2')->{failures}, 0, 'nor of the hedge');
idle_ok('a client that went');

answers(a => [ { silent => 1 } ], b => [ { silent => 1 } ]);
$r = call('two');
is($r->body, 'from c', 'max=2');
cmp_ok($r->time_total, '>=', 0.19, 'one after the other');
ok($_->wait_aborted(1), 'a loser is closed') for $a, $b;
like(logged(), qr/cancelled.*cancelled.*c:success/, 'trace of three');

answers(map { $_ => [ { silent => 1 } ] } 'a' .. 'c');
$s = start('two');
ok($c->wait_requests(1), 'three run');
ok(!$s->wait_header(0.3), 'silent for long');
is($a->count + $b->count + $c->count, 3, 'never more than max');
$s->close;
ok($_->wait_aborted(1), 'all are closed') for $a, $b, $c;

answers(a => [ { silent => 1 } ]);
$s = start('many');
ok($a->wait_requests(3), 'hedges up to "attempts"');
ok(!$s->wait_header(0.3), 'silent for long');
is($a->count, 3, 'and no more');
$s->close;
ok($a->wait_aborted(3), 'all are closed');

# the second one asked has a hedge, too

answers(a => [ 500 ], b => [ { silent => 1 } ]);
$r = call('three', tenant => 'n3');
is($r->body, 'from c', 'a hedge of a fallback');
cmp_ok($r->time_total, '>=', 0.19, 'after its own delay');
like(logged(), qr/^a:server_error:500, b:cancelled\S*, c:success:200\|/,
    'trace');

# a failure before any hedge is retried at once

answers(a => [ { status => 503, times => 2 }, { body => 'third' } ]);
is(call('again')->body, 'third', 'retries go on without a hedge');
is($a->count, 3, 'three attempts');
idle_ok('many');


# whether the request may be sent twice

my $late = [ { delay_ms => 400, body => 'from a' } ];

answers(a => $late);
is(call('one', tenant => 'p1', method => 'POST')->body, 'from a', 'a POST');
is($b->count, 0, 'has no hedge');

answers(a => $late);
is(call('one', tenant => 'p1', method => 'POST',
        headers => { 'Idempotency-Key' => 'k' })->body, 'from b',
    'a POST with Idempotency-Key has');
is($b->last_request->{body}, 'x', 'with its body');
is($b->last_request->{method}, 'POST', 'as a POST');

my $big = 'x' x 3_000_000;
answers(a => [ { silent => 1 } ]);
$r = http($n)->post('/one/', body => $big, headers => headers(
    tenant => 'p3', headers => { 'Idempotency-Key' => 'k' }));
is($r->body, 'from b', 'a big POST');
is($_->last_request->{sha256}, sha256_hex($big), 'is sent whole') for $a, $b;
ok($a->wait_aborted(1), 'its loser is closed');

answers(a => $late);
is(call('post', method => 'POST')->body, 'from b', 'retry_non_idempotent');

answers(a => $late);
is(call('poor')->body, 'from a', 'retry_budget 0%');
is($b->count, 0, 'allows none');

answers(a => $late);
is(call('one', tenant => 'p2',
        headers => { 'X-Resilience-Fallback' => 'off' })->body, 'from a',
    'X-Resilience-Fallback: off');
is($b->count, 0, 'not at another provider');


# what the breaker says

answers(b => [ 500 ], a => $late);
call('b', tenant => 'open');
is(breaker('b', 'open')->{state}, 'open', 'the target is open');
$b->forget;
is(call('one', tenant => 'open')->body, 'from a', 'a slow first');
is($b->count, 0, 'an open breaker has no hedge');
like(logged(), qr/^a:success:200\|success\|200$/, 'nor is it an attempt');

# a half-open one is for probes

answers(b => [ 500, 200 ], a => $late);
call('bq', tenant => 'half');
is(breaker('b', 'half')->{state}, 'open', 'open, for a millisecond');
ok(wait_until(5, sub { breaker('b', 'half')->{retry_in_ms} == 0 }), 'over');
$b->forget;
is(call('quick', tenant => 'half')->body, 'from a', 'a slow first');
is($b->count, 0, 'no permit of a half-open breaker for a hedge');
is(call('bq', tenant => 'half')->status, 200, 'which is there for a call');


# the deadline

answers(a => [ { silent => 1 } ], b => [ { silent => 1 } ]);
$r = call('total', tenant => 't');
is($r->status, 504, 'the deadline ends both');
cmp_ok($r->time_total, '>=', 0.59, 'when it is over');
cmp_ok($r->time_total, '<', 3 * factor, 'at once');
ok($_->wait_aborted(1), 'closed') for $a, $b;
like(logged(), qr/^[ab]:timeout\S*, [ab]:timeout\S*\|timeout\|504$/,
    'trace of a deadline');
idle_ok('a deadline');


# after commit

answers(a => [ { body => 'one two', stall_after_bytes => 3 } ]);
$s = start('one', tenant => 'c');
ok($s->wait_body(qr/one/), 'an answer has begun');
ok(!$s->wait_body(qr/two/, 0.4), 'and is slow');
is($b->count, 0, 'no hedge any more');
$s->close;
ok($a->wait_aborted(1), 'over');


# streams

my $stream = { openai => { stream => 1, content => 'from b' } };
my $comment = { comment => 'wait' };

answers(a => [ { events => [ $comment ], stall_after_events => 1 } ],
        b => [ $stream ]);
$r = http($n)->post('/llm/', { stream => \1 }, headers => headers());
is($r->text, 'from b', 'a stream that does not begin is hedged');
ok($r->complete, 'to its end');
unlike($r->body, qr/wait/, 'nothing of the loser is seen');
ok($a->wait_aborted(1), 'which is closed');
like(logged(), qr/^oa:cancelled:200, ob:success:200\|success\|200$/,
    'trace of a stream');

answers(a => [ { openai => { stream => 1, content => 'from a' },
                 stall_after_events => 2 } ], b => [ $stream ]);
$s = http($n)->start(POST => '/llm/', json => { stream => \1 },
    headers => headers());
ok($s->wait_body(qr/from/), 'a stream has begun');
ok(!$s->wait_events(9, 0.4), 'and is slow');
is($b->count, 0, 'a stream that has begun has no hedge');
$s->close;
ok($a->wait_aborted(1), 'closed');

# both have begun to say something, one is faster

answers(a => [ { events => [ $comment, { comment => 'x', hold => 'a' } ] } ],
        b => [ { events => [ $comment, { comment => 'x', hold => 'b' },
                 { data => { choices => [ { delta => { content => 'b' } } ] } },
                 { data => '[DONE]' } ] } ]);
$s = http($n)->start(POST => '/llm/', json => { stream => \1 },
    headers => headers());
ok($_->wait_held(1), 'a comment of each') for $a, $b;
$b->release('b');
$s->read_until_end;
is($s->text, 'b', 'the first event wins');
ok($s->complete, 'and ends well');
ok($a->wait_aborted(1), 'the other is closed');
$_->rearm('a'), $_->rearm('b') for $a, $b;
idle_ok('streams');


# after=p95

answers(a => [ { delay_ms => 20, times => 99, body => 'a' },
               { delay_ms => 700, body => 'late' } ]);
my $keep = http($n);
$keep->get('/p95/', headers => headers()) for 1 .. 99;
is($b->count, 0, 'p95: none while it is not known');
is(call('p95')->body, 'late', 'with 99 samples');
is($b->count, 0, 'there is none');
$r = call('p95');
is($r->body, 'from b', 'with 100 there is');
cmp_ok($r->time_total, '>=', 0.015, 'after the p95');
cmp_ok($r->time_total, '<', 0.6, 'which is that of the provider');

idle_ok('all');

done_testing();
