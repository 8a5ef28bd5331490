#!/usr/bin/env perl

# Tests for workers that end: what still runs is let run, and what runs for
# too long is told so.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use JSON::PP ();
use POSIX ();

my $a = upstream();
my $b = upstream();

my $http = <<'E';
    log_format call '$resilience_trace|$resilience_outcome|$status|$http_x_id';
    access_log %%PREFIX%%/access.log call;

    resilience_zone zone=drain:1m;

    resilience_policy p {
        preset llm_chat;
        retry 0;
        breaker failures=1 error_rate=0 open=1h;
    }
    resilience_policy retry {
        preset llm_chat;
        retry 3 base=8s max=8s jitter=none;
        breaker off;
    }
    resilience_policy quick {
        preset llm_chat;
        retry 3 base=1ms max=1ms;
        breaker failures=1 error_rate=0 open=1h;
    }
    resilience_policy hedge {
        preset llm_chat;
        retry 0;
        hedge after=%%AFTER%%;
        breaker failures=1 error_rate=0 open=1h;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
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

    resilience_chain none      { policy p; provider a; provider b; }
    resilience_chain openai    { policy p; provider oa; provider ob; }
    resilience_chain anthropic { policy p; provider aa; provider ob; }
    resilience_chain retry     { policy retry; provider oa; }
    resilience_chain quick     { policy quick; provider oa; provider ob; }
    resilience_chain hedge     { policy hedge; provider oa; provider ob; }

    server {
        listen 127.0.0.1:%%PORT%%;
        lingering_close off;
        location /none/      { resilience_pass none; }
        location /openai/    { resilience_pass openai; }
        location /anthropic/ { resilience_pass anthropic; }
        location /retry/     { resilience_pass retry; }
        location /quick/     { resilience_pass quick; }
        location /hedge/     { resilience_pass hedge; }
        location = /status   { access_log off; resilience_status; }
        location = /pid      { access_log off; return 200 $pid; }
    }
E

my %vars = (A => $a->port, B => $b->port);

my $n = nginx($http, vars => { %vars, AFTER => '1s' });
my $id = 0;

# what the path says
sub answers {
    my %say = @_;
    $_->on('/', 404), $_->forget for $a, $b;
    $a->on("/$_/", $say{$_}) for keys %say;
    $b->on('/', { openai => { content => 'from b' } });
}

sub start {
    my ($chain, $nginx) = @_;
    return http($nginx // $n)->start(POST => "/$chain/",
        json => { stream => \1 }, headers => { 'X-Id' => ++$id });
}

sub logged {
    my ($nginx, $which) = @_;
    return undef if !$nginx->wait_access_log(qr/\|$which$/);
    my ($line) = $nginx->access_log(qr/\|$which$/);
    return $line =~ s/:[\d.]+(?=,|\|)//gr =~ s/\|$which$//r;
}

sub idle_ok {
    my ($nginx, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(wait_until(5, sub {
        my $s = http($nginx)->get('/status')->json;
        return !grep { $_->{inflight} } @{ $s->{providers} };
    }), $name);
}

sub failures {
    my ($nginx) = @_;
    my $sum = 0;
    $sum += $_->{failures}
        for @{ http($nginx)->get('/status')->json->{breakers} };
    return $sum;
}

sub chunk {
    return { data => { choices => [ { delta => { content => $_[0] } } ] } };
}


# a reload lets run what runs

answers(
    none   => { hold => 'call', body => 'answer' },
    openai => { events => [ chunk('one'),
                            { %{ chunk('two') }, hold => 'stream' },
                            { data => '[DONE]' } ] },
    hedge  => { hold => 'hedge', openai => { content => 'late' } },
);

my $idle = http($n);
$idle->get('/status');

# the first part of a request makes a connection that is not idle
my $partial = http($n);
$partial->send_raw("GET /pid HTTP/1.1\r\nHost: x\r\n\r\nGET /status HT");
my $r = $partial->read_response('GET', 5);
my $pid = $r->body;
ok(scalar(grep { $_ == $pid } $n->workers), 'half a request at a worker');

my $call = start('none');
my $stream = start('openai');
ok($stream->wait_body(qr/one/), 'a stream runs');
ok($a->wait_held(2), 'and a call');
my $began = now;
my $hedge = start('hedge');
ok($a->wait_held(3), 'and one that may be hedged');

my @old = $n->workers;
ok($n->reload, 'reload');
my $in_time = now - $began < 0.9;

ok($idle->wait_closed(5), 'an idle connection is closed');
is(http($n)->get('/status')->json->{draining}, 0, 'a new worker');
$partial->send_raw("TP/1.1\r\nHost: x\r\n\r\n");
$r = $partial->read_response('GET', 5);
is($r->status, 200, 'an old worker answers');
is($r->json->{draining}, 1, 'that it is draining');
ok($partial->wait_closed(5), 'and closes');

ok(!$hedge->wait_header(1.3), 'time for a hedge');
SKIP: {
    skip 'the reload took too long', 1 if !$in_time;
    is($b->count, 0, 'a worker that ends starts none');
}

ok(!$call->wait_header(0.01), 'the call runs');
$a->release($_) for 'call', 'stream', 'hedge';
ok($_->read_until_end, 'it ends') for $call, $stream, $hedge;
is($call->body, 'answer', 'the call is answered');
is($stream->text, 'onetwo', 'the stream is whole');
ok($stream->complete, 'and complete');
is($hedge->text, 'late', 'the third, too') if $in_time;
ok($n->wait_gone(@old, 10), 'old workers end');
idle_ok($n, 'nothing is in flight');
$a->rearm($_) for 'call', 'stream', 'hedge';


# many reloads lose no call

sub load {
    pipe my $in, my $out or die $!;
    my $child = fork // die $!;
    if ($child) {
        close $out;
        return { pid => $child, in => $in };
    }
    my $stop;
    $SIG{TERM} = sub { $stop = 1 };
    my ($calls, $bad) = (0, '');
    while (!$stop) {
        my $r = eval { http($n, keepalive => 0)->get('/none/') };
        $calls++;
        next if $r && ($r->status // 0) == 200 && $r->complete;
        $bad .= $r ? ($r->status // '-') . ($r->error // '') : $@;
    }
    syswrite $out, "$calls calls, bad: $bad\n";
    POSIX::_exit(0);
}

answers(none => { delay_ms => 10, body => 'x' });
my @load = map { load() } 1, 2;
my $reloads = grep { $n->reload } 1 .. 20;
kill TERM => map { $_->{pid} } @load;
is($reloads, 20, 'reloads under load');
for my $load (@load) {
    my $said = readline $load->{in};
    waitpid $load->{pid}, 0;
    like($said, qr/^[1-9]\d* calls, bad: $/, 'no call is lost');
}
is($b->count, 0, 'nor is one asked of another provider');
idle_ok($n, 'nothing is in flight after reloads');


# quit does, too

answers(
    none   => { delay_ms => 1000, body => 'answer' },
    openai => { openai => { stream => 1, content => 'one two' },
                gap_ms => 300 },
);
$stream = start('openai');
$call = start('none');
ok($stream->wait_body(qr/one/), 'a stream runs');
ok($a->wait_arrived(2), 'and a call');
@old = ($n->pid, $n->workers);
ok($n->stop, 'quit');
ok(!(grep { kill 0, $_ } @old), 'leaves no process');
$_->read_until_end for $call, $stream;
is($call->body, 'answer', 'the call was answered');
ok($stream->complete, 'the stream is complete');
is($stream->text, 'one two', 'and whole');


# worker_shutdown_timeout

my $m = nginx($http, vars => { %vars, AFTER => '100ms' },
    main => 'worker_shutdown_timeout 1s;');

my $event = 'data: {"choices":[{"delta":{"content":"' . 'x' x 9956
          . '"}}]}' . "\n\n";

sub endless {
    answers(
        openai    => { openai => { stream => 1, content => 'one two three' },
                       stall_after_events => 2 },
        anthropic => { anthropic => { stream => 1, content => 'one two' },
                       stall_after_events => 4 },
        none      => { silent => 1 },
        quick     => { silent => 1 },
        retry     => { status => 503 },
        hedge     => { silent => 1 },
    );
    $b->on('/hedge/', { silent => 1 });
}

sub run_all {
    my %s = map { $_ => start($_, $m) }
        qw(openai anthropic none quick retry hedge);
    ok($s{$_}->wait_body(qr/one/), "$_ runs") for 'openai', 'anthropic';
    ok($a->wait_requests(6), 'all run');
    ok($b->wait_requests(1), 'one is hedged');
    ok($m->wait_log(qr/retry 1 of provider "oa".* in 8000ms/), 'one waits');
    return \%s;
}

sub check_all {
    my ($s, $name) = @_;
    $_->read_until_end for values %$s;

    my $last = ($s->{openai}->events)[-1];
    is(eval { JSON::PP::decode_json($last->{data})->{error}{code} },
        'shutdown', "$name: a stream ends with an error");
    ok($s->{openai}->complete, "$name: and is complete");
    like($s->{openai}->text, qr/^one/, "$name: after what came");
    unlike($s->{openai}->body, qr/DONE/, "$name: and not with its mark");

    $last = ($s->{anthropic}->events)[-1];
    is($last->{event}, 'error', "$name: anthropic, too");
    ok($s->{anthropic}->complete, "$name: and is complete");

    for my $chain ('quick', 'hedge', 'retry') {
        my $r = $s->{$chain};
        is($r->status, 503, "$name: $chain: status");
        ok($r->complete, "$name: $chain: complete");
    }
    for my $chain ('quick', 'hedge') {
        is(eval { $s->{$chain}->json->{error}{code} }, 'shutdown',
            "$name: $chain: in the dialect");
    }
    is($s->{none}->status, 503, "$name: none: status");
    is($a->count, 6, "$name: no retry");
    is($b->count, 1, "$name: no fallback, no hedge");
}

endless();
my $first = $id + 1;
my $s = run_all();
@old = $m->workers;
$began = now;
ok($m->reload, 'reload with a timeout');
check_all($s, 'reload');
cmp_ok(now - $began, '>=', 0.7, 'not too early');
ok($m->wait_gone(@old, 5), 'old workers end');
cmp_ok(now - $began, '<', 5 * factor, 'in time');
ok($a->wait_aborted(5), 'providers\' connections are closed');
my @said = map { logged($m, $_) } $first .. $first + 5;
is($said[0], 'oa:shutdown:200|shutdown|200', 'a stream in the access log');
is($said[1], 'aa:shutdown:200|shutdown|200', 'of anthropic');
like($said[2], qr/^a:shutdown:\S*\|shutdown\|503$/, 'a call');
like($said[3], qr/^oa:shutdown:\S*\|shutdown\|503$/, 'with retries');
like($said[4], qr/^oa:overloaded:503\|/, 'one that waited');
like($said[5], qr/^o[ab]:shutdown:\S*, o[ab]:shutdown:\S*\|shutdown\|503$/,
    'with a hedge');
is(failures($m), 1, 'no breaker counts it, but the 503');
idle_ok($m, 'nothing is in flight');

# one that ends in time is left alone

answers(openai => { openai => { stream => 1, content => 'one two' },
                    gap_ms => 50 });
$s = start('openai', $m);
ok($s->wait_body(qr/one/), 'a short stream');
ok($m->reload(gone => 1), 'reload');
$s->read_until_end;
is($s->text, 'one two', 'runs to its end');
like(logged($m, $id), qr/\|success\|200$/, 'as a success');

# clients that do not read, or have not sent all

my $half_sent = "GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"
    . "POST /openai/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx";

answers(openai => { type => 'text/event-stream', body => $event,
                    body_repeat => 2000, framing => 'chunked' });
my $deaf = http($m, rcvbuf => 16_384)->start(POST => '/openai/', json => {});
ok($deaf->wait_body(qr/xxx/), 'a client that does not read');
my $half = http($m);
$half->send_raw($half_sent);
is($half->read_response('GET', 5)->status, 200, 'and one that does not send');
@old = $m->workers;
ok($m->reload, 'reload');
ok($m->wait_gone(@old, 5), 'are cut');
ok($half->wait_closed(5), 'one is closed');
$deaf->read_until_end;
ok($deaf->error || !$deaf->complete || $deaf->body =~ /"error"/,
    'and the other does not look whole');
idle_ok($m, 'nothing is in flight');

# quit

endless();
$s = run_all();
@old = ($m->pid, $m->workers);
$began = now;
ok($m->stop, 'quit with a timeout');
cmp_ok(now - $began, '<', 5 * factor, 'in time');
ok(!(grep { kill 0, $_ } @old), 'leaves no process');
check_all($s, 'quit');


# a call that begins when the others have been ended

my $o = nginx($http, vars => { %vars, AFTER => '10s' },
    main => 'worker_shutdown_timeout 2s;');

answers(openai => { silent => 1 });
$half = http($o);
$half->send_raw($half_sent);
$pid = $half->read_response('GET', 5)->body;
my $same;
for (1 .. 1000) {
    $same = http($o);
    last if $same->get('/pid')->body == $pid;
}
$s = $same->start(POST => '/openai/', json => {});
ok($a->wait_requests(1), 'a call, and half of one, at a worker');
ok($o->reload, 'reload');
$s->read_until_end;
$half->send_raw('123456789');
$r = $half->read_response('POST', 5);
is($r->status, 503, 'a body that comes late');
is(eval { $r->json->{error}{code} }, 'shutdown', 'is told why');
is($a->count, 1, 'and no provider is asked');

done_testing();
