#!/usr/bin/env perl

# Tests for what a call leaves in the logs: the variables tell after the fact
# what became of it, each change, retry, fallback and end has its line, and
# nothing that is secret has one.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use JSON::PP qw(decode_json);

my $root = "$FindBin::Bin/..";

# the example's own lines: a JSON object a call
open my $fh, '<', "$root/examples/log-json.conf" or die $!;
my $example = do { local $/; <$fh> };
my ($format) = $example =~ /^( *log_format calls escape=json\n.*?;)\n/ms
    or die 'no log_format';

my %up = map { $_ => upstream({ body => $_ }) } qw(a b);
my $SECRET = 'sk-very-secret';
my $WAIT = 500 * factor();        # ms

my $n = nginx(vars => { map { uc $_ => $up{$_}->port } keys %up },
              files => { key => "$SECRET-file\n" }, http => <<"E");
$format
    access_log %%PREFIX%%/access.log calls;
    resilience_zone zone=gw:1m;
    resilience_tenant \$http_x_tenant;

    resilience_policy p {
        retry_non_idempotent on;
        timeout first_byte=2s attempt=3s total=10s;
        retry 1 base=20ms max=20ms jitter=none;
        breaker failures=10 open=1h;
        breaker_provider off;
    }
    resilience_policy once {
        retry_non_idempotent on;
        retry 0;
        breaker failures=1 open=150ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy wait {
        retry_non_idempotent on;
        retry 0;
        breaker failures=1 open=${WAIT}ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy rest {
        retry_non_idempotent on;
        retry 0;
        retry_after max=10ms;
        breaker failures=1 open=1h;
        breaker_provider off;
    }
    resilience_policy hedge {
        retry_non_idempotent on;
        retry 0;
        hedge after=20ms;
        breaker off;
        breaker_provider off;
    }
    resilience_policy narrow {
        retry_non_idempotent on;
        retry 0;
        concurrency 1;
        breaker_provider off;
    }

    resilience_provider a {
        resilience_endpoint http://127.0.0.1:%%A%%;
        llm_dialect openai;
        llm_key $SECRET;
        llm_hold 0;
    }
    resilience_provider b {
        resilience_endpoint http://127.0.0.1:%%B%%;
        llm_dialect openai;
        llm_key_file key;
        llm_hold 0;
    }
    resilience_chain ab    { policy p; provider a; provider b; }
    resilience_chain once  { policy once; provider a; provider b; }
    resilience_chain wait  { policy wait; provider a; when_open wait=5s; }
    resilience_chain rest  { policy rest; provider a; provider b; }
    resilience_chain hedge { policy hedge; provider a; provider b; }
    resilience_chain narrow { policy narrow; provider a; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location ~ ^/(\\w+)/ { resilience_pass \$1; }
        location /plain { return 200 plain; }
    }
E

my $calls = 0;

# what the access log has of the call
sub call {
    my ($chain, %opt) = @_;
    my $id = ++$calls;
    my $r = http($n)->post("/$chain/$id?api_key=$SECRET",
        body => '{"model":"m","prompt":"a secret prompt"}',
        headers => { 'X-Tenant' => $opt{tenant} // $chain,
                     Authorization => "Bearer $SECRET" });
    return logged("/$chain/$id");
}

sub logged {
    my ($uri) = @_;
    my $re = qr/"uri":"\Q$uri\E"/;
    $n->wait_access_log($re) or return {};
    my ($line) = $n->access_log($re);
    return decode_json($line);
}

sub trace {
    my ($call) = @_;
    return $call->{trace} =~ s/:(\d+\.\d{3})(?=,|$)//gr;
}

# the seconds of all entries
sub seconds {
    my ($call) = @_;
    my $sum = 0;
    $sum += $_ for $call->{trace} =~ /:(\d+\.\d{3})(?=,|$)/g;
    return $sum;
}

my $line;


# all variables

my $call = call('ab');
is_deeply([ @{$call}{qw(tenant chain provider attempt attempts outcome status)} ],
    [ qw(ab ab a 1 1 success 200) ], 'of a success');
is(trace($call), 'a:success:200', 'trace');
is($call->{wait_time}, '0.000', 'no wait');
like($call->{first_byte_time}, qr/^\d\.\d{3}$/, 'first byte');
cmp_ok($call->{deadline}, '>', 5000, 'deadline');
cmp_ok($call->{deadline}, '<=', 10000, 'is what was left');
is($call->{model}, 'm', 'model');

# of none

http($n)->get('/plain');
is(logged('/plain')->{trace}, '', 'of no call all are empty');

# retries and fallbacks

$up{a}->on('/', 500);
my $mark = $n->mark;
$call = call('ab');
is(trace($call), 'a:server_error:500, a:server_error:500, b:success:200',
    'a retry and a fallback');
is_deeply([ @{$call}{qw(provider attempt attempts outcome)} ],
    [ qw(b 3 3 success) ], 'who won');
is($call->{wait_time}, '0.020', 'the backoff');
cmp_ok(abs($call->{request_time} - seconds($call) - $call->{wait_time}), '<',
    0.03 * factor(), 'the trace and the waits are all of its time');
my @lines = $n->log_lines(qr/\[info\].*(?:retry|fallback)/, $mark);
is(scalar(@lines), 2, 'a line each');
like($lines[0], qr/retry 1 of provider "a" after server_error in 20ms/, 'retry');
like($lines[1], qr/fallback from provider "a" to "b" after server_error in 0ms/,
    'fallback');

# a chain that is spent

$up{b}->on('/', 503);
$mark = $n->mark;
$call = call('ab');
is($call->{outcome}, 'server_error', 'spent');
is($call->{provider}, '', 'no one has won');
is($call->{attempts}, 4, 'all attempts');
is($call->{first_byte_time}, '', 'and nothing was passed on of them');
@lines = $n->log_lines(qr/\[error\]/, $mark);
is(scalar(@lines), 1, 'one error');
like($lines[0], qr/chain "ab" is spent after 4 attempts: server_error, tenant "ab"/,
    'which says so');
$up{b}->on('/', { body => 'b' });

# breakers: opened, refused, half-open, closed

$mark = $n->mark;
is(trace(call('once')), 'a:server_error:500, b:success:200', 'opens');
is(trace(call('once')), 'a:breaker_open:0, b:success:200', 'refused');
$up{a}->on('/', { body => 'a' });
ok(wait_until(5, sub { trace(call('once')) eq 'a:success:200' }), 'closes');
@lines = $n->log_lines(qr/\[warn\].*breaker/, $mark);
is(scalar(@lines), 3, 'a line for each change') || diag(@lines);
my $who = 'breaker of tenant "once" and provider "a" went from';
like($lines[0], qr/$who closed to open: failures, next attempt in \d+ms/, 'open');
like($lines[1], qr/$who open to half_open: open_elapsed/, 'half-open');
like($lines[2], qr/$who half_open to closed: probes_succeeded/, 'closed');

# rests

$up{a}->on('/', { status => 429, headers => { 'Retry-After' => 60 } });
is(trace(call('rest')), 'a:rate_limited:429, b:success:200', 'told to wait');
is(trace(call('rest')), 'a:breaker_open:0, b:success:200',
    'rests: refused, and no failure was seen');

# waits for a breaker to half-open

$up{a}->on('/', 500);
call('wait', tenant => 'w');
$up{a}->on('/', { body => 'a' });
$call = call('wait', tenant => 'w');
is(trace($call), 'a:breaker_open:0, a:success:200', 'waited');
my ($waited) = $call->{trace} =~ /^a:breaker_open:0:(\d+\.\d{3})/;
is($waited, $call->{wait_time}, 'the refusal has for how long');
cmp_ok($waited, '>', 0, 'and it was not for nothing');
cmp_ok(abs($call->{request_time} - seconds($call)), '<', 0.05 * factor(),
    'that is all of its time');

# hedges: one that has won, one that failed

$up{a}->on('/', { delay_ms => 3000, body => 'a' });
$mark = $n->mark;
$call = call('hedge');
is(trace($call), 'a:cancelled:0, b:success:200', 'a hedge has won');
is("$call->{provider} $call->{attempt} $call->{attempts}", 'b 2 2', 'as second');
@lines = $n->log_lines(qr/\[info\].*hedge/, $mark);
is(scalar(@lines), 1, 'a line of it');
like($lines[0], qr/hedge at provider "b" beside "a"/, 'who');
$up{a}->on('/', { delay_ms => 300 * factor(), body => 'a' });
$up{b}->on('/', 500);
$call = call('hedge');
is(trace($call), 'b:server_error:500, a:success:200',
    'a hedge that failed: in the order of their ends');
is("$call->{provider} $call->{attempt} $call->{attempts}", 'a 1 2',
    'and the first has won');
cmp_ok($call->{request_time}, '<', seconds($call) + 0.05 * factor(),
    'they ran beside each other');
$up{b}->on('/', { body => 'b' });

# limits

$up{a}->on('/', { hold => 'go', body => 'a' });
my $c = http($n);
my $first = $c->start(POST => '/narrow/held', body => '{"model":"m"}',
    headers => { 'X-Tenant' => 'narrow' });
ok($up{a}->wait_held(1), 'one runs');
is(trace(call('narrow')), 'a:limited:0, b:success:200', 'limited');
$up{a}->release('go');
$first->read_until_end;

# a client that has gone

$up{a}->on('/', { silent => 1 });
$c = http($n);
$c->start(POST => '/ab/gone', body => '{"model":"m"}',
    headers => { 'X-Tenant' => 'gone' });
ok($up{a}->wait_requests(1, 5, '/ab/gone'), 'it is asked');
$c->close;
$call = logged('/ab/gone');
is(trace($call), 'a:client_abort:0', 'gone');
is($call->{outcome}, 'client_abort', 'as outcome, too');


# hostile names are JSON all the same

$up{a}->on('/', { body => 'a' });
for my $tenant ('"}', '\\', "\xc3\xa9", '<script>', "\t") {
    is(call('ab', tenant => "x${tenant}x")->{trace} ? 1 : 0, 1,
        'a line of JSON');
}

# an address may be logged by nginx itself, but nothing of a request's body,
# no key and no header

my $logs = $n->log . join '', map { "$_\n" } $n->access_log;
unlike($logs, qr/secret prompt/, 'no prompt');
unlike($logs =~ s/api_key=$SECRET//gr, qr/$SECRET/, 'no key');
unlike(join('', $n->access_log), qr/$SECRET/, 'no key in the access log');

done_testing();
