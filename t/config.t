#!/usr/bin/env perl

# Tests for the configuration: what is accepted, and what every mistake says.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

# a provider, a chain and a location, with something put into each
sub conf {
    my (%in) = @_;
    my $provider = $in{provider} // 'proxy_pass http://127.0.0.1:9;';
    my $policy = $in{policy} // '';
    my $chain = $in{chain} // 'provider a;';
    my $location = $in{location} // 'resilience_pass c;';
    my $http = $in{http} // '';
    return <<"E";
resilience_policy p { $policy }
resilience_provider a { $provider }
resilience_provider b { proxy_pass http://127.0.0.1:9; }
resilience_chain c { $chain }
$http
server { listen 127.0.0.1:%%PORT%%; location / { $location } }
E
}

sub good {
    my ($name, %in) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return config_ok(conf(%in), undef, $name);
}

# the message names the file and a line
sub bad {
    my ($message, %in) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $name = join '; ', map { "$_: $in{$_}" } sort keys %in;
    return config_error(conf(%in),
        qr/\[emerg\].*$message.* in \S+http\.conf:\d+/s, $name);
}


# what is right

good('a chain', chain => 'policy p; provider a; provider b;');
good('a provider alone', location => 'resilience_pass a;');
good('a chain with the name of a provider',
    http => 'resilience_chain a { provider b; }');
good('a variable', location => 'resilience_pass $http_x_chain;');
good('all of a policy', policy => 'preset llm_chat;
    timeout connect=1s first_byte=10s idle=10s attempt=1m total=2m;
    retry 3 base=100ms max=2s factor=1.5 jitter=equal strategy=linear;
    retry_on connect timeout; fallback_on connect timeout auth;
    fail_on connect; retry_non_idempotent on;
    breaker failures=3 error_rate=20% window=50 min_calls=10 open=5s
            open_max=1m probes=2 successes=1;');
good("preset $_", policy => "preset $_;") for qw(llm_chat llm_batch
    llm_embedding grpc database redis http_external kafka object_storage);
good("jitter $_", policy => "retry 1 jitter=$_;")
    for 'none', 'full', 'equal', 'decorrelated', "\xc2\xb130%", '+-5%';
good('breaker off', policy => 'breaker off;');
good('all of a breaker', policy => 'timeout attempt=1m;
    breaker failures=3 ramp=10s; breaker_slow over=10s rate=80%;
    breaker_provider tenants=3 share=60% window=30s open=5s open_max=1m
                     probes=1 successes=1;');
good("breaker_$_ off", policy => "breaker_$_ off;") for qw(slow provider);
good('no class', policy => 'retry_on none;');
good('all of a chain', chain => 'policy p; provider a policy=p; provider b;
    attempts 3; balance order; when_open fail;
    fallback 503 "{\"error\":\"busy\"}";');
good("when_open $_", chain => "provider a; when_open $_;")
    for qw(try wait=2s);
good('an endpoint', provider => 'resilience_endpoint http://127.0.0.1:9;');
good('an endpoint with a path and keepalive', provider =>
    'resilience_endpoint http://127.0.0.1:9/base/ keepalive=4;');
good('an IPv6 endpoint',
    provider => 'resilience_endpoint http://[::1]:9;');
good('all of a provider', provider => 'llm_dialect openai; llm_key sk-x;
    llm_model gpt-5 x; llm_model * y; llm_hold 1m;
    resilience_endpoint http://127.0.0.1:9;');
good('a provider that answers by itself', provider => 'return 204;');
good('tenants', http => 'resilience_tenant $http_x_tenant hash required;');
good('status', location => 'resilience_status;');
good('status as JSON', location => 'resilience_status json;');
good('headers', location => 'resilience_pass c; resilience_headers on;');
good('a zone', http => 'resilience_zone zone=z:1m;');
good('in an if block', location =>
    'if ($request_method = GET) { resilience_pass c; } return 405;');

config_ok("server { listen 127.0.0.1:%%PORT%%; }", undef,
    'a configuration that does not use the module');


# names

bad('unknown chain or provider "x"', location => 'resilience_pass x;');
bad('unknown provider "x" in chain "c"', chain => 'provider a; provider x;');
bad('unknown policy "x"', chain => 'policy x; provider a;');
bad('unknown policy "x"', chain => 'provider a policy=x;');
bad('duplicate policy "p"', http => 'resilience_policy p { }');
bad('duplicate provider "a"', http => 'resilience_provider a { return 200; }');
bad('duplicate chain name "c"', http => 'resilience_chain c { provider a; }');
bad('chain "c" has no "provider"', chain => 'policy p;');
bad('provider "a" is twice in chain "c"', chain => 'provider a; provider a;');
bad('invalid provider name "x/y"',
    http => 'resilience_provider x/y { return 200; }');
bad('invalid provider name',
    http => 'resilience_provider ' . 'x' x 65 . ' { return 200; }');


# policies

bad('unknown directive "x" in policy "p"', policy => 'x 1;');
bad('"retry" directive is duplicate in policy "p"',
    policy => 'retry 1; retry 2;');
bad('"preset" must be the first', policy => 'retry 1; preset llm_chat;');
bad('unknown preset "x", there are: http_external llm_chat',
    policy => 'preset x;');
bad('invalid number of arguments in "timeout"', policy => 'timeout;');
bad('invalid parameter "x=1s" in "timeout"', policy => 'timeout x=1s;');
bad('duplicate parameter "idle=2s"', policy => 'timeout idle=1s idle=2s;');
bad('invalid value "idle=x" in "timeout".*a time from 0 to',
    policy => 'timeout idle=x;');
bad('"first_byte=20000ms" is longer than "attempt=10000ms"',
    policy => 'timeout first_byte=20s attempt=10s;');
bad('"connect=20000ms" is longer than "attempt=10000ms"',
    policy => 'timeout connect=20s attempt=10s;');
bad("duplicate parameter \"$$_[1]\" in \"$$_[0]\" directive",
    policy => "$$_[0] $$_[2];")
    for [ hedge => 'after=p95', 'after=500ms after=p95' ],
        [ hedge => 'after=1s', 'after=p95 after=1s' ],
        [ hedge => 'max=2', 'max=1 max=2' ],
        [ retry => 'jitter=none', '1 jitter=full jitter=none' ],
        [ retry => 'strategy=linear', '1 strategy=linear strategy=linear' ],
        [ retry => 'factor=2', '1 factor=3 factor=2' ],
        [ retry => 'base=1s', '1 base=1s max=2s base=1s' ],
        [ breaker => 'open=2s', 'open=1s failures=1 open=2s' ],
        [ breaker_slow => 'over=2s', 'over=1s over=2s' ],
        [ breaker_provider => 'tenants=3', 'tenants=2 tenants=3' ],
        [ concurrency => 'max=3', 'adaptive max=2 min=1 max=3' ];
bad('invalid number of retries "x"', policy => 'retry x;');
bad('invalid number of retries "101"', policy => 'retry 101;');
bad('invalid jitter "x"', policy => 'retry 1 jitter=x;');
bad('invalid jitter "\+-200%"', policy => 'retry 1 jitter=+-200%;');
bad('invalid strategy "x"', policy => 'retry 1 strategy=x;');
bad('a factor is from 1 to 100', policy => 'retry 1 factor=0.5;');
bad('"base=2000ms" is longer than "max=1000ms"',
    policy => 'retry 1 base=2s max=1s;');
bad('unknown outcome class "x" in "retry_on"', policy => 'retry_on x;');
bad('outcome class "success" cannot be in "fail_on"',
    policy => 'fail_on success;');
bad('must be "on" or "off"', policy => 'retry_non_idempotent maybe;');
bad('invalid value "failures=-1"', policy => 'breaker failures=-1;');
bad('invalid value "error_rate=101%"', policy => 'breaker error_rate=101%;');
bad('invalid value "window=0"', policy => 'breaker window=0;');
bad('invalid value "window=257"', policy => 'breaker window=257;');
bad('invalid value "probes=17"', policy => 'breaker probes=17;');
bad('"min_calls=50" is more than "window=20"',
    policy => 'breaker window=20 min_calls=50;');
bad('"open=60000ms" is longer than "open_max=10000ms"',
    policy => 'breaker open=60s open_max=10s;');
bad('needs "over=time"', policy => 'breaker_slow rate=50%;');
bad('"over=60000ms" is not shorter than "attempt=30000ms"',
    policy => 'timeout attempt=30s; breaker_slow over=60s;');
bad('is for a breaker, and that is off',
    policy => 'breaker off; breaker_slow over=1s;');
bad('invalid value "rate=0"', policy => 'breaker_slow over=1s rate=0;');
bad('needs "tenants=number"', policy => 'breaker_provider window=5s;');
bad('invalid value "tenants=1".*from 2 to 16',
    policy => 'breaker_provider tenants=1;');
bad('"open=60000ms" is longer than "open_max=1000ms" in "breaker_provider"',
    policy => 'breaker_provider tenants=2 open=60s open_max=1s;');
bad('would never open', policy => 'breaker failures=0 error_rate=0;');

good('all of retries and load', policy => 'retry_after max=10s;
    retry_budget 20% min=3; deadline_header X-Deadline-Ms; stop_before 500ms;
    hedge after=p95 max=2; concurrency 10;');
good("retries off: $_", policy => "$_ off;")
    for qw(retry_after retry_budget hedge);
good('adaptive concurrency',
    policy => 'concurrency adaptive min=2 max=50 initial=10 over=5s;');
bad('invalid parameter "x=1" in "retry_after"', policy => 'retry_after x=1;');
bad('invalid share "x"', policy => 'retry_budget x;');
bad('invalid share "101%"', policy => 'retry_budget 101%;');
bad('invalid header name "a b"', policy => 'deadline_header "a b";');
bad('invalid time "x"', policy => 'stop_before x;');
bad('invalid "concurrency"', policy => 'concurrency x;');
bad('"min=5", "initial=2" and "max=10" of "concurrency".* must rise',
    policy => 'concurrency adaptive min=5 initial=2 max=10;');
bad('invalid "after=x" in "hedge"', policy => 'hedge after=x;');
bad('invalid "max=0" in "hedge"', policy => 'hedge after=1s max=0;');
bad('"hedge" of policy "p" needs', policy => 'hedge max=1;');

config_ok(conf(policy => 'timeout attempt=60s total=10s;'),
    qr/\[warn\].*"attempt=60000ms" does not fit in "total=10000ms"/,
    'attempts that cannot fit in the total get a warning');


# chains

bad('unknown directive "x" in chain "c"', chain => 'provider a; x 1;');
bad('"attempts" directive is duplicate',
    chain => 'provider a; attempts 2; attempts 3;');
bad('invalid number of attempts "0"', chain => 'provider a; attempts 0;');
bad('invalid parameter "x=1" of provider "a"', chain => 'provider a x=1;');
bad('invalid balance "x"', chain => 'provider a; balance x;');
bad('no provider of chain "c" has a "proxy_cache"',
    chain => 'provider a; fallback stale;');
good("balance $_", chain => "provider a; provider b; balance $_;")
    for qw(order weighted least_latency);
good('a weight',
    chain => 'provider a weight=2; provider b; balance weighted;');
for my $balance ('', 'balance order;', 'balance least_latency;') {
    config_ok(conf(chain => "provider a; provider b weight=1; $balance"),
        qr/\[warn\].*"weight=1" of provider "b" means nothing in chain "c"/,
        "a weight that means nothing gets a warning: $balance");
}
bad("duplicate parameter \"$_\" of provider \"a\"",
    chain => "provider a $_ $_;") for 'weight=2', 'policy=p';
bad('a weight is from 0 to 1000000', chain => 'provider a weight=x;');
bad('invalid value "x" of "when_open"', chain => 'provider a; when_open x;');
bad('invalid value "wait=x" of "when_open"',
    chain => 'provider a; when_open wait=x;');
bad('invalid status "99" of "fallback"', chain => 'provider a; fallback 99;');
bad('"/nowhere" failed', chain => 'provider a; fallback 503 /nowhere;');
bad('is not a file', chain => 'provider a; fallback 503 /tmp;');


# providers

bad('has both "resilience_endpoint" and', provider =>
    'resilience_endpoint http://127.0.0.1:9; proxy_pass http://127.0.0.1:9;');
bad('must start with "http://" or "https://"',
    provider => 'resilience_endpoint 127.0.0.1:9;');
bad('(?:in endpoint "http://"|must start with)',
    provider => 'resilience_endpoint http://;');
bad('use "proxy_pass"', provider => 'resilience_endpoint http://$host;');
bad('use "keepalive=number"',
    provider => 'resilience_endpoint http://127.0.0.1:9 x=1;');
bad('unknown dialect "x", there are: none openai anthropic azure gemini',
    provider => 'llm_dialect x; return 200;');
good("dialect $_", provider =>
    "llm_dialect $_; resilience_endpoint http://127.0.0.1:9;")
    for qw(none openai anthropic azure gemini);
config_ok(conf(provider => 'llm_dialect azure; return 200;'),
    qr/has no address.*dialect "azure" has no public one: use "resil/,
    'Azure has no address for all');
bad('has a key already',
    provider => 'llm_key a; llm_key_file /etc/passwd; return 200;');
bad('duplicate model "m"',
    provider => 'llm_model m x; llm_model m y; return 200;');
bad('invalid size "x" in "llm_hold"',
    provider => 'llm_hold x; return 200;');
bad('"resilience_pass" cannot be in provider "a"',
    provider => 'resilience_pass b;');
bad('location "/x" cannot be in provider "a"',
    provider => 'location /x { return 200; }');
bad('"alias" makes no sense in provider', provider => 'alias /tmp/;');
bad('allowed in the block of a "resilience_provider" only',
    location => $_)
    for 'llm_dialect none;', 'llm_key x;', 'llm_key_file /x;',
        'llm_model a b;', 'llm_hold 1k;',
        'resilience_endpoint http://127.0.0.1:9;';

config_ok(conf(provider => 'llm_key_file %%PREFIX%%/nokey; return 200;'),
    qr/\[warn\].*key file ".*nokey" cannot be read/,
    'a key file that is not there gets a warning');


# zone, tenant, status

bad('use "zone=name:size"', http => 'resilience_zone zone=x;');
bad('invalid zone size', http => 'resilience_zone zone=x:y;');
bad('is too small', http => 'resilience_zone zone=x:4k;');
bad('"resilience_zone" directive is duplicate',
    http => 'resilience_zone zone=x:1m; resilience_zone zone=y:1m;');
good('a state file', http => 'resilience_zone zone=x:1m state=%%PREFIX%%/s;');
bad('invalid parameter "x=1"', http => 'resilience_zone x=1;');
bad('"resilience_tenant" directive is duplicate',
    location => 'resilience_tenant a; resilience_tenant b;');
bad('invalid parameter "x", use "hash" or "required"',
    location => 'resilience_tenant a x;');
bad('one format too many', location => "resilience_status $_;")
    for 'json html', 'html prometheus', 'json json';
good("resilience_status $_", location => "resilience_status $_;")
    for 'admin', 'json admin', 'prometheus', 'html', 'html admin';
bad('invalid parameter "x", use', location => 'resilience_status x;');
bad('wants the name of a chain', location => 'resilience_pass "";');
bad('is duplicate', location => 'resilience_pass a; resilience_pass b;');

done_testing();
