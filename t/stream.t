#!/usr/bin/env perl

# Tests for streams: when they commit, what falls over before, and how a
# stream ends that breaks after it.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$status'
                    '|$resilience_first_byte_time';
    access_log %%PREFIX%%/access.log call;

    resilience_policy p {
        preset llm_chat;
        timeout first_byte=5s idle=5s attempt=30s;
        retry 0;
        breaker failures=100 error_rate=0;
    }
    resilience_policy idle {
        preset llm_chat;
        timeout first_byte=5s idle=300ms attempt=30s;
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
    resilience_provider na { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider nb { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider buffered {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
    }

    resilience_chain openai    { policy p; provider oa; provider ob; }
    resilience_chain anthropic { policy p; provider aa; provider ab; }
    resilience_chain none      { policy p; provider na; provider nb; }
    resilience_chain idle      { policy idle; provider oa; provider ob; }
    resilience_chain buffered  { policy p; provider buffered; provider ob; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;
        location /openai/    { resilience_pass openai; }
        location /anthropic/ { resilience_pass anthropic; }
        location /none/      { resilience_pass none; }
        location /idle/      { resilience_pass idle; }
        location /buffered/  { resilience_pass buffered; }
        location = /status   { resilience_status; }
    }
E

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', $for_a);
    $b->on('/', $for_b // { openai => { stream => 1, content => 'from b' } });
    $_->forget for $a, $b;
}

sub call  { http($n)->post("/$_[0]/", { stream => \1 }) }
sub start { http($n)->start(POST => "/$_[0]/", json => { stream => \1 }) }

sub events { return { events => [ @_ ] } }

sub chunk { return { data => { choices => [ { delta => { content => $_[0] } } ]
                             } } }

my $role = { data => { choices => [ { delta => { role => 'assistant',
                                                 content => '' } } ] } };
my $error = { data => { error => { message => 'no', type => 'server_error' } } };
my $done = { data => '[DONE]', terminal => 1 };


# as it comes

answers({ openai => { stream => 1, content => 'one two three' } });
my $r = call('openai');
is($r->status, 200, 'a stream');
is($r->text, 'one two three', 'all of it');
ok($r->complete, 'ends well');
is($r->header('content-type'), 'text/event-stream', 'type');
is(($r->events)[-1]{data}, '[DONE]', 'with its mark');

answers({ events => [ chunk('one'), { %{ chunk('two') }, hold => 'two' },
                      $done ] });
my $s = start('openai');
ok($s->wait_body(qr/one/), 'the first event is there');
unlike($s->body, qr/two/, 'before the second is made');
$a->release('two');
ok($s->read_until_end, 'the rest follows');
is($s->text, 'onetwo', 'in order');
$a->rearm('two');

# the raw bytes are the provider's

answers({ events => [ { raw => ": hello\r\n\r\n" }, { raw => "event: x\r" },
    { raw => "\ndata: {\"choices\":[{\"delta\"" },
    { raw => ":{\"content\":\"x\"}}]}\r\n\r" }, { raw => "\n: c\n\n" },
    { raw => "data: [DONE]\n\n" } ] });
$r = call('openai');
is($r->body, ": hello\r\n\r\nevent: x\r\ndata: {\"choices\":[{\"delta\""
    . ":{\"content\":\"x\"}}]}\r\n\r\n: c\n\ndata: [DONE]\n\n",
    'bytes pass as they are');
ok($r->complete, 'bytes complete');


# before commit

for my $case (
    [ 'an error at first', $error ],
    [ 'an error after a comment', { comment => 'ping' }, $error ],
    [ 'an error after blank lines', { raw => "\n\n\n" }, $error ],
    [ 'an error after the role', $role, $error ],
    [ 'an error event', { event => 'error', data => '{"message":"no"}' } ],
    [ 'nothing but its mark', $done ],
    [ 'nothing but a role', $role, $done ],
) {
    my ($name, @events) = @$case;
    answers(events(@events));
    $r = call('openai');
    is($r->status, 200, "$name: status");
    is($r->text, 'from b', "$name: falls over");
    ok($r->complete, "$name: ends well");
    is($r->header('x-resilience-provider'), 'ob', "$name: winner");
    unlike($r->body, qr/"no"|ping/, "$name: nothing of it is seen");
}
ok($n->wait_access_log(qr/^oa:server_error:200:/), 'class of an error event');

for my $case (
    [ 'no event at all', end => 'clean' ],
    [ 'cut before an event', reset_after_events => 0 ],
    [ 'closed before an event', close_after_events => 0 ],
) {
    my ($name, %how) = @$case;
    answers({ type => 'text/event-stream', events => [ { comment => 'x' } ],
              %how });
    is(call('openai')->text, 'from b', "$name: falls over");
}

answers({ events => [ { comment => 'x' }, { %$error, hold => 'later' } ] });
$s = start('openai');
ok($a->wait_held(1), 'a comment was sent');
ok(!$s->wait_header(0.2), 'and held back');
$a->release('later');
ok($s->read_until_end, 'until it is clear');
is($s->text, 'from b', 'that it falls over');
$a->rearm('later');

# an Anthropic stream

answers({ anthropic => { stream => 1, content => 'one two' } });
$r = call('anthropic');
is($r->text, 'one two', 'anthropic');
ok($r->complete, 'anthropic ends well');
is(($r->events)[-1]{event}, 'message_stop', 'anthropic mark');

my $start = { event => 'message_start', data => {
    type => 'message_start', message => { role => 'assistant' } } };
my $ping = { event => 'ping', data => { type => 'ping' } };
my $overloaded = { event => 'error', data => { type => 'error',
    error => { type => 'overloaded_error', message => 'busy' } } };

for my $case ([ 'at first', $overloaded ],
              [ 'after its start', $start, $ping, $overloaded ]) {
    my ($name, @events) = @$case;
    answers(events(@events), { anthropic => { stream => 1, content => 'b' } });
    $r = call('anthropic');
    is($r->text, 'b', "anthropic: an error $name falls over");
    unlike($r->body, qr/overloaded/, "anthropic: an error $name is not seen");
}
ok($n->wait_access_log(qr/^aa:overloaded:200:/), 'anthropic: class');


# after commit

for my $case (
    [ 'a reset', 'openai', qr/"error"/, reset_after_events => 2 ],
    [ 'a close', 'openai', qr/"error"/, close_after_events => 2 ],
    [ 'no mark', 'openai', qr/"error"/, end => 'no_terminal' ],
    [ 'a reset', 'anthropic', qr/"type":"error"/, reset_after_events => 4 ],
    [ 'no mark', 'anthropic', qr/"type":"error"/, end => 'no_terminal' ],
) {
    my ($how, $dialect, $says, %how) = @$case;
    my $name = "$dialect: $how";
    answers({ $dialect => { stream => 1, content => 'one two three' }, %how });
    $r = call($dialect);
    is($r->status, 200, "$name: had begun");
    like($r->text, qr/^one/, "$name: what came is there");
    my $last = ($r->events)[-1];
    like($last->{data}, $says, "$name: ends with an error");
    is($last->{event}, $dialect eq 'anthropic' ? 'error' : undef,
        "$name: as its dialect says it");
    unlike($r->body, qr/DONE|message_stop/, "$name: and not with a mark");
    ok($r->complete, "$name: the answer itself is closed");
    is($b->count, 0, "$name: no fallback any more");
}
ok($n->wait_access_log(qr/^oa:stream_dropped:200:[^|]*\|stream_dropped\|200/),
    'outcome of a broken stream');

# cut inside of an event: the error stands by itself

answers({ events => [ chunk('one'), { raw => 'data: {"choi' } ],
          end => 'rst' });
$r = call('openai');
my @events = $r->events;
like($events[-1]{data}, qr/"error"/, 'cut inside of an event');
is(scalar(grep { ($_->{data} // '') =~ /^\{"error"/ } @events), 1,
    'the error is an event of its own');

# an error that the provider itself says is passed on, once

answers(events(chunk('one'), $error));
$r = call('openai');
is(scalar(() = $r->body =~ /"error"/g), 1, 'the provider\'s own error, once');
ok($r->complete, 'its stream is closed');
ok($n->wait_access_log(qr/^oa:stream_dropped:/), 'and no success');

# idle

answers({ openai => { stream => 1, content => 'one two three' },
          stall_after_events => 2 });
$r = call('idle');
like($r->text, qr/^one/, 'an idle stream');
like(($r->events)[-1]{data}, qr/"error"/, 'ends with an error');
ok($a->wait_aborted(1), 'its connection is closed');

# and before it began: silence after the header

answers({ type => 'text/event-stream', events => [ { comment => 'x' } ],
          end => 'stall' });
$a->on('/', { events => [ { comment => 'x' } ], stall_after_events => 1 });
my $began = now;
my $t = http($n)->start(POST => '/idle/', json => {});
ok($a->wait_stalled(1), 'stalled before the first event');
$t->close;

# the breaker counts a broken stream

my $before = http($n)->get('/status?provider=oa')->json->{breakers}[0];
answers({ openai => { stream => 1, content => 'one two' },
          reset_after_events => 2 });
call('openai');
my $after = http($n)->get('/status?provider=oa')->json->{breakers}[0];
is($after->{failures} - $before->{failures}, 1, 'a broken stream is a failure');
is($after->{successes} - $before->{successes}, 0, 'and no success');


# dialect none: at the status

answers({ type => 'text/event-stream', events => [ { comment => 'x' } ],
          end => 'rst' }, { body => 'from b' });
$r = call('none');
is($r->status, 200, 'none commits at its status');
ok(!$r->complete, 'a cut answer is cut');
is($b->count, 0, 'and does not fall over');
ok($n->wait_access_log(qr/^na:stream_dropped:200/), 'none: outcome');

answers({ body => 'x' x 100_000, reset_after_bytes => 50_000 },
        { body => 'from b' });
$r = call('none');
ok(!$r->complete, 'a body that is cut');
is($r->error =~ /closed|reset/ ? 1 : 0, 1, 'is cut for the client');

answers({ body => 'short', headers => { 'Content-Length' => 100 },
          close => 1 }, { body => 'from b' });
$r = call('none');
ok(!$r->complete, 'a body that is too short');


# with proxy_buffering on

answers({ openai => { stream => 1, content => 'one two three' } });
$r = call('buffered');
is($r->text, 'one two three', 'buffered');
ok($r->complete, 'buffered ends well');
answers(events($error));
is(call('buffered')->text, 'from b', 'buffered falls over');
answers({ openai => { stream => 1, content => 'one two three' },
          close_after_events => 2 });
$r = call('buffered');
like(($r->events)[-1]{data}, qr/"error"/, 'buffered and broken');


# back-pressure: a client that does not read holds the provider back

my $size = 20_000_000;
my $event = 'data: {"choices":[{"delta":{"content":"'
          . 'x' x 9956 . '"}}]}' . "\n\n";
answers({ type => 'text/event-stream', body => $event,
          body_repeat => $size / length $event, framing => 'chunked' });
my $slow = http($n, rcvbuf => 16_384);
$s = $slow->start(POST => '/openai/', json => {});
ok($s->wait_body(qr/xxx/), 'a big stream has begun');
ok(wait_until(5, sub {
    my $sent = $a->last_request->{sent};
    select undef, undef, undef, 0.2;
    return $a->last_request->{sent} == $sent;
}), 'the provider is held back');
cmp_ok($a->last_request->{sent}, '<', $size, 'far from its end');
ok($s->read_until_end(30), 'and goes on when the client reads');
cmp_ok(length $s->body, '>', $size - length $event, 'to its end');
like(substr($s->body, -200), qr/\n\ndata: \{"error".*\n\n\z/,
    'and the missing mark is told');

done_testing();
