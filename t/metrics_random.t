#!/usr/bin/env perl

# Tests for what must hold between metrics, whatever happens: sums are sums of
# the same, and the counts of breakers by their state are those of the list of
# all breakers, after faults, evictions, words of an administrator, a killed
# worker, a reload, another size of the zone, and a restart.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;
use Resilience::Metrics;

my $seed = $ENV{TEST_SEED} // time;
srand $seed;
diag("TEST_SEED=$seed") if $ENV{TEST_VERBOSE};

my %up = map { $_ => upstream() } qw(a b c);

my $http = <<'E';
    resilience_zone zone=gw:%%SIZE%% state=%%PREFIX%%/gw;
    resilience_tenant $http_x_tenant;

    resilience_policy p {
        timeout first_byte=%%FB%% attempt=2s total=4s;
        retry 1 base=1ms max=2ms;
        retry_after max=5ms;
        retry_non_idempotent on;
        breaker failures=2 min_calls=5 window=10 open=30ms probes=1 successes=1;
        breaker_provider tenants=4 open=20ms;
    }
    resilience_policy h {
        timeout first_byte=%%FB%%;
        retry 0;
        hedge after=10ms;
        retry_budget 100% min=1000;
        breaker failures=3 open=20ms;
        breaker_provider off;
    }
    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%C%%; }
    resilience_chain abc { policy p; provider a; provider b; provider c; }
    resilience_chain mix { policy p; balance weighted; provider b; provider c; }
    resilience_chain single { policy p; provider a; }
    resilience_chain hedged { policy h; provider c; provider a; }

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;
        location /abc/ { resilience_pass abc; }
        location /mix/ { resilience_pass mix; }
        location /hedged/ { resilience_pass hedged; }
        location /single/ { resilience_pass single; }
        location /a/ { resilience_pass a; }
        location = /metrics { resilience_status prometheus; }
        location = /status { resilience_status admin; }
    }
E

my %vars = (FB => int(50 * factor()) . 'ms',
            map { uc $_ => $up{$_}->port } keys %up);
my $n = nginx(http => $http, vars => { %vars, SIZE => '256k' });

my $calls = 0;
my @chains = qw(abc mix hedged single);
my @tenants = map { "t$_" } 1 .. 30;

sub pick { $_[rand @_] }

my @answers = (
    ({ body => 'good' }) x 6, 500, 500, 503, 429, 401, 404, 400, 418, 520,
    { status => 429, headers => { 'Retry-After' => 1 } },
    { reset_before_header => 1 }, { close_before_header => 1 },
    { delay_ms => 15, body => 'late' }, { silent => 1 },
    { body => 'x' x 5000, reset_after_bytes => 3000 },
);

sub call {
    my ($tenant) = @_;
    my $chain = pick(@chains);
    my $method = pick(qw(GET POST));
    my $c = http($n);
    my $s = $c->start($method => "/$chain/", $method eq 'POST'
        ? (body => 'x') : (), headers => { 'X-Tenant' => $tenant });
    $calls++;
    $s->read_until_end;
}

sub say_to {
    my ($of) = @_;
    my $action = pick(qw(open close disable auto reset));
    http($n)->post("/status?action=$action&$of");
}

# words: also of an administrator about all tenants
sub work {
    my ($times, $words) = @_;
    for (1 .. $times) {
        if (rand() < 0.1) {
            $up{ pick(keys %up) }->on('/', map { pick(@answers) } 1 .. 9);
        }
        my $what = rand;
        if ($what < 0.03 && $words) {
            say_to('provider=' . pick(keys %up));
        }
        elsif ($what < 0.1) {
            say_to('provider=' . pick(keys %up) . '&tenant=' . pick(@tenants));
        }
        else {
            call(pick(@tenants));
        }
    }
}

