#!/usr/bin/env perl

# Tests for the limits of an attempt and for the deadline of a call.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

# a port whose queue of connections is full answers nothing
use Socket;
socket(my $full, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
bind($full, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!";
listen($full, 0) or die "listen: $!";
my $dead = (unpack_sockaddr_in(getsockname $full))[0];
my @fill = map {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
    $s->blocking(0);
    connect $s, pack_sockaddr_in($dead, INADDR_LOOPBACK);
    $s;
} 1 .. 8;

my $n = nginx(vars => { A => $a->port, B => $b->port, D => $dead },
              http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$status'
                    '|$resilience_wait_time|$resilience_attempts';
    access_log %%PREFIX%%/access.log call;

    resilience_policy connect    { timeout connect=300ms; retry 0; breaker off; }
    resilience_policy first_byte { timeout first_byte=300ms; retry 0;
                                   retry_non_idempotent on; breaker off; }
    resilience_policy idle       { timeout idle=300ms; retry 0; breaker off; }
    resilience_policy attempt    { timeout attempt=300ms; retry 0;
                                   breaker off; }
    resilience_policy total      { timeout total=500ms; retry 0; breaker off; }
    resilience_policy backoff    { timeout total=5s; retry 1 base=400ms
                                   max=400ms jitter=none; breaker off; }
    resilience_policy late       { timeout total=500ms; retry 3 base=400ms
                                   max=400ms jitter=none; breaker off; }
    resilience_policy linear     { retry 3 base=60ms max=150ms jitter=none
                                   strategy=linear; breaker off; }
    resilience_policy counted    { timeout first_byte=200ms; retry 0;
                                   breaker failures=1 open=1h; }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider d { resilience_endpoint http://127.0.0.1:%%D%%; }
    resilience_provider o {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider ob {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }

    resilience_chain connect    { policy connect; provider d; provider b; }
    resilience_chain first_byte { policy first_byte; provider a; provider b; }
    resilience_chain llm        { policy first_byte; provider o; provider ob; }
    resilience_chain idle       { policy idle; provider a; provider b; }
    resilience_chain llm_idle   { policy idle; provider o; provider ob; }
    resilience_chain attempt    { policy attempt; provider a; provider b; }
    resilience_chain total      { policy total; provider a; provider b; }
    resilience_chain backoff    { policy backoff; provider a; }
    resilience_chain late       { policy late; provider a; provider b; }
    resilience_chain linear     { policy linear; provider a; }
    resilience_chain counted    { policy counted; provider a; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;
        location /connect/    { resilience_pass connect; }
        location /first_byte/ { resilience_pass first_byte; }
        location /llm/        { resilience_pass llm; }
        location /idle/       { resilience_pass idle; }
        location /llm_idle/   { resilience_pass llm_idle; }
        location /attempt/    { resilience_pass attempt; }
        location /total/      { resilience_pass total; }
        location /backoff/    { resilience_pass backoff; }
        location /late/       { resilience_pass late; }
        location /linear/     { resilience_pass linear; }
        location /counted/    { resilience_pass counted; }
        location = /status    { resilience_status; }
    }
E

my $c = http($n);

sub answers {
    $a->on('/', @_);
    $b->on('/', { body => 'from b' });
    $_->forget for $a, $b;
}

# how long between two things that the provider saw
sub gap {
    my ($from, $to) = @_;
    my @requests = $a->requests;
    return ($requests[$to]{at} - $requests[$from]{at}) * 1000;
}


# connect

answers(200);
my $r = $c->post('/connect/', body => 'x');
is($r->body, 'from b', 'connect');
cmp_ok($r->time_total, '>=', 0.29, 'not before its time');
ok($n->wait_access_log(qr/^d:timeout:0:0\.[3-9]/), 'a timeout');

# first byte

answers({ silent => 1 });
$r = $c->get('/first_byte/');
is($r->body, 'from b', 'first_byte');
cmp_ok($r->time_total, '>=', 0.29, 'not before its time');
ok($a->wait_aborted(1), 'the connection is closed');
ok($n->wait_access_log(qr/^a:timeout:0:0\.[3-9]/), 'a timeout');

answers({ delay_ms => 50, body => 'in time' });
is($c->get('/first_byte/')->body, 'in time', 'first_byte in time');

# a dialect's stream: blanks, comments and pings are no first byte

answers({ type => 'text/event-stream', gap_ms => 100,
          events => [ map { { comment => 'x' } } 1 .. 40 ] });
$b->on('/', { openai => { stream => 1, content => 'from b' } });
$r = $c->post('/llm/', {});
is($r->text, 'from b', 'comments are no first byte');
cmp_ok($a->last_request->{sent}, '<', 1000, 'the provider was cut short');

answers({ type => 'application/json', framing => 'chunked',
          body => "\n" x 20, stall_after_bytes => 10 });
$b->on('/', { openai => { content => 'from b' } });
is($c->post('/llm/', {})->text, 'from b', 'blank lines are no first byte');

# a long answer that goes on coming is not cut by it

answers({ events => [ map { { data => { choices => [ { delta =>
    { content => $_ } } ] } } } qw(a b c d) ], gap_ms => 120 });
is($c->post('/llm/', {})->text, 'abcd', 'first_byte is not for the rest');

# idle

answers({ body => 'x' x 100, stall_after_bytes => 10 });
$r = $c->get('/idle/');
ok(!$r->complete, 'idle cuts an answer that had begun');
is($r->body, 'x' x 10, 'after what came');
ok($n->wait_access_log(qr/^a:stream_dropped:200/), 'outcome of that');

answers({ type => 'application/json', body => '{"choices":[]}',
          stall_after_bytes => 5 });
$b->on('/', { openai => { content => 'from b' } });
is($c->get('/llm_idle/')->text, 'from b', 'idle while an answer is held');
ok($n->wait_access_log(qr/^o:timeout:200:/), 'outcome of that');

answers({ body => 'abcd', framing => 'chunked' });
$a->on('/', { events => [ map { { data => $_ } } 1 .. 6 ], gap_ms => 100 });
ok($c->get('/idle/')->complete, 'gaps that are shorter do not add up');

# attempt

answers({ silent => 1 });
is($c->get('/attempt/')->body, 'from b', 'attempt');

answers({ events => [ map { { data => $_ } } 1 .. 20 ], gap_ms => 100 });
$r = $c->get('/attempt/');
ok(!$r->complete, 'attempt cuts a stream that goes on and on');

# total

answers({ silent => 1 });
$r = $c->get('/total/');
is($r->status, 504, 'total');
cmp_ok($r->time_total, '>=', 0.49, 'not before its time');
is($r->header('x-resilience-outcome'), 'timeout', 'outcome');
is($b->count, 0, 'no time is left for another');
ok($a->wait_aborted(1), 'the connection is closed');

# backoff

answers(503, { body => 'again' });
$r = $c->get('/backoff/');
is($r->body, 'again', 'a retry');
cmp_ok(gap(0, 1), '>=', 399, 'after its backoff');
ok($n->wait_access_log(qr/^a:overloaded:503\S+ a:success\S*\|0\.4\d\d\|2$/),
    'wait time');

answers(503);
$r = $c->get('/late/');
is($r->body, 'from b', 'no retry that comes too late');
is($a->count, 2, 'one was in time');
cmp_ok($r->time_total, '<', 0.8 * factor, 'the call does not wait for it');

answers(503);
$c->get('/linear/');
is($a->count, 4, 'linear');
cmp_ok(gap(0, 1), '>=', 59, 'once its base');
cmp_ok(gap(1, 2), '>=', 119, 'twice its base');
cmp_ok(gap(2, 3), '>=', 149, 'at most its maximum');

# a timeout is a failure

answers({ silent => 1 });
$c->get('/counted/');
is($c->get('/status?provider=a')->json->{breakers}[0]{state}, 'open',
    'a timeout counts');

done_testing();
