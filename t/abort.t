#!/usr/bin/env perl

# Tests for clients that go away: the provider is let go at once, nothing is
# blamed on it, nothing is left behind.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $n = nginx(<<'E', vars => { A => $a->port, B => $b->port });
    log_format call '$uri|$status|$resilience_outcome|$resilience_attempts'
                    '|$resilience_trace|$resilience_provider';
    access_log %%PREFIX%%/access.log call;
    resilience_tenant $http_x_tenant;

    # a single failure would be seen
    resilience_policy plain {
        timeout attempt=1h;
        retry 3 base=1ms max=1ms;
        retry_non_idempotent on;
        breaker failures=1 open=1h;
    }
    resilience_policy slow {
        timeout attempt=1h;
        retry 3 base=1h max=1h jitter=none;
        breaker off;
    }
    resilience_policy soon {
        timeout attempt=1h;
        retry 1 base=2s max=2s jitter=none;
        breaker off;
    }
    resilience_policy quick {
        timeout attempt=1h;
        retry 0;
        breaker failures=1 open=1ms probes=1 successes=1;
    }
    resilience_policy lasting {
        timeout attempt=1h;
        retry 0;
        breaker failures=1 open=30m;
    }
    resilience_policy off {
        timeout attempt=1h;
        retry 1 base=1ms max=1ms;
        breaker off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider other { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider llm {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider buffered {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
    }

    resilience_chain a   { policy plain; provider a; provider b; }
    resilience_chain llm { policy plain; provider llm; provider b; }
    resilience_chain buffered { policy plain; provider buffered; provider b; }
    resilience_chain slow { policy slow; provider other; provider b; }
    resilience_chain soon { policy soon; provider other; }
    resilience_chain probe { policy quick; provider a; }
    resilience_chain open { policy lasting; provider a; when_open wait=1h; }
    resilience_chain off { policy off; provider other; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%PORT2%% http2;
        location = /status { access_log off; resilience_status; }
        location ~ ^/(?<chain>[^/]+)/ { resilience_pass $chain; }
    }
E

my $has_h2 = $n->version =~ /http_v2_module/;


# a client for HTTP/2, with little of it

package H2;

use IO::Socket::INET;
use IO::Select;

sub new {
    my ($class, $port) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port")
        or die "connect: $!";
    my $self = bless { s => $s, in => '', next => 1, streams => {} }, $class;
    # wide windows: they are never in the way
    $self->write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        . frame(4, 0, 0, pack 'nN', 4, 0x7fffffff)
        . frame(8, 0, 0, pack 'N', 0x7fff0000 - 65535));
    return $self;
}

sub frame {
    my ($type, $flags, $id, $data) = @_;
    return substr(pack('N', length $data), 1)
        . pack('CCN', $type, $flags, $id) . $data;
}

sub write {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    $self->{s}->syswrite($bytes);
}

# returns the stream's number; it stays open if part is set
sub start {
    my ($self, $method, $path, %opt) = @_;
    my $id = $self->{next};
    $self->{next} += 2;
    $self->{streams}{$id} = { body => '' };
    my @list = (':method', $method, ':path', $path, ':scheme', 'http',
        ':authority', 'localhost', %{ $opt{headers} || {} });
    my $block = '';
    $block .= "\0" . pack('C/a C/a', splice @list, 0, 2) while @list;
    my $body = $opt{body} // '';
    my $end = $opt{part} ? 0 : 1;
    $self->write(frame(1, $body eq '' ? 4 | $end : 4, $id, $block)
        . ($body eq '' ? '' : frame(0, $end, $id, $body)));
    return $id;
}

sub reset { $_[0]->write(frame(3, 0, $_[1], pack 'N', 8)) }
sub close { CORE::close $_[0]{s} }

# true as soon as $met->(its state) is
sub wait {
    my ($self, $id, $met) = @_;
    my $stream = $self->{streams}{$id};
    my $end = main::now() + 10 * main::factor();
    while (!$met->($stream)) {
        my $left = $end - main::now();
        return 0 if $left <= 0 || $self->{eof};
        next unless IO::Select->new($self->{s})->can_read($left);
        sysread $self->{s}, $self->{in}, 65536, length $self->{in}
            or $self->{eof} = 1;
        $self->parse;
    }
    return 1;
}

sub wait_body {
    my ($self, $id, $re) = @_;
    return $self->wait($id, sub { $_[0]{body} =~ $re });
}

sub wait_end { my ($self, $id) = @_; $self->wait($id, sub { $_[0]{end} }) }

sub parse {
    my ($self) = @_;
    my %status = (0x88, 200, 0x89, 204, 0x8c, 400, 0x8d, 404, 0x8e, 500);
    while (length $self->{in} >= 9) {
        my $size = unpack 'N', "\0" . substr $self->{in}, 0, 3;
        last if length $self->{in} < 9 + $size;
        my ($type, $flags, $id) = unpack 'CCN', substr $self->{in}, 3, 6;
        my $data = substr $self->{in}, 9, $size;
        substr $self->{in}, 0, 9 + $size, '';

        $self->write(frame(4, 1, 0, '')) if $type == 4 && !($flags & 1);
        my $stream = $self->{streams}{$id} or next;
        $stream->{body} .= $data if $type == 0;
        $stream->{reset} = 1 if $type == 3;
        $stream->{end} = 1 if $type == 3 || $type < 2 && $flags & 1;
        if ($type == 1 && $data =~ /^[\x20-\x3f]*(?:[\x08\x48]\x03(...)|(.))/s)
        {
            $stream->{status} //= $1 // $status{ord $2};
        }
    }
}

package main;


# one client and one call, in whatever protocol, and the ways to be gone

my @ways = ('close', 'reset', $has_h2 ? ('HTTP/2 reset', 'HTTP/2 close') : ());

sub client {
    my ($way, $method, $path, %opt) = @_;
    my %client = (way => $way);
    if ($way =~ /HTTP/) {
        $client{h2} = H2->new($n->port(2));
        delete $opt{headers}{'Content-Length'} if $opt{headers};
        delete $opt{headers}{Expect} if $opt{headers};
        $client{id} = $client{h2}->start($method, $path, %opt);
    }
    else {
        delete $opt{part};
        $client{r} = http($n)->start($method => $path, %opt);
    }
    return \%client;
}

sub sees {
    my ($client, $re) = @_;
    return $client->{r} ? $client->{r}->wait_body($re)
                        : $client->{h2}->wait_body($client->{id}, $re);
}

# returns when that was
sub gone {
    my ($client) = @_;
    my $at = now();
    if ($client->{r}) {
        $client->{way} eq 'close' ? $client->{r}->close : $client->{r}->reset;
    }
    elsif ($client->{way} =~ /reset/) {
        $client->{h2}->reset($client->{id});
    }
    else {
        $client->{h2}->close;
    }
    return $at;
}

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', @$for_a);
    $b->on('/', @{ $for_b // [ { body => 'from b' } ] });
    $_->forget, $_->rearm('held') for $a, $b;
}

sub counts { $a->count . '+' . $b->count }

my $calls = 0;

# a path that no other call has
sub path { "/$_[0]/" . ++$calls }

# every attempt gave back what it had
sub idle {
    my $s = eval { http($n)->get('/status')->json } or return 0;
    return !grep { $_->{inflight} } @{ $s->{providers} }, @{ $s->{breakers} };
}

sub breaker {
    my ($provider, $tenant) = @_;
    return http($n)->get("/status?provider=$provider&tenant=$tenant")
        ->json->{breakers}[0];
}

# the log line: status, outcome, attempts, trace
sub logged {
    my ($path, $name, $status, $attempts, $trace) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($n->wait_access_log(qr{^\Q$path\E\|}), "$name: logged");
    my ($line) = $n->access_log(qr{^\Q$path\E\|});
    my $elapsed = qr/\d+\.\d{3}/;
    $trace = join ', ', map { "$_:$elapsed" } @$trace;
    $trace = '-' if $trace eq '';
    like($line, qr{^\S+\|(?:$status)\|client_abort\|$attempts\|$trace\|},
        "$name: outcome");
    ok(wait_until(5, \&idle), "$name: nothing in flight");
}

# the provider was let go at once, and its breaker was told nothing
sub let_go {
    my ($upstream, $at, $name, $provider) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($upstream->wait_aborted(1), "$name: the provider is let go");
    cmp_ok(($upstream->last_request->{aborted} // $at + 1000) - $at, '<',
        factor(), "$name: at once");
    return unless $provider;
    my $breaker = breaker($provider, '-');
    is("$breaker->{state} $breaker->{failures}", 'closed 0',
        "$name: no failure");
}


# while it sends its body

for my $way (@ways) {
    answers([ { body => 'x' } ]);
    my $path = path('a');
    my $client = client($way, POST => $path, part => 1,
        body => $way =~ /HTTP/ ? 'x' x 1000 : undef,
        headers => { 'Content-Length' => 100_000, Expect => '100-continue' });
    if ($client->{r}) {
        # it is known then that the header has arrived
        $client->{r}->read_while(5, sub { $client->{r}->informational });
        $client->{r}->connection->send_raw('x' x 1000);
    }
    gone($client);
    logged($path, "body, $way", '400|499', 0, []);
    is(counts(), '0+0', "body, $way: no attempt");
}


# while an attempt has not answered, answers, or is held back

my $delta = { choices => [ { delta => { content => 'one' } } ] };
my %phase = (
    silence => [ 'a', [ { hold => 'held' } ], 0 ],
    'silence of an LLM' => [ 'llm', [ { hold => 'held' } ], 0 ],
    'header' => [ 'a', [ { header_delay_ms => 3_600_000 } ], 0 ],
    'a held answer' => [ 'llm', [ { openai => {}, end_hold => 'held',
        framing => 'chunked' } ], 200 ],
    'a held stream' => [ 'llm', [ { framing => 'chunked', events => [
        { comment => 'wait' }, { data => $delta, hold => 'held' } ] } ], 200 ],
    'an answer' => [ 'a', [ { framing => 'chunked', events => [
        { raw => 'one' }, { raw => 'two', hold => 'held' } ] } ], 200, 1 ],
    'a buffered answer' => [ 'buffered', [ { framing => 'chunked', events => [
        { raw => 'one' }, { raw => 'two', hold => 'held' } ] } ], 200, 1 ],
    'a long answer' => [ 'llm', [ { framing => 'chunked', type => 'audio/x',
        events => [ { raw => 'one' . 'x' x 100_000 },
                    { raw => 'two', hold => 'held' } ] } ], 200, 1 ],
    'a stream' => [ 'llm', [ { framing => 'chunked', events => [
        { data => $delta }, { data => $delta, hold => 'held' } ] } ], 200, 1 ],
);

for my $phase (sort keys %phase) {
    my ($chain, $answers, $status, $begun) = @{ $phase{$phase} };

    for my $way (@ways) {
        my $name = "$phase, $way";
        answers($answers);
        my $path = path($chain);
        my $client = client($way, POST => $path, body => '{}');
        $begun ? ok(sees($client, qr/one/), "$name: it has begun")
            : $phase eq 'header' ? ok($a->wait_requests(1), "$name: asked")
                                 : ok($a->wait_held(1), "$name: asked");
        my $at = gone($client);
        let_go($a, $at, $name, $chain);
        # once the status was sent, that is what is logged
        logged($path, $name, $begun ? 200 : 499, 1,
            [ "$chain:client_abort:$status" ]);
        is(counts(), '1+0', "$name: no other attempt");
    }
}

# the second of two
for my $way (@ways) {
    answers([ 503 ], [ { hold => 'held' } ]);
    my $path = path('off');
    my $client = client($way, GET => $path);
    ok($b->wait_held(1), "second, $way: asked");
    let_go($b, gone($client), "second, $way");
    logged($path, "second, $way", 499, 3, [ ('other:overloaded:503') x 2,
        'b:client_abort:0' ]);
    is(counts(), '2+1', "second, $way: no other attempt");
}

# more than nginx can get rid of: it is not reading then
for my $way (grep { /reset/ } @ways) {
    for my $chain (qw(a llm buffered)) {
        my $name = "long, $chain, $way";
        answers([ { body => 'x' x 1000, body_repeat => 40_000,
            type => 'audio/x' } ]);
        my $path = path($chain);
        my $client = client($way, GET => $path);
        ok(sees($client, qr/x/), "$name: it has begun");
        my $at = gone($client);
        # what is buffered may have come to its end
        let_go($a, $at, $name, $chain) unless $chain eq 'buffered';
        # a stream is over when what was queued for it is
        $client->{h2}->close if $client->{h2};
        logged($path, $name, 200, 1, [ "$chain:client_abort:200" ]);
        is(counts(), '1+0', "$name: no other attempt");
    }
}

# what the provider has done is a success, also if the client is gone by then
{
    answers([ { framing => 'chunked', events => [ { raw => 'one' } ],
                end_hold => 'held' } ]);
    my $path = path('a');
    my $was = breaker('a', '-')->{successes};
    my $client = http($n);
    my $r = $client->start(GET => $path);
    ok($r->wait_bytes(3), 'the end and a reset: it has begun');
    kill STOP => $n->workers;
    $a->release('held');
    ok($a->wait_done(1), 'the end and a reset: it has come to its end');
    $client->reset;
    kill CONT => $n->workers;
    logged($path, 'the end and a reset', 200, 1, [ 'a:success:200' ]);
    is(breaker('a', '-')->{successes}, $was + 1,
        'the end and a reset: as it is counted');
}

# what a client has sent behind its request does not hide that it went
for my $how (qw(close send_end)) {
    answers([ { hold => 'held' } ]);
    my $path = path('a');
    my $c = http($n);
    $c->send_raw($c->bytes_of(GET => $path) . $c->bytes_of(GET => '/a/other'));
    ok($a->wait_held(1), "pipelined, $how: asked");
    my $at = now();
    $c->$how;
    let_go($a, $at, "pipelined, $how", 'a');
    logged($path, "pipelined, $how", 499, 1, [ 'a:client_abort:0' ]);
    is($a->count('/a/other'), 0, "pipelined, $how: the next is not asked");
}


# while it waits

for my $way (@ways) {
    answers([ 503 ]);
    my $path = path('slow');
    my $mark = $n->mark;
    my $client = client($way, GET => $path);
    ok($n->wait_log(qr/retry 1 of provider "other"/, 5, $mark),
        "backoff, $way: waits");
    gone($client);
    logged($path, "backoff, $way", 499, 1, [ 'other:overloaded:503' ]);
    is(counts(), '1+0', "backoff, $way: no other attempt");
}

# when the time is over, only one is left that waited for it
answers([ 503 ]);
my @waits = map { client($_, GET => path('soon')) } @ways;
ok($a->wait_done(scalar @ways), 'backoff: all were refused');
gone($_) for @waits;
ok(wait_until(5, \&idle), 'backoff: all are gone');
is(http($n)->get(path('soon'))->status, 503, 'backoff: one waits');
is($a->count, @ways + 2, 'backoff: and is the only one to try again');

for my $way (@ways) {
    (my $tenant = $way) =~ tr{a-zA-Z}{}cd;
    my %who = (headers => { 'x-tenant' => $tenant });
    answers([ 503 ]);
    http($n)->get('/open/', %who);
    is(breaker('a', $tenant)->{state}, 'open', "open, $way: so it is");

    my $path = path('open');
    my $client = client($way, GET => $path, %who);
    ok(wait_until(5, sub { breaker('a', $tenant)->{rejected} }),
        "open, $way: waits");
    gone($client);
    logged($path, "open, $way", 499, 0, [ 'a:breaker_open:0' ]);
    is(counts(), '1+0', "open, $way: no other attempt");
}

# a probe's permit comes back
for my $way (@ways) {
    (my $tenant = "probe$way") =~ tr{a-zA-Z}{}cd;
    my %who = (headers => { 'x-tenant' => $tenant });
    answers([ 503, { hold => 'held' } ]);
    http($n)->get('/probe/', %who);
    ok(wait_until(5, sub { !breaker('a', $tenant)->{retry_in_ms} }),
        "probe, $way: it may be one");

    for my $turn (1 .. 3) {
        my $client = client($way, GET => path('probe'), %who);
        ok($a->wait_held(1), "probe $turn, $way: admitted");
        is(breaker('a', $tenant)->{state}, 'half_open',
            "probe $turn, $way: half-open");
        let_go($a, gone($client), "probe $turn, $way");
        $a->forget;
        ok(wait_until(5, \&idle), "probe $turn, $way: permit is back");
    }
    is(breaker('a', $tenant)->{state}, 'half_open', "probe, $way: not closed");
    $a->on('/', { body => 'from a' });
    is(http($n)->get('/probe/', %who)->body, 'from a', "probe, $way: the next");
    is(breaker('a', $tenant)->{state}, 'closed', "probe, $way: closes it");
}


# one of many in a connection

SKIP: {
    skip 'no HTTP/2', 1 unless $has_h2;

    for my $chain (qw(a llm)) {
        answers([ { framing => 'chunked', events => [ { data => $delta },
            { data => $delta, hold => 'held' }, { data => '[DONE]' } ] } ]);
        my $h2 = H2->new($n->port(2));
        my @ids = map { $h2->start(GET => path($chain)) } 1 .. 20;
        is(scalar(grep { !$h2->wait_body($_, qr/one/) } @ids), 0,
            "streams, $chain: all have begun");
        my %gone = map { $ids[$_] => 1 } 0, 3, 7, 8, 19;
        $h2->reset($_) for sort keys %gone;
        ok($a->wait_aborted(5), "streams, $chain: five are let go");
        ok($a->wait_held(20), "streams, $chain: fifteen go on");
        $a->release('held');
        my @rest = grep { !$gone{$_} } @ids;
        is(scalar(grep { !$h2->wait_end($_) || $h2->{streams}{$_}{reset}
            || $h2->{streams}{$_}{status} != 200
            || $h2->{streams}{$_}{body} !~ /one.*one.*DONE/s } @rest), 0,
            "streams, $chain: whole");
        ok(wait_until(5, \&idle), "streams, $chain: nothing in flight");
        is($a->count, 20, "streams, $chain: no other attempt");

        my $id = $h2->start(GET => path($chain));
        ok($h2->wait_end($id), "streams, $chain: and another");
    }
}


# very many

# of each worker
sub descriptors {
    return map {
        opendir my $dir, "/proc/$_/fd" or die $!;
        scalar grep { !/^\./ } readdir $dir;
    } $n->workers;
}

# kept connections to providers are not counted
sub quiet {
    return idle() && do {
        $_->drop(idle => 1) for $a, $b;
        $a->wait_open(0, 0) && $b->wait_open(0, 0);
    };
}

ok(wait_until(10, \&quiet), 'many: quiet before');
my @before = descriptors();

answers([ { hold => 'held' } ]);
my @stream = (framing => 'chunked', events => [ { data => $delta },
    { data => $delta, hold => 'held' } ]);
$a->on('/llm/', { @stream });
$a->on('/slow/', 503);

my %lines;
for my $turn (1 .. 50) {
    my @clients = map { my $path = path($_);
        [ $path, client($ways[$turn % @ways], POST => $path, body => '{}') ]
    } qw(a llm slow off);
    ok($a->wait_requests(4 * $turn), "many: turn $turn") or last;
    sees($clients[1][1], qr/one/);
    gone($_->[1]) for @clients;
    $lines{ $_->[0] } = 1 for @clients;
}
ok(wait_until(10, sub {
    keys %lines == grep { $lines{ (split /\|/)[0] } } $n->access_log;
}), 'many: all logged');
is(scalar(grep { $lines{ (split /\|/)[0] } && !/\|client_abort\|/ }
    $n->access_log), 0, 'many: all aborted');
is(counts(), '200+0', 'many: one attempt each');
ok(wait_until(10, \&quiet), 'many: nothing in flight');
ok(wait_until(10, sub {
    my @now = descriptors();
    return !grep { $now[$_] > $before[$_] } 0 .. $#before;
}), 'many: no descriptor is left')
    or diag("@before, then ", join ' ', descriptors());
is(breaker($_, '-')->{failures}, 0, "many: no failure of $_") for qw(llm b);

answers([ { body => 'from a' } ]);
$a->on('/off/', { body => 'from a' });
is(http($n)->get(path('off'))->body, 'from a', 'and then as ever');

done_testing();