# { provider => { state => number } }, of the list
sub listed {
    my %listed;
    my $after = 0;
    while (defined $after) {
        my $s = http($n)->get("/status?limit=1000&after=$after")->json;
        $listed{ $_->{provider} }{ $_->{state} }++ for @{ $s->{breakers} };
        $after = $s->{next};
    }
    return \%listed;
}

sub metrics { Resilience::Metrics->scrape($n) }

# what is left of a call when its client has its answer
sub quiet {
    return wait_until(10, sub {
        my $m = metrics();
        return $m->sum('resilience_inflight') == 0
               && $m->sum('resilience_calls_total') >= $calls;
    });
}

sub counted {
    my ($m) = @_;
    my %counted = map { $_ => $m->by(state => 'resilience_circuit_breakers',
                                     provider => $_) } keys %up;
    delete @counted{ grep { !%{ $counted{$_} } } keys %counted };
    return \%counted;
}

my $T = 'resilience_circuit_breaker_state_transitions_total';

# what went in less what went out
sub balance {
    my ($m, $provider, $state) = @_;
    return $m->sum($T, provider => $provider, to => $state)
           - $m->sum($T, provider => $provider, from => $state);
}

sub holds {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok(quiet(), "$name: all are over");

    # before the list, which brings late breakers up to what was said of all
    my $m = metrics();
    my $listed = listed();
    is_deeply(counted($m), $listed, "$name: breakers by state");
    is_deeply(counted(metrics()), $listed, "$name: and again");

    is($m->sum('resilience_zone_cells'), $m->sum('resilience_circuit_breakers'),
        "$name: all cells");
    is($m->sum('resilience_calls_total'), $calls, "$name: calls");
    is($m->sum('resilience_retry_attempts_count'), $calls,
        "$name: calls by attempts");
    is($m->sum('resilience_retry_attempts_sum'),
        $m->sum('resilience_attempts_total'), "$name: attempts of calls");

    my $status = http($n)->get('/status?limit=1')->json;
    for my $p (sort keys %up) {
        my @of = (provider => $p);
        my ($said) = grep { $_->{name} eq $p } @{ $status->{providers} };
        is($m->sum('resilience_attempts_total', @of), $said->{attempts},
            "$name: attempts of $p by class");
        is($m->sum('resilience_attempt_duration_seconds_count', @of),
            $said->{attempts}, "$name: durations of $p");

        my $asked = 'resilience_circuit_breaker_calls_total';
        my $rejected = $m->sum($asked, @of, result => 'rejected');
        is($m->sum($asked, @of) - $rejected, $said->{attempts},
            "$name: breakers asked for $p");
        my $refused = $m->sum('resilience_refused_total', @of,
                              class => 'breaker_open')
                    + $m->sum('resilience_refused_total', @of,
                              class => 'no_permit');
        cmp_ok($rejected, '>=', $refused, "$name: refused by breakers of $p");
        is($m->sum($asked, @of, result => 'success'),
            $m->sum('resilience_attempts_total', @of, class => 'success'),
            "$name: successes of $p");
        cmp_ok($m->sum('resilience_timeout_operations_total', @of), '>=',
            $m->sum('resilience_attempts_total', @of, class => 'timeout'),
            "$name: timeouts of $p");
    }
    return $m;
}

