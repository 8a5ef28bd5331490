#!/usr/bin/env perl

# Tests for "fallback stale" and for caches in providers: when the chain is
# spent the last good answer to the same request of the same tenant is given,
# and never another one.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $cache = 'proxy_cache c; proxy_cache_valid 200 1s; '
          . 'proxy_cache_key $uri$is_args$args;';

my $n = nginx(vars => { A => $a->port, B => $b->port, CACHE => $cache },
              http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$status|$uri';
    access_log %%PREFIX%%/access.log call;

    proxy_cache_path %%PREFIX%%/cache keys_zone=c:1m;

    resilience_tenant $http_x_tenant;

    resilience_policy once  { retry 0; breaker off; timeout attempt=5s; }
    resilience_policy short { retry 0; breaker off; timeout attempt=300ms; }
    resilience_policy trips {
        retry 0;
        breaker failures=1 open=1h;
        timeout attempt=5s;
    }
    resilience_policy brief {
        retry 0;
        breaker failures=1 open=1s probes=1 successes=1;
        timeout attempt=5s;
    }

    resilience_provider a {
        resilience_endpoint http://127.0.0.1:%%A%%;
        %%CACHE%%
    }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider cached_b {
        resilience_endpoint http://127.0.0.1:%%B%%;
        %%CACHE%%
    }
    resilience_provider lenient {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_cache_use_stale error timeout http_500 http_503;
        %%CACHE%%
    }
    resilience_provider named {
        set $where 127.0.0.1:%%A%%;
        proxy_pass http://$where;
        %%CACHE%%
    }
    resilience_provider negative {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_cache_valid any 1h;
        proxy_cache c;
        proxy_cache_key n$uri;
    }
    resilience_provider locked {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_cache_lock on;
        proxy_cache_lock_timeout 1h;
        proxy_cache_lock_age 1h;
        %%CACHE%%
    }
    resilience_provider chat {
        llm_dialect openai;
        llm_key sk-a;
        llm_model gpt-5 model-of-a;
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_cache_methods POST;
        %%CACHE%%
    }
    resilience_provider streams {
        llm_dialect openai;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
        proxy_cache_methods POST;
        %%CACHE%%
    }
    resilience_provider own {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_cache_methods GET HEAD POST;
        %%CACHE%%
    }

    resilience_chain one { policy once; provider a; provider b;
                           fallback stale; }
    resilience_chain two { policy once; provider b; provider cached_b;
                           fallback stale; fallback 503 '{"busy":1}'; }
    resilience_chain trips { policy trips; provider a; fallback stale;
                             fallback 503 '{"busy":1}'; }
    resilience_chain brief { policy brief; provider a; }
    resilience_chain short { policy short; provider a; fallback stale; }
    resilience_chain lenient { policy once; provider lenient; provider b;
                               fallback stale; }
    resilience_chain named { policy once; provider named; fallback stale; }
    resilience_chain negative { policy once; provider negative;
                                fallback stale; }
    resilience_chain locked { policy short; provider locked; provider b; }
    resilience_chain chat { policy once; provider chat; fallback stale; }
    resilience_chain streams { policy once; provider streams; fallback stale; }
    resilience_chain own { policy once; provider own; fallback stale; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;
        client_body_buffer_size 1k;
        error_page 418 /never;

        location /one/      { resilience_pass one; }
        location /two/      { resilience_pass two; }
        location /trips/    { resilience_pass trips; }
        location /brief/    { resilience_pass brief; }
        location /short/    { resilience_pass short; }
        location /lenient/  { resilience_pass lenient; }
        location /named/    { resilience_pass named; }
        location /negative/ { resilience_pass negative; }
        location /locked/   { resilience_pass locked; }
        location /v1/       { resilience_pass chat; }
        location /streams/  { resilience_pass streams; }
        location /own/      { resilience_pass own; }
        location = /status  { resilience_status; }
        location = /metrics { resilience_status prometheus; }
    }
E

my $c = http($n);
my $path = 0;

sub fresh_path { "/$_[0]/" . ++$path }

# what was stored until now has expired when this returns
sub expire {
    my $end = time + 2;
    wait_until(5, sub { time > $end });
}

# stores answers (path => answer, ...), and lets them expire
sub stored {
    while (my ($p, $answer) = splice @_, 0, 2) {
        $a->on('/', $answer);
        my $r = $c->get($p);
        is($r->status, 200, "$p is answered");
        is($r->header('x-data-source'), undef, "$p is no data of a cache");
    }
    expire();
}

sub fail_both {
    $_->on('/', 500) for $a, $b;
    $_->forget for $a, $b;
}

sub is_stale {
    my ($r, $body, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($r->status, 200, "$name: status");
    is($r->body, $body, "$name: body");
    is($r->header('x-data-source'), 'cache', "$name: X-Data-Source");
    like($r->header('age') // '', qr/^[1-9]\d*\z/, "$name: Age");
    is($r->header('x-resilience-outcome'), 'stale', "$name: outcome");
}


# a spent chain

my ($one, $head, $quiet, $empty, $aged, $iferror)
    = map { fresh_path('one') } 1 .. 6;
my ($slow, $named, $next, $trips)
    = map { fresh_path($_) } qw(short named lenient trips);

stored(
    $one     => { body => 'good', type => 'text/x',
                  headers => { 'X-Own' => 'a' } },
    $head    => { body => 'good' },
    $empty   => { body => '' },
    $aged    => { body => 'aged', headers => { Age => '1000' } },
    $iferror => { body => 'old', headers => {
                  'Cache-Control' => 'max-age=1, stale-if-error=999' } },
    $slow    => { body => 'in time' },
    $named   => { body => 'by name' },
    $next    => { body => 'old' },
    $trips   => { body => 'before' },
);
fail_both();

my $r = $c->get($one);
is_stale($r, 'good', 'both providers fail');
is($r->header('content-type'), 'text/x', 'with its type');
is($r->header('x-own'), 'a', 'with its headers');
is($r->header('x-resilience-attempts'), '2', 'a cache is no attempt');
is($r->header('x-resilience-provider'), 'a', 'the provider that has said it');
is($a->count . '+' . $b->count, '1+1', 'after both were asked');
ok($n->wait_access_log(qr{^a:server_error:500:\S+\ b:server_error:500:\S+
                          \ a:stale:200:\S+\|stale\|200\|\Q$one\E$}x),
    'the trace says so');
ok($n->wait_log(qr/\[info\].*stale answer of provider "a", \d+ seconds old/),
    'the log says so');

is_stale($c->get($one), 'good', 'once more');

$r = $c->head($head);
is($r->status, 200, 'HEAD');
is($r->header('x-data-source'), 'cache', 'HEAD: X-Data-Source');
is($r->header('content-length'), '4', 'HEAD: length');
is($r->body, '', 'HEAD: no body');

$r = $c->get($quiet);
is($r->status, 500, 'nothing is stored: the error');
is($r->header('x-data-source'), undef, 'which is no data of a cache');
is($c->get($quiet)->status, 500, 'and that is not stored');

$_->refuse, $_->drop(idle => 1) for $a, $b;
is_stale($c->get($one), 'good', 'no provider can be reached');
$_->accept for $a, $b;

$r = $c->get($one, headers => { 'X-Resilience-Fallback' => 'off' });
is($r->status, 500, 'a client declines fallbacks');

is_stale($c->get($empty), '', 'an empty answer');

$a->on('/', { silent => 1 });
is_stale($c->get($slow), 'in time', 'a provider that is silent');

fail_both();
is_stale($c->get($named), 'by name', 'an address from a variable');
is($a->count, 1, 'is asked by the attempt alone');

$r = $c->get($aged);
is_stale($r, 'aged', 'an answer that was old already');
cmp_ok($r->header('age'), '>=', 1001, 'is older now');


# the next provider comes before an old answer

$b->on('/', { body => 'from b' });
is($c->get($next)->body, 'from b', 'proxy_cache_use_stale comes later');
is($c->get($iferror)->body, 'from b', 'so does stale-if-error');
$b->on('/', 503);
is_stale($c->get($next), 'old', 'that is, when no one has an answer');
$_->refuse, $_->drop(idle => 1) for $a, $b;
is_stale($c->get($next), 'old', 'or when no one can be reached');
$_->accept for $a, $b;

my $two = fresh_path('two');
$b->on('/', 500, { body => 'second' });
is($c->get($two)->body, 'second', 'the second provider has a cache');
expire();
$b->on('/', 500);
is_stale($c->get($two), 'second', 'and it is the one that is asked');

$r = $c->get(fresh_path('two'));
is($r->status, 503, 'fallback with a status comes last');
is($r->body, '{"busy":1}', 'with its body');
is($r->header('x-data-source'), 'static', 'X-Data-Source');


# an open breaker

fail_both();
is_stale($c->get($trips), 'before', 'the failure that opens it');
is_stale($c->get($trips), 'before', 'an open breaker');
is($a->count, 1, 'the provider is not asked');
is($c->get(fresh_path('trips'))->status, 503, 'nothing is stored');
is($a->count, 1, 'the provider is not asked for that either');

# a fresh answer says nothing of a provider that is being probed

my %t = (headers => { 'X-Tenant' => 'probe' });
my $brief = fresh_path('brief');
$a->on('/', { body => 'kept', headers => { 'Cache-Control' => 'max-age=99' } });
is($c->get($brief, %t)->body, 'kept', 'stored for long');
$a->on('/', 500);
is($c->get(fresh_path('brief'), %t)->status, 500, 'opens');
ok(wait_until(5, sub { $c->get($brief, %t)->status == 200 }),
    'a fresh answer comes with the first probe');
my $status = $c->get('/status?tenant=probe&provider=a')->json;
isnt($status->{breakers}[0]{state}, 'closed', 'which proves nothing');


# never across tenants

my ($mine, $auth, $body) = map { fresh_path($_) } qw(one own own);
my %me = (headers => { 'X-Tenant' => 'me' });
my ($small, $large) = ('s' x 10, 'l' x 5000);

$a->on('/', { body => 'mine' });
is($c->get($mine, %me)->body, 'mine', 'a tenant\'s answer');
$a->forget;
is($c->get($mine, headers => { 'X-Tenant' => 'you' })->status, 200,
    'another tenant');
is($a->count, 1, 'is not served from it');

$a->on('/', { body => 'for x' }, { body => 'small' }, { body => 'large' },
       { body => 'get' });
is($c->get($auth, headers => { Authorization => 'Bearer x' })->body, 'for x',
    'an answer to a credential of the client');
is($c->post($body, body => $small)->body, 'small', 'a POST');
is($c->post($body, body => $large)->body, 'large', 'with another body');
is($c->get($body)->body, 'get', 'a GET');

expire();
fail_both();

is_stale($c->get($mine, %me), 'mine', 'its own tenant');
is($c->get($mine, headers => { 'X-Tenant' => 'they' })->status, 500,
    'a third one');
is($c->get($mine)->status, 500, 'no tenant');

is($c->get($auth, headers => { Authorization => 'Bearer y' })->status, 500,
    'another credential');
is($c->get($auth)->status, 500, 'none');
is_stale($c->get($auth, headers => { Authorization => 'Bearer x' }), 'for x',
    'the same');

is_stale($c->post($body, body => $small), 'small', 'that POST');
is_stale($c->post($body, body => $large), 'large', 'that other, in a file');
is_stale($c->get($body), 'get', 'that GET');
is($c->post($body, body => 'l' x 5001)->status, 500, 'a third body');
is($c->put($body, body => $small)->status, 500, 'another method');


# never around a refusal

my %refused = map { $_ => fresh_path('one') } 400, 401, 402, 403, 404;
my %must = map { $_ => fresh_path('one') } qw(must-revalidate
    proxy-revalidate);
my %not = map { $_ => fresh_path('one') } qw(no-store private no-cache);
my $mixed = fresh_path('one');

stored(
    $mixed => { body => 'old' },
    map({ $_ => { body => 'old' } } values %refused),
    map({ $must{$_} => { body => 'old', headers => {
                         'Cache-Control' => "max-age=1, $_" } } } keys %must),
    map({ $not{$_} => { body => 'old',
                        headers => { 'Cache-Control' => $_ } } } keys %not),
);
fail_both();

for my $word (sort(keys %must), sort keys %not) {
    is($c->get($must{$word} // $not{$word})->status, 500, $word);
}

for my $status (sort keys %refused) {
    $a->on('/', { status => $status, body => "no $status" });
    $b->on('/', $status == 402 ? 500 : 200);
    $r = $c->get($refused{$status});
    is($r->status, $status, "$status is answered");
    is($r->body, "no $status", "$status with its body");
    is($r->header('x-data-source'), undef, "$status is no data of a cache");
}

$a->on('/', 500);
$b->on('/', 402);
is($c->get($mixed)->status, 500, 'a refusal of the other provider');

my $gone = fresh_path('negative');
$a->on('/', 404);
is($c->get($gone)->status, 404, 'a stored error');
$a->on('/', { body => 'here' });
my $broken = fresh_path('negative');
$a->refuse, $a->drop(idle => 1);
is($c->get($broken)->status, 502, 'a failure');
$a->accept;


# an LLM's answer

my $openai = { openai => { content => 'ok', stream => 0 } };
my @ask = ('/v1/chat/completions',
           { model => 'gpt-5', messages => [ { role => 'user',
                                               content => 'hi' } ] });
my @filter = ($ask[0], { %{ $ask[1] }, temperature => 2 });
$a->on('/', $openai);
like($c->post(@$_)->body, qr/"ok"/, 'an answer of an LLM')
    for \@ask, \@filter;
my %streams = (good => {}, cut => { end => 'no_terminal' });
for my $how (sort keys %streams) {
    $a->on('/', { openai => { content => 'one two' }, %{ $streams{$how} } });
    like($c->post("/streams/$how", { %{ $ask[1] }, stream => \1 })->body,
        $how eq 'good' ? qr/\[DONE\]/ : qr/"error"/, "a stream, $how");
}
expire();
$a->on('/', 503);
$r = $c->post(@ask);
is($r->status, 200, 'openai: status');
like($r->body, qr/"ok"/, 'openai: body');
is($r->header('x-data-source'), 'cache', 'openai: X-Data-Source');

$r = $c->post('/streams/good', { %{ $ask[1] }, stream => \1 });
is($r->status, 200, 'a stream that was buffered');
like($r->body, qr/"one.*\[DONE\]/s, 'is stored');
is($r->header('x-data-source'), 'cache', 'a stream: X-Data-Source');
is($c->post('/streams/cut', { %{ $ask[1] }, stream => \1 })->status, 503,
    'one that was cut off is not');

my @other = ($ask[0], { %{ $ask[1] }, temperature => 1 });
is($c->post(@other)->status, 503, 'another prompt');

$a->on('/', { body => '{"oops":', type => 'application/json' });
is($c->post(@other)->status, 502, 'a broken answer');
$a->on('/', 503);
is($c->post(@other)->status, 503, 'is not stored');

$a->on('/', { openai_error => { status => 400, code => 'content_filter',
    type => 'invalid_request_error', message => 'no' } });
$r = $c->post(@filter);
is($r->status, 400, 'content policy');
is($r->header('x-data-source'), undef, 'is no reason for an old answer');

my @stream = ($ask[0], { %{ $ask[1] }, stream => JSON::PP::true() });
$a->on('/', { openai => { content => 'one two' }, gap_ms => 10 });
$r = $c->post(@stream);
like($r->body, qr/\[DONE\]/, 'a stream');
$a->on('/', 503);
is($c->post(@stream)->status, 503, 'is not stored');

$a->on('/', { openai => { content => 'one two' }, stall_after_events => 2 });
my $s = $c->start(POST => $stream[0], json => $stream[1]);
ok($a->wait_stalled(1), 'a stream that stands still');
ok($s->wait_events(1), 'is passed on as it comes');
$c->close;

for my $how ([ POST => 'that is not stored' ], [ GET => 'with no-store' ]) {
    $a->on('/', { body => 'x' x 10, stall_after_bytes => 5,
                  headers => { 'Cache-Control' => 'no-store' } });
    $s = $c->start($how->[0] => fresh_path('one'), body => 'x');
    ok($s->wait_bytes(5), "$how->[0] $how->[1] is passed on as it comes");
    $c->close;
}


# proxy_cache_lock, and an attempt that is given up while it waits for it

my $lock = fresh_path('locked');
$a->on('/', { silent => 1 });
$b->on('/', { body => 'from b' });
$a->forget;
my @waiting = map { http($n) } 1, 2;
my @r = map { $_->start(GET => $lock) } @waiting;
is($_->read_until_end && $_->body, 'from b', 'lock') for @r;
is($a->count, 1, 'one of them waited');
is($c->get('/one/')->status, 200, 'and all goes on');


# counts

my $metrics = $c->get('/metrics')->body;
like($metrics,
    qr/^resilience_attempts_total\{provider="a",class="stale"\} [1-9]/m,
    'metrics');


# configuration

config_error(<<'E', qr/no provider of chain "x" has a "proxy_cache"/,
    resilience_provider a { resilience_endpoint http://127.0.0.1:1; }
    resilience_chain x { provider a; fallback stale; }
E
    'no cache');
config_ok(<<'E', qr/provider "a" .* not cached, add "proxy_cache_methods POST/,
    proxy_cache_path %%PREFIX%%/cache keys_zone=c:1m;
    resilience_provider a {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:1;
        proxy_cache c;
    }
E
    'POST is not cached');
config_error(<<'E', qr/"fallback stale" is duplicate in chain "x"/,
    resilience_provider a { resilience_endpoint http://127.0.0.1:1; }
    resilience_chain x { provider a; fallback stale; fallback stale; }
E
    'stale twice');
config_error(<<'E', qr/"fallback stale" has no other parameters/,
    resilience_provider a { resilience_endpoint http://127.0.0.1:1; }
    resilience_chain x { provider a; fallback stale 1h; }
E
    'stale with more');

done_testing();
