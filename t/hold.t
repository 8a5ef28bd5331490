#!/usr/bin/env perl

# Tests for answers that are no streams: they are held until they are known
# to be good, or until no more can be held.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$status';
    access_log %%PREFIX%%/access.log call;

    resilience_policy p {
        preset llm_chat;
        timeout first_byte=5s idle=5s attempt=30s;
        retry 0;
        breaker off;
    }

    resilience_provider oa {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider ob {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider aa {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider ab {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider small {
        llm_dialect openai;
        llm_hold 16k;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider zero {
        llm_dialect openai;
        llm_hold 0;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain openai    { policy p; provider oa; provider ob; }
    resilience_chain anthropic { policy p; provider aa; provider ab; }
    resilience_chain small     { policy p; provider small; provider ob; }
    resilience_chain zero      { policy p; provider zero; provider ob; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;
        location /openai/    { resilience_pass openai; }
        location /anthropic/ { resilience_pass anthropic; }
        location /small/     { resilience_pass small; }
        location /zero/      { resilience_pass zero; }
    }
E

my $c = http($n);

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', $for_a);
    $b->on('/', $for_b // { openai => { content => 'from b' } });
    $_->forget for $a, $b;
}

sub call { $c->post("/$_[0]/", { model => 'm' }) }

my %json = (type => 'application/json');


answers({ openai => { content => 'from a' } });
my $r = call('openai');
is($r->status, 200, 'status');
is($r->text, 'from a', 'text');
is($r->header('content-length'), length $r->body, 'length');
ok($r->complete, 'complete');

answers({ openai => { content => 'from a' }, framing => 'chunked' });
is(call('openai')->text, 'from a', 'chunked');
answers({ openai => { content => 'from a' }, framing => 'close' });
is(call('openai')->text, 'from a', 'until close');

answers({ anthropic => { content => 'from a' } },
        { anthropic => { content => 'from b' } });
is(call('anthropic')->text, 'from a', 'anthropic');

answers({ status => 204 });
is(call('openai')->status, 204, 'no content');

answers({ type => 'audio/mpeg', body => 'ID3...' });
is(call('openai')->body, 'ID3...', 'what is no JSON');

# it falls over

my $long = '{"choices":[{"message":{"content":"' . 'x' x 5000 . '"}}]}';

for my $case (
    [ 'empty', 'invalid_response', { body => '', %json } ],
    [ 'blank', 'invalid_response', { body => "\n\n  \n", %json } ],
    [ 'no JSON', 'invalid_response', { body => 'oops', %json } ],
    [ 'half of a JSON', 'invalid_response', { body => '{"choices":[', %json } ],
    [ 'a page', 'invalid_response', { body => '<html>', type => 'text/html' } ],
    [ 'an error in a 200', 'server_error',
      { body => '{"error":{"message":"no"}}', %json } ],
    [ 'an error with a code in a 200', 'rate_limited',
      { body => '{"error":{"message":"no","code":429}}', %json } ],
    [ 'a cut body', 'stream_dropped',
      { body => $long, reset_after_bytes => 3000, %json } ],
    [ 'a short body', 'stream_dropped',
      { body => $long, close_after_bytes => 3000, %json } ],
    [ 'a cut chunked body', 'stream_dropped',
      { body => $long, framing => 'chunked', close_after_bytes => 3000,
        %json } ],
) {
    my ($name, $outcome, $answer) = @$case;
    answers($answer);
    $r = call('openai');
    is($r->status, 200, "$name: status");
    is($r->text, 'from b', "$name: falls over");
    ok($n->wait_access_log(qr/^oa:$outcome:\d+:\S+ ob:success/),
        "$name: $outcome");
}

# a redirect is followed by no one, the client included

answers({ status => 302, headers => { Location => '/x' } });
$r = call('openai');
is($r->status, 502, 'a redirect: status');
is($r->header('location'), undef, 'a redirect: not to be followed');
is(eval { $r->json->{error}{code} }, 'invalid_response', 'a redirect: code');
ok($n->wait_access_log(qr/^oa:invalid_response:302:\S+ *$/),
    'a redirect: no other is asked');

answers({ body => '{"type":"error","error":{"type":"overloaded_error",'
    . '"message":"x"}}', %json }, { anthropic => { content => 'from b' } });
is(call('anthropic')->text, 'from b', 'anthropic: an error in a 200');
ok($n->wait_access_log(qr/^aa:overloaded:200/), 'anthropic: its class');

# classes by the body

for my $case (
    [ 400, 'context_length', '{"error":{"message":"too long",'
        . '"code":"context_length_exceeded"}}' ],
    [ 400, 'content_policy', '{"error":{"message":"no",'
        . '"code":"content_filter"}}' ],
    [ 400, 'client_error', '{"error":{"message":"bad","code":null}}' ],
    [ 401, 'client_error', '{"error":{"message":"bad key"}}' ],
) {
    my ($status, $outcome, $body) = @$case;
    answers({ status => $status, body => $body, %json });
    $r = call('openai');
    is($r->status, $status, "$outcome: the caller's");
    is($r->body, $body, "$outcome: as it is");
    is($r->header('x-resilience-outcome'), $outcome, "$outcome: class");
    is($b->count, 0, "$outcome: no other is asked");
}

for my $case (
    [ 404, 'not_found', '{"error":{"code":"model_not_found"}}' ],
    [ 402, 'quota', '{}' ],
    [ 429, 'rate_limited', '{"error":{"code":"rate_limit_exceeded"}}' ],
    [ 429, 'quota', '{"error":{"code":"insufficient_quota"}}' ],
    [ 529, 'overloaded', '' ],
    [ 504, 'timeout', '' ],
) {
    my ($status, $outcome, $body) = @$case;
    answers({ status => $status, body => $body, %json });
    is(call('openai')->text, 'from b', "$outcome: falls over");
    ok($n->wait_access_log(qr/^oa:$outcome:$status:/), "$outcome: class");
}

for my $case ([ {}, 'quota' ], [ { 'Retry-After' => 1 }, 'rate_limited' ]) {
    my ($headers, $outcome) = @$case;
    answers({ status => 429, %json, headers => $headers,
        body => '{"type":"error","error":{"type":"rate_limit_error",'
                . '"message":"x"}}' }, { anthropic => { content => 'b' } });
    call('anthropic');
    ok($n->wait_access_log(qr/^aa:$outcome:429:/), "anthropic: $outcome");
}

# an error's body that does not come is not waited for

answers({ status => 500, body => 'x' x 1000, stall_after_bytes => 10, %json });
my $began = now;
is(call('openai')->text, 'from b', 'an error without its body');
cmp_ok(now - $began, '<', 4 * factor, 'does not hold the call');


# the spent chain, in the caller's dialect

answers({ status => 503, body => '{"error":{"message":"busy"}}', %json },
        { status => 500, body => '{}', %json });
$r = call('openai');
is($r->status, 503, 'spent: the first error');
is($r->body, '{"error":{"message":"busy"}}', 'spent: its body');
is($r->header('x-should-retry'), 'false', 'spent: x-should-retry');

$a->refuse;
$b->refuse;
$_->drop(idle => 1) for $a, $b;
$r = call('openai');
is($r->status, 502, 'spent: our own error');
is($r->header('content-type'), 'application/json', 'spent: type');
is($r->json->{error}{code}, 'connect', 'spent: code');
is($r->header('x-should-retry'), 'false', 'spent: x-should-retry');
$r = call('anthropic');
is($r->status, 502, 'anthropic: our own error');
is($r->json->{type}, 'error', 'anthropic: type');
ok($r->json->{error}{message}, 'anthropic: message');
$_->accept for $a, $b;


# what is too big is not held

my $big = '{"choices":[{"message":{"content":"' . 'x' x 100_000 . '"}}]}';

answers({ body => $big, reset_after_bytes => 90_000, %json });
$r = call('openai');
ok(!$r->complete, 'too big, and cut after commit');
is($b->count, 0, 'does not fall over');

answers({ body => $big, reset_after_bytes => 30_000, %json });
is(call('openai')->text, 'from b', 'cut before the hold is full');

answers({ body => $big, reset_after_bytes => 30_000, %json });
ok(!call('small')->complete, 'llm_hold');

answers({ body => $long, reset_after_bytes => 1000, %json });
ok(!call('zero')->complete, 'llm_hold 0 commits at the header');

answers({ body => $big, %json });
is(call($_)->body, $big, "$_: a big answer is whole")
    for qw(openai small zero);

# an error page is held by the same bound

answers({ status => 500, body => 'x' x 200_000, %json },
        { status => 500, %json });
$r = call('openai');
is($r->status, 500, 'an error that is too big');
ok($r->json->{error}, 'is said in our words');

done_testing();
