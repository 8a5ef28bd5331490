#!/usr/bin/env perl

# Tests for the metrics one by one, as promtool and the documentation see them;
# for those of tenants; and for the rules and the dashboard of the examples.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;
use Resilience::Metrics;

use JSON::PP qw(decode_json);

my $root = "$FindBin::Bin/..";
my %up = map { $_ => upstream({ body => $_ }) } qw(a b c);

my $open = 0.4 * factor();
my $n = nginx(vars => { OPEN => 1000 * $open,
                        map { uc $_ => $up{$_}->port } keys %up },
              http => <<'E');
    resilience_zone zone=gw:1m;
    resilience_tenant $http_x_tenant;

    resilience_policy p {
        timeout connect=1s first_byte=5s attempt=6s total=20s;
        retry 1 base=1ms max=1ms;
        breaker failures=4 open=1h;
        breaker_provider tenants=2 open=1h;
    }
    resilience_policy once {
        retry 0;
        retry_after max=1ms;
        breaker failures=1 open=%%OPEN%%ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy short {
        timeout first_byte=20ms;
        retry 0;
        breaker off;
        breaker_provider off;
    }
    resilience_policy idle {
        timeout idle=20ms;
        retry 0;
        breaker off;
    }
    resilience_policy attempt { timeout attempt=20ms; retry 0; breaker off; }
    resilience_policy total {
        timeout attempt=0 total=20ms;
        retry 0;
        breaker off;
        stop_before 1ms;
    }
    resilience_policy budget {
        retry 3 base=1ms max=1ms;
        retry_budget 1% min=0;
        breaker off;
    }
    resilience_policy safe {
        retry 3 base=1ms max=1ms;
        retry_non_idempotent off;
        breaker off;
    }
    resilience_policy late {
        timeout total=1s;
        retry 3 base=10s max=10s jitter=none;
        breaker off;
    }
    resilience_policy hedge {
        retry 0;
        hedge after=10ms;
        breaker off;
        breaker_provider off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%C%%; }
    resilience_provider dead { resilience_endpoint http://127.0.0.1:%%PORT2%%; }
    resilience_provider proxy {
        proxy_pass http://127.0.0.1:%%C%%;
        proxy_read_timeout 20ms;
    }
    resilience_provider unused { resilience_endpoint http://127.0.0.1:%%C%%; }

    resilience_chain ab { policy p; provider a; provider b; }
    resilience_chain once { policy once; provider c; provider a; }
    resilience_chain short { policy short; provider c; }
    resilience_chain idle { policy idle; provider c; }
    resilience_chain attempt { policy attempt; provider c; }
    resilience_chain total { policy total; provider c; }
    resilience_chain budget { policy budget; provider c; }
    resilience_chain safe { policy safe; provider c; }
    resilience_chain late { policy late; provider c; }
    resilience_chain hedge { policy hedge; provider c; provider b; }
    resilience_chain least { policy short; balance least_latency;
                             provider a; provider b; provider c; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location ~ "(?s)^/named/(.*)$" {
            resilience_tenant $1;
            resilience_pass ab;
        }
        location /dead/ { resilience_pass dead; }
        location ~ ^/(\w+)/ { resilience_pass $1; }
        location = /limited { resilience_limit requests rate=1r/m; }
        location = /metrics { resilience_status prometheus; }
        location = /top { resilience_status prometheus tenants=top:3; }
        location = /all { resilience_status prometheus tenants=top:100; }
        location = /status { resilience_status admin; }
    }
E

sub metrics { Resilience::Metrics->scrape($n, @_) }

sub call {
    my ($chain, %opt) = @_;
    my $c = http($n);
    return $c->request(delete $opt{method} // 'GET', "/$chain/",
        headers => { 'X-Tenant' => $opt{tenant} // 'one' });
}

my $last = metrics();

# what has changed of a metric since the last time, by a label
sub changed {
    my ($label, $metric, %of) = @_;
    my ($now, $then) = map { $_->by($label, $metric, %of) } metrics(), $last;
    my %changed = map { $_ => $now->{$_} - ($then->{$_} // 0) } keys %$now;
    delete @changed{ grep { !$changed{$_} } keys %changed };
    return \%changed;
}

# counted when the client may have its answer already
sub counts {
    my ($want, $name, @of) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $json = JSON::PP->new->canonical;
    wait_until(3, sub {
        $json->encode(changed(@of)) eq $json->encode($want) });
    is_deeply(changed(@of), $want, $name);
}


# nothing yet

is(metrics()->answer->header('content-type'), 'text/plain; version=0.0.4',
    'type');
is($last->sum('resilience_calls_total'), 0, 'no calls');
is($last->sum('resilience_circuit_breakers'), 0, 'no breakers');
is_deeply($last->by(state => 'resilience_provider_breaker', provider => 'a'),
    { closed => 1 }, 'the breaker of all tenants');
is(scalar($last->samples('resilience_calls_total', chain => 'unused')), 0,
    'a provider that no one calls is no chain');
cmp_ok(scalar($last->samples('resilience_calls_total', chain => 'dead')), '>', 9,
    'one that is called is');
is(scalar($last->samples('resilience_fallbacks_total', chain => 'ab')), 1,
    'an order has the next only');
is(scalar($last->samples('resilience_fallbacks_total', chain => 'least')), 6,
    'no order has them all');


# one by one

call('ab');
counts({ success => 1 }, 'calls', outcome => 'resilience_calls_total',
    chain => 'ab');
counts({ success => 1 }, 'attempts', class => 'resilience_attempts_total');
counts({ closed => 1 }, 'breakers', state => 'resilience_circuit_breakers');
counts({ a => 1 }, 'first bytes',
    provider => 'resilience_first_byte_seconds_count');

$last = metrics();
$up{a}->on('/', 500);
call('ab');
counts({ server_error => 2, success => 1 }, 'retried and moved on from',
    class => 'resilience_attempts_total');
counts({ b => 1 }, 'fallback', to => 'resilience_fallbacks_total',
    chain => 'ab', from => 'a');
counts({ max_retries => 1 }, 'denied', reason => 'resilience_retry_denied_total');
counts({ 500 => 2 }, 'statuses', status => 'resilience_http_status_retriable_total',
    provider => 'a');
counts({ '+Inf' => 1, map({ $_ => 1 } 3, 4, 5, 6, 8, 10, 15, 20, 30) },
    'attempts of a call', le => 'resilience_retry_attempts_bucket');
counts({ failure => 2, success => 1 }, 'breakers were asked',
    result => 'resilience_circuit_breaker_calls_total', state => 'closed');

# opened, refused, half-open, closed

$last = metrics();
$up{c}->on('/', 503, { body => 'c' });
$up{a}->on('/', { body => 'a' });
call('once');
counts({ open => 1 }, 'one opened',
    to => 'resilience_circuit_breaker_state_transitions_total',
    from => 'closed', provider => 'c');
counts({ open => 1 }, 'one is open', state => 'resilience_circuit_breakers',
    provider => 'c');
ok(wait_until(5, sub { call('once')->body eq 'c' }), 'closed again');
counts({ half_open => 1 }, 'it was half-open',
    to => 'resilience_circuit_breaker_state_transitions_total',
    from => 'open', provider => 'c');
counts({ closed => 1 }, 'and closed',
    to => 'resilience_circuit_breaker_state_transitions_total',
    from => 'half_open', provider => 'c');
counts({ c => 1 }, 'one open time', provider =>
    'resilience_circuit_breaker_open_duration_seconds_count');
my $sum = metrics()->sum('resilience_circuit_breaker_open_duration_seconds_sum');
cmp_ok($sum, '>=', $open, 'of its length at least');
cmp_ok($sum, '<=', 1.1 * $open, 'and not of more than that and its jitter');
counts({ half_open => 1 }, 'a probe',
    state => 'resilience_circuit_breaker_calls_total', result => 'success',
    provider => 'c');

$last = metrics();
http($n)->post('/status?provider=c&tenant=one&action=open');
call('once');
counts({ open => 1 }, 'refused',
    state => 'resilience_circuit_breaker_calls_total', result => 'rejected',
    provider => 'c');
http($n)->post('/status?provider=c&tenant=one&action=reset');

# 429 fails a probe, and is nothing to one that is closed

$last = metrics();
$up{c}->on('/', 429);
call('once', tenant => 'slow down');
counts({ neutral => 1 }, 'status 429',
    result => 'resilience_circuit_breaker_calls_total',
    state => 'closed', provider => 'c');
counts({ 429 => 1 }, 'is counted',
    status => 'resilience_http_status_retriable_total', provider => 'c');

$last = metrics();
$up{c}->on('/', 503, 418, 520, 400);
call('once', tenant => "x$_") for 1 .. 4;
counts({ 503 => 1, '5xx' => 1 }, 'other statuses; not those of the client\'s',
    status => 'resilience_http_status_retriable_total', provider => 'c');

# limits

$up{c}->on('/', { silent => 1 });
for my $chain (qw(short attempt total)) {
    $last = metrics();
    is(call($chain)->status, 504, "$chain: in time");
    my $phase = $chain eq 'short' ? 'first_byte' : $chain;
    counts({ $phase => 1 }, "$chain: its phase",
        phase => 'resilience_timeout_operations_total', provider => 'c');
}
$last = metrics();
call('proxy');
cmp_ok(changed(phase => 'resilience_timeout_operations_total',
    provider => 'proxy')->{first_byte} // 0, '>=', 1, 'the location\'s own limit');
$up{c}->on('/', { body => 'x' x 3000, stall_after_bytes => 2000 });
$last = metrics();
call('idle');
counts({ idle => 1 }, 'idle: its phase',
    phase => 'resilience_timeout_operations_total', provider => 'c');
counts({ stream_dropped => 1 }, 'idle: its class',
    class => 'resilience_attempts_total', provider => 'c');

# retries that are denied

$up{c}->on('/', 503);
my %denied = (budget => 'budget', late => 'deadline');
for my $chain (sort keys %denied) {
    $last = metrics();
    call($chain);
    counts({ $denied{$chain} => 1 }, "$chain: denied",
        reason => 'resilience_retry_denied_total', provider => 'c');
}
$up{c}->on('/', 500);
$last = metrics();
call('safe', method => 'POST');
counts({ non_idempotent => 1 }, 'safe: denied',
    reason => 'resilience_retry_denied_total', provider => 'c');

# hedges

$last = metrics();
$up{c}->on('/', { delay_ms => 3000, body => 'c' });
is(call('hedge')->body, 'b', 'a hedge');
counts({ won => 1 }, 'has won', result => 'resilience_hedges_total',
    provider => 'b');
$last = metrics();
$up{b}->on('/', { silent => 1 });
$up{c}->on('/', { delay_ms => 200 * factor(), body => 'c' });
is(call('hedge')->body, 'c', 'another one');
counts({ lost => 1 }, 'has lost', result => 'resilience_hedges_total',
    provider => 'b');
$up{b}->on('/', { body => 'b' });

# the breaker of all tenants

$last = metrics();
$up{a}->on('/', 500);
call('ab', tenant => "all $_") for 1 .. 12;
ok(wait_until(5, sub { metrics()->by(state => 'resilience_provider_breaker',
    provider => 'a')->{open} }), 'the breaker of all tenants is open');
is(metrics()->sum('resilience_provider_breaker', provider => 'a'), 1,
    'and nothing else');


# as promtool has it

$up{$_}->on('/', { body => $_ }) for keys %up;
call('dead');

# names of tenants: URIs have any character

my %odd = ('a"b' => 'a"b', 'back%5Cslash' => 'back\\slash', '%0Anl%0A' => "\nnl\n",
    '%C3%A9' => "\xc3\xa9", '%FF%FE' => "\xef\xbf\xbd" x 2, '}%20x' => '} x',
    '%5C%22%0A' => "\\\"\n", '%01' => "\x01", '%5Cn' => '\\n',
    '%FF%FD' => "\xef\xbf\xbd" x 2, '%ED%A0%80' => "\xef\xbf\xbd" x 3);
for my $name (sort keys %odd) {
    is(http($n)->get("/named/$name")->status, 200, "tenant $name");
}

sub tool {
    my ($text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $said) = Resilience::Metrics::promtool($text,
                                                        'check', 'metrics');
    is($status, 0, "$name: promtool takes it");
    is($said, '', "$name: without a word");
}

my $m = metrics();
is_deeply([ $m->bad ], [], 'each line is right');
tool($m->text, 'metrics');
unlike($m->text, qr/tenant=/, 'no tenant is named');
is_deeply([ grep { !$m->type($_) } $m->names ], [], 'each has a type');
(my $broken = $m->text) =~ s/^(# TYPE resilience_calls_total) counter$/$1 gauge/m;
isnt((Resilience::Metrics::promtool($broken, 'check', 'metrics'))[0], 0,
    'promtool would say what is wrong');


# tenants

my $all = metrics('/all');
is_deeply([ $all->bad ], [], 'each line is right, with tenants');
tool($all->text, 'tenants');

my $T = 'resilience_tenant_attempts_total';
my %seen = map { $_->[1]{tenant} => 1 } $all->samples($T);
my %wanted = map { $_ => 1 } grep { !/[\0-\x1f]/ } values %odd;
is_deeply([ grep { !$seen{$_} } sort keys %wanted ], [], 'all odd names');
is(scalar(grep { /^[0-9a-f]{16}$/ } keys %seen),
    scalar(grep { /[\0-\x1f]/ } values %odd), 'those with controls hashed');

my %times = map { $_->[0] => $_->[1] * factor }
    [ most => 180 ], [ more => 170 ], [ less => 160 ];
http($n)->post('/status?provider=a&action=reset');
for my $t (sort keys %times) {
    call('ab', tenant => $t) for 1 .. $times{$t};
}
call('short', tenant => 'most');
call('ab', tenant => "few $_") for 1 .. 20;

$times{most}++;
my $tops = sub { metrics('/top')->by(tenant => $T) };
ok(wait_until(5, sub {
    my $is = $tops->();
    return !grep { ($is->{$_} // 0) != $times{$_} } keys %times;
}), 'the most active ones are counted');
is_deeply($tops->(), \%times, 'and no other');

my $top = metrics('/top');
my $rows = http($n)->get('/status?limit=1000')->json->{breakers};
for my $t (qw(most more less)) {
    my %of = map { $_->{provider} => $_ } grep { $_->{tenant} eq $t } @$rows;
    for my $p (sort keys %of) {
        is_deeply([ map { $top->sum($T, tenant => $t, provider => $p,
                                    result => $_) } qw(success failure rejected) ],
            [ @{ $of{$p} }{qw(successes failures rejected)} ], "$t at $p");
    }
}
is_deeply($top->by(provider => $T, tenant => 'most'), { a => 180 * factor, c => 1 },
    'with all of their providers');

for my $bad ('top:0', 'top:101', 'top:', 'top:x', 'all', 'top:-1', '') {
    config_error("server { location / { resilience_status prometheus "
        . "tenants=$bad; } }", qr/"tenants=\Q$bad\E", use "tenants=top:" and a /,
        "tenants=$bad");
}
config_error('server { location / { resilience_status tenants=top:1; } }',
    qr/"tenants=" of "resilience_status" needs "prometheus"/, 'no prometheus');
config_error('server { location / { resilience_status prometheus tenants=top:1 '
    . 'tenants=top:2; } }', qr/duplicate parameter "tenants=top:2"/, 'twice');
my $long = 'x' x 65;
config_error("resilience_provider a { resilience_endpoint http://127.0.0.1; } "
    . "resilience_chain $long { provider a; }",
    qr/name of chain "$long" is longer than 64 bytes/, 'a long name');


# the documentation has exactly those

sub slurp {
    my ($path) = @_;
    open my $fh, '<', "$root/$path" or die "$path: $!";
    local $/;
    return scalar <$fh>;
}

my %help = map { $_ => 1 } $all->names;
my $docs = slurp('docs/metrics.md');
my %documented;
while ($docs =~ /^\| `(\w+)` \| (\w+) \|([^|]*)\|/mg) {
    my ($name, $type, $labels) = ($1, $2, $3);
    $documented{$name} = 1;
    next unless $help{$name};
    is($all->type($name), $type, "docs: type of $name");
    my %label = map { %{ $_->[1] } } $all->samples($name),
        $all->samples("${name}_bucket");
    delete $label{le};
    is_deeply([ sort $labels =~ /`(\w+)`/g ], [ sort keys %label ],
        "docs: labels of $name");
}
is_deeply([ sort keys %documented ], [ sort keys %help ],
    'docs: all metrics, and no other');


# the examples name what there is

my %there = map { $_ => 1 } map { $all->type($_) eq 'histogram'
              ? ($_, "${_}_bucket", "${_}_sum", "${_}_count") : $_ } $all->names;

sub named {
    my ($text, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %used = map { $_ => 1 } $text =~ /\b((?:resilience|llm)_\w+)/g;
    cmp_ok(scalar keys %used, '>', 4, "$name: names metrics");
    is_deeply([ grep { !$there{$_} } sort keys %used ], [],
        "$name: only those that there are");
}

my ($status, $said) = Resilience::Metrics::promtool(undef, 'check', 'rules',
    "$root/examples/prometheus/alerts.yml");
is($status, 0, 'the rules are right') || diag($said);
like($said, qr/SUCCESS: \d+ rules found/, 'and there are some');

named(slurp('examples/prometheus/alerts.yml'), 'rules');

my $board = decode_json(slurp('examples/grafana-dashboard.json'));
cmp_ok(scalar @{ $board->{panels} }, '>', 9, 'a dashboard with panels');
my @exprs = map { $_->{expr} } map { @{ $_->{targets} // [] } }
            @{ $board->{panels} };
named(join("\n", @exprs, map({ $_->{query} // '' }
    @{ $board->{templating}{list} })), 'dashboard');
my %id;
is(scalar(grep { $id{ $_->{id} }++ } @{ $board->{panels} }), 0, 'ids once each');

# promtool reads each expression as a rule's
my $as_rules = "groups:\n- name: board\n  rules:\n"
    . join '', map { my $e = $exprs[$_] =~ s/\$__rate_interval/5m/gr;
                     $e =~ s/\$\w+/x/g;
                     "  - record: board:r$_\n    expr: " . JSON::PP->new
                         ->allow_nonref->encode($e) . "\n" } 0 .. $#exprs;
my $file = $n->prefix . '/board.yml';
open my $fh, '>', $file or die "$file: $!";
print $fh $as_rules;
close $fh;
($status, $said) = Resilience::Metrics::promtool(undef, 'check', 'rules', $file);
is($status, 0, 'its expressions are right') || diag($said);

done_testing();
