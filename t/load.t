#!/usr/bin/env perl

# Tests for what spreads and bounds the load: limits of attempts in flight,
# and the order in which providers are asked.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();
my $c = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port, C => $c->port },
    allow => [ qr/exited on signal 9/ ], http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$status|$http_x_id';
    access_log %%PREFIX%%/access.log call;

    resilience_zone zone=load:1m;
    resilience_headers on;
    resilience_tenant $http_x_tenant;

    resilience_policy off   { retry 0; breaker off; }
    resilience_policy limit { retry 0; concurrency 2; breaker off; }
    resilience_policy short {
        retry 0;
        concurrency 2;
        timeout attempt=300ms;
        breaker off;
    }
    resilience_policy adaptive {
        retry 0;
        concurrency adaptive min=1 max=6 initial=4;
        breaker off;
    }
    resilience_policy hedge {
        retry 0;
        concurrency 1;
        hedge after=50ms;
        breaker off;
    }
    resilience_policy once {
        retry 0;
        breaker failures=1 error_rate=0 open=1h;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%C%%; }
    resilience_provider fast { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider slow { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider o {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider key {
        llm_dialect openai;
        llm_key sk-own;
        resilience_endpoint http://127.0.0.1:%%C%%;
    }

    resilience_chain both  { policy limit; provider a; provider b policy=off; }
    resilience_chain alone { policy limit; provider a; }
    resilience_chain short { policy short; provider a; }
    resilience_chain wait  { policy limit; provider a; when_open wait=5s; }
    resilience_chain hedge { policy hedge; provider a; }
    resilience_chain llm   { policy limit; provider o; }
    resilience_chain adaptive { policy adaptive; provider a; }

    resilience_chain weighted {
        policy off;
        balance weighted;
        provider a weight=3;
        provider b;
    }
    resilience_chain zero {
        policy off;
        balance weighted;
        provider a weight=0;
        provider b weight=1;
    }
    resilience_chain zeros {
        policy off;
        balance weighted;
        provider a weight=0;
        provider b weight=0;
    }
    resilience_chain open {
        policy once;
        balance weighted;
        provider a weight=9;
        provider b;
    }
    resilience_chain latency {
        policy off;
        balance least_latency;
        provider slow;
        provider fast;
    }
    resilience_chain three {
        policy off;
        balance weighted;
        attempts 2;
        provider a;
        provider b;
        provider c;
    }
    resilience_chain three_latency {
        policy off;
        balance least_latency;
        attempts 2;
        provider a;
        provider b;
        provider c;
    }
    resilience_chain keys {
        policy off;
        balance weighted;
        provider key;
        provider a;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 10000;
        location /both/     { resilience_pass both; }
        location /alone/    { resilience_pass alone; }
        location /short/    { resilience_pass short; }
        location /wait/     { resilience_pass wait; }
        location /hedge/    { resilience_pass hedge; }
        location /llm/      { resilience_pass llm; }
        location /adaptive/ { resilience_pass adaptive; }
        location /weighted/ { resilience_pass weighted; }
        location /zero/     { resilience_pass zero; }
        location /zeros/    { resilience_pass zeros; }
        location /open/     { resilience_pass open; }
        location /latency/  { resilience_pass latency; }
        location /three/    { resilience_pass three; }
        location /three_latency/ { resilience_pass three_latency; }
        location /keys/     { resilience_pass keys; }
        location = /status  { access_log off; resilience_status; }
        location = /pid     { access_log off; return 200 $pid; }
    }
E

my %of = (a => $a, b => $b, c => $c);
my $id = 0;

sub answers {
    my %say = @_;
    for my $name (keys %of) {
        $of{$name}->on('/', @{ $say{$name} // [ { body => "from $name" } ] });
        $of{$name}->forget;
    }
}

# a client that is connected to that worker
sub at {
    my ($pid) = @_;
    for (1 .. 1000) {
        my $client = http($n);
        return $client if $client->get('/pid')->body == $pid;
    }
    die "worker $pid takes no connection\n";
}

sub headers {
    my ($tenant) = @_;
    return { 'X-Id' => ++$id, 'X-Tenant' => $tenant // '' };
}

sub call {
    my ($chain, $tenant, $client) = @_;
    return ($client // http($n))->get("/$chain/", headers => headers($tenant));
}

sub start {
    my ($chain, $tenant, $client) = @_;
    return ($client // http($n))->start(GET => "/$chain/",
        headers => headers($tenant));
}

sub logged {
    return undef if !$n->wait_access_log(qr/\|$id$/);
    my ($line) = $n->access_log(qr/\|$id$/);
    return $line =~ s/\|$id$//r;
}

sub inflight {
    my ($provider) = @_;
    my $s = http($n)->get("/status?provider=$provider")->json;
    return $s->{providers}[0]{inflight};
}

# calls that are answered when the hold is released, one at each worker
sub hold {
    my ($tenant) = @_;
    my $before = $a->count;
    my @held = map { start('both', $tenant, at($_)) } $n->workers;
    ok($a->wait_held(scalar @held), 'calls are held');
    return @held;
}

my $held = { hold => 'h', body => 'from a' };


# across workers

answers(a => [ $held ]);
my @held = hold();
is(scalar(@held), 2, 'at both workers');

for my $pid ($n->workers) {
    my $r = call('both', undef, at($pid));
    is($r->body, 'from b', 'one more goes to the next provider');
    is($r->header('x-resilience-attempts'), 1, 'at no attempt\'s cost');
    like(logged(), qr/^a:limited:[^,]*, b:success:200:[^,]*\|success\|200$/,
        'trace');

    $r = call('alone', undef, at($pid));
    is($r->status, 503, 'nothing is left');
    is($r->header('x-resilience-outcome'), 'limited', 'outcome');
    cmp_ok($r->header('retry-after'), '>=', 1, 'Retry-After');
}
is($a->count, 2, 'the provider is spared');

my $other = start('alone', 'other');
ok($a->wait_held(3), 'another tenant is not limited');
$other->close;
ok($a->wait_aborted(1), 'and leaves');

my $waiting = start('wait');
ok(!$waiting->wait_header(0.2), 'when_open wait');
$a->release('h');
for my $s (@held) {
    $s->read_until_end;
    is($s->body, 'from a', 'a held call is answered');
}
$waiting->read_until_end;
is($waiting->body, 'from a', 'and one that waited');
ok(wait_until(5, sub { inflight('a') == 0 }), 'nothing in flight');
is(call('alone')->status, 200, 'released on success');
$a->rearm('h');

# other ends

answers(a => [ { hold => 'h', status => 500 } ]);
@held = hold('failure');
is(call('alone', 'failure')->status, 503, 'full');
$a->release('h');
$_->read_until_end for @held;
answers();
is(call('alone', 'failure')->body, 'from a', 'released on failure');
$a->rearm('h');

answers(a => [ { silent => 1, times => 2 }, 200 ]);
@held = map { start('alone', 'abort', at($_)) } $n->workers;
ok($a->wait_requests(2), 'two are silent');
is(call('alone', 'abort')->status, 503, 'full');
$held[0]->close;
$held[1]->reset;
ok($a->wait_aborted(2), 'clients go');
is(call('alone', 'abort')->status, 200, 'released on abort');

answers(a => [ { silent => 1, times => 2 }, 200 ]);
@held = map { start('short', 'timeout', at($_)) } $n->workers;
$_->read_until_end for @held;
is($held[0]->status, 504, 'timeout');
is(call('alone', 'timeout')->status, 200, 'released on timeout');

answers(a => [ { reset_before_header => 1, times => 2 }, 200 ]);
call('alone', 'reset') for 1, 2;
is(call('alone', 'reset')->status, 200, 'released on reset');

# many at a time

answers(a => [ $held ]);
my @many = map { start('alone', 'many') } 1 .. 30;
ok($a->wait_held(2), 'two are held');
ok(wait_until(5, sub {
    return 28 == grep { $_->wait_header(0.01) && $_->status == 503 } @many;
}), 'all others are refused');
is($a->count, 2, 'never more than the limit');
$a->release('h');
$_->read_until_end for @many;
is(scalar(grep { $_->status == 200 } @many), 2, 'two are answered');
$a->rearm('h');

# hedges count

answers(a => [ { delay_ms => 200, body => 'from a' } ]);
is(call('hedge', 'hedge')->body, 'from a', 'a slow call');
is($a->count, 1, 'no hedge above the limit');

# a stream counts to its end

answers(a => [ { openai => { stream => 1, content => 'one two' },
                 stall_after_events => 2 } ]);
@held = map { start('llm') } 1, 2;
ok($_->wait_body(qr/one/), 'a stream runs') for @held;
my $r = call('llm');
is($r->status, 503, 'a stream counts');
is($r->json->{error}{code}, 'limited', 'said in the dialect');
$_->close for @held;
ok(wait_until(5, sub { inflight('o') == 0 }), 'to its end');

# a worker that is killed

answers(a => [ { silent => 1, times => 2 }, 200 ]);
my ($victim) = $n->workers;
@held = map { start('alone', 'kill', at($victim)) } 1, 2;
ok($a->wait_requests(2), 'two at one worker');
is(call('alone', 'kill')->status, 503, 'full');
kill KILL => $victim;
ok($n->wait_gone($victim, 5), 'a worker is killed');
ok(wait_until(5, sub { inflight('a') == 0 }), 'what it held is taken back');
is(call('alone', 'kill')->status, 200, 'released');
ok(wait_until(5, sub { $n->workers == 2 }), 'there is a new one');
answers(a => [ $held ]);
@held = hold('kill');
is(call('alone', 'kill')->status, 503, 'and the limit is what it was');
$_->close for @held;
ok($a->wait_aborted(2), 'they leave');


# adaptive

# how many calls at a time are let through, of 8
sub let_through {
    answers(a => [ { silent => 1 } ]);
    my @calls;
    for (1 .. 8) {
        my $count = $a->count;
        my $s = start('adaptive', 'ad');
        push @calls, $s;
        wait_until(5, sub { $a->count > $count || $s->wait_header(0.01) })
            or diag 'neither asked nor answered';
    }
    my $passed = $a->count;
    $_->close for @calls;
    $a->wait_aborted($passed);
    wait_until(5, sub { inflight('a') == 0 });
    return $passed;
}

is(let_through(), 4, 'adaptive begins with initial=');
answers(a => [ { status => 429, delay_ms => 5 } ]);
call('adaptive', 'ad') for 1 .. 4;
my $fell = let_through();
cmp_ok($fell, '<', 4, 'falls with 429');
answers(a => [ { status => 503, delay_ms => 5 } ]);
call('adaptive', 'ad') for 1 .. 20;
is(let_through(), 1, 'and 503, down to min=');
answers(a => [ { status => 404, delay_ms => 5 } ]);
call('adaptive', 'ad') for 1 .. 3;
answers();
call('adaptive', 'ad') for 1 .. 5;
$r = let_through();
cmp_ok($r, '>', 1, 'rises with successes');
for (1 .. 8) {
    answers(a => [ $held ]);
    my @calls;
    for (1 .. 6) {
        my $count = $a->count;
        my $s = start('adaptive', 'ad');
        wait_until(5, sub { $a->count > $count || $s->wait_header(0.01) });
        push @calls, $s;
    }
    $a->wait_held($a->count);
    $a->release('h');
    $_->read_until_end for @calls;
    $a->rearm('h');
}
is(let_through(), 6, 'up to max=');


# balance weighted

my $keep = http($n);
answers();
call('weighted', undef, $keep) for 1 .. 400;
is($a->count + $b->count, 400, 'each call asks one');
cmp_ok($a->count, '>', 245, 'three of four go to the heavy');
cmp_ok($a->count, '<', 355, 'and not all');

answers();
call('zero', undef, $keep) for 1 .. 50;
is($a->count, 0, 'weight=0 is not asked first');
is($b->count, 50, 'but the other');
answers(b => [ 500 ]);
is(scalar(grep { call('zero', undef, $keep)->body eq 'from a' } 1 .. 20), 20,
    'only when it failed');
answers();
is(call('zeros', undef, $keep)->body, 'from a', 'all weights 0');

answers(a => [ 500 ]);
is(scalar(grep { call('open', 'o', $keep)->body eq 'from b' } 1 .. 50), 50,
    'fallback of weighted');
is($a->count, 1, 'an open breaker is passed by');
is($b->count, 50, 'whatever its weight');

# balance least_latency

answers(b => [ { delay_ms => 150, body => 'from b' } ]);
call('latency', undef, $keep) for 1 .. 6;
cmp_ok($b->count, '>=', 1, 'the slow one is tried');
cmp_ok($a->count, '>=', 1, 'and the fast one');
$_->forget for $a, $b;
call('latency', undef, $keep) for 1 .. 50;
is($a->count + $b->count, 50, 'each call asks one');
cmp_ok($a->count, '>=', 40, 'the fast one is asked');
answers(a => [ 500 ]);
is(scalar(grep { call('latency', undef, $keep)->body eq 'from b' } 1 .. 10),
    10, 'fallback of least_latency');
is($b->count, 10, 'each at the slow one');
cmp_ok($a->count, '<=', 3, 'one that fails fast is not a fast one');

# attempts, and none is asked twice

for my $chain ('three', 'three_latency') {
    answers(map { $_ => [ 500 ] } keys %of);
    my (%first, $wrong);
    for (1 .. 60) {
        $r = call($chain, undef, $keep);
        $wrong++ if $r->header('x-resilience-attempts') != 2;
        my ($one, $two) = logged() =~ /^(\w):.*, (\w):/;
        $wrong++ if $one eq $two;
        $first{$one}++;
    }
    is($a->count + $b->count + $c->count, 120, "$chain: attempts 2");
    is($wrong, undef, "$chain: at two providers");
    is(scalar keys %first, 3, "$chain: each may be the first")
        if $chain eq 'three';
}


# the client's credential is for the first provider of the chain: in whatever
# order they are asked, no other one ever sees it

my $own = { Authorization => 'Bearer client', Cookie => 'c=1',
            'X-Api-Key' => 'client' };

sub seen {
    my ($upstream) = @_;
    my %seen;
    for my $q ($upstream->requests) {
        $seen{$q->{header}{$_} // '-'}++
            for 'authorization', 'cookie', 'x-api-key';
    }
    return join ' ', sort keys %seen;
}

answers();
$keep->get('/weighted/', headers => $own) for 1 .. 40;
is(seen($a), 'Bearer client c=1 client', 'credentials go to the first named');
cmp_ok($b->count, '>', 0, 'the other is asked');
is(seen($b), '-', 'without them');

answers(a => [ 500 ]);
$keep->get('/weighted/', headers => $own) for 1 .. 40;
is(seen($b), '-', 'nor when the first has failed');

answers(a => [ 500 ], b => [ 500 ], c => [ 500 ]);
$keep->get('/three_latency/', headers => $own) for 1 .. 40;
is(seen($_), '-', 'nor with least_latency') for $b, $c;

answers(c => [ 500 ]);
$keep->get('/keys/', headers => $own) for 1 .. 40;
is(seen($a), '-', 'nor to one behind a provider with a key');
is(seen($c), '- Bearer sk-own', 'which has its own');

for my $p ('a' .. 'c') {
    ok(wait_until(5, sub { inflight($p) == 0 }), "nothing of $p in flight");
}

done_testing();