# states change by transitions, and by nothing else if nothing is given up
sub balanced {
    my ($m, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $p (sort keys %up) {
        my $cells = $m->by(state => 'resilience_circuit_breakers',
                           provider => $p);
        is(balance($m, $p, $_), $cells->{$_} // 0, "$name: $_ breakers of $p")
            for qw(open half_open);
        is($m->sum($T, provider => $p, from => 'closed', to => 'half_open'),
            undef, "$name: no way from closed to half-open");
    }
}

work(250, 0);
# one hedge at least
$up{c}->on('/', { delay_ms => 500 * factor, body => 'late' });
$up{a}->on('/', { body => 'soon' });
http($n)->get('/hedged/', headers => { 'X-Tenant' => 'hedger' });
$calls++;
my $m = holds('faults');
balanced($m, 'faults');
is($m->sum('resilience_zone_evictions_total'), 0, 'nothing was given up');

for my $name (qw(resilience_fallbacks_total resilience_hedges_total
    resilience_timeout_operations_total resilience_http_status_retriable_total
    resilience_retry_denied_total
    resilience_circuit_breaker_open_duration_seconds_count), $T)
{
    cmp_ok($m->sum($name), '>', 0, "$name counts");
}

# a word about all of a provider, none of whose breakers was asked since

my %state_of = (open => 'open', reset => 'closed', auto => 'closed',
                disable => 'closed', close => 'closed');

for my $action (qw(open reset open auto disable close open reset)) {
    http($n)->post("/status?provider=a&action=$action");
    $m = metrics();
    is_deeply([ keys %{ counted($m)->{a} } ], [ $state_of{$action} ],
        "all are $state_of{$action}: $action");
}
holds('words');

# a worker is killed

my ($worker) = $n->workers;
$n->expect_log(qr/exited on signal 9/);
kill 'KILL', $worker;
$n->wait_gone($worker, 5);
ok(wait_until(5, sub { $n->ready }), 'another worker');
work(50, 1);
holds('a killed worker');

# nothing is lost by a reload, another size, a restart

my @counters = grep { metrics()->type($_) ne 'gauge' && !/zone_/ }
               metrics()->names;

sub values_of {
    my ($m) = @_;
    my %value;
    for my $name (map { ($_, "${_}_bucket", "${_}_sum", "${_}_count") }
                  @counters)
    {
        for my $s ($m->samples($name)) {
            my $label = $s->[1];
            $value{join ' ', $name, map { "$_=$label->{$_}" }
                                    sort keys %$label} = $s->[2];
        }
    }
    return \%value;
}

my $before = values_of(metrics());
cmp_ok(scalar keys %$before, '>', 200, 'many counters');

ok($n->reload, 'reload');
is_deeply(values_of(metrics()), $before, 'counters after a reload');
work(20, 1);
holds('a reload');

$before = values_of(metrics());
$n->conf($http, vars => { %vars, SIZE => '1m' });
ok($n->reload(gone => 1), 'reload with another size');
is_deeply(values_of(metrics()), $before, 'counters after that');
work(20, 1);
holds('another size');

$before = values_of(metrics());
$n->restart;
is_deeply(values_of(metrics()), $before, 'counters after a restart');
work(20, 1);
holds('a restart');

# another order, and another chain: what is known is known by name

my $turned = $http;
$turned =~ s/(\N*provider a \{\N*\n)(\N*provider b \{\N*\n)/$2$1/ or die;
$turned =~ s/^( *resilience_chain)( abc )/$1 ab { policy p; provider a; provider b; }\n$1$2/m
    or die;
$before = values_of(metrics());
$n->conf($turned, vars => { %vars, SIZE => '256k' });
ok($n->reload(gone => 1), 'reload with another order and size');
my $after = values_of(metrics());
is_deeply({ map { $_ => $after->{$_} } keys %$before }, $before,
    'counters by name');
is(metrics()->sum('resilience_fallbacks_total', chain => 'ab'), 0,
    'and of a new chain');
holds('another order');

# more tenants than there is room for

my $room = metrics()->sum('resilience_zone_capacity');
my $pipe = http($n);
$up{a}->on('/', { body => 'good' });
for (my $i = 0; $i < $room + 100; $i += 50) {
    $pipe->send_raw(join '', map { $pipe->bytes_of(GET => '/a/',
        headers => { 'X-Tenant' => "full$_" }) } $i .. $i + 49);
    $pipe->read_response for 1 .. 50;
    $calls += 50;
}
work(50, 1);
$m = holds('a full zone');
cmp_ok($m->sum('resilience_zone_evictions_total'), '>', 50, 'some given up');
is($m->sum('resilience_zone_cells'), $room, 'full');

done_testing();
