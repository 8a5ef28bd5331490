#!/usr/bin/env perl

# Tests for the way of a call through its chain: retry, fallback, what is
# answered when the chain is spent.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port },
    files => { 'Busy.HTML' => '<p>busy</p>', 'busy.x' => 'x',
               noext => ' {"busy":1}' }, http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$resilience_provider'
                    '|$resilience_attempts|$status|$uri';
    access_log %%PREFIX%%/access.log call;

    resilience_policy fast {
        retry 2 base=1ms max=2ms;
        timeout attempt=5s;
        breaker off;
    }
    resilience_policy once { retry 0; breaker off; timeout attempt=5s; }
    resilience_policy post {
        retry 1 base=1ms max=2ms;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_policy picky {
        retry 1 base=1ms max=2ms;
        retry_on server_error;
        fallback_on overloaded;
        breaker off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }

    resilience_provider llm {
        llm_dialect openai;
        llm_key x;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_provider trips { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_policy trips { retry 0; breaker failures=1 open=100s; }

    resilience_provider fresh {
        resilience_endpoint http://127.0.0.1:%%A%% keepalive=0;
    }

    resilience_provider twin { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_chain twin { provider b; }

    resilience_chain fast  { policy fast; provider a; provider b; }
    resilience_chain once  { policy once; provider a; provider b; }
    resilience_chain post  { policy post; provider a; provider b; }
    resilience_chain picky { policy picky; provider a; provider b; }
    resilience_chain mixed {
        policy fast;
        provider a policy=once;
        provider b;
    }
    resilience_chain few   { policy fast; attempts 2; provider a; provider b; }
    resilience_chain page  {
        policy once;
        provider a;
        fallback 503 '{"error":"busy"}';
    }
    resilience_chain empty { policy once; provider a; fallback 502; }
    resilience_chain file  { policy once; provider a;
                             fallback 503 %%PREFIX%%/Busy.HTML; }
    resilience_chain types { policy once; provider a;
                             fallback 503 %%PREFIX%%/busy.x; }
    resilience_chain guess { policy once; provider a;
                             fallback 503 %%PREFIX%%/noext; }
    resilience_chain typed { policy once; provider a;
                             fallback 200 '{"ok":0}' type=application/ld+json; }
    resilience_chain plain { policy once; provider a; fallback 429 "busy"; }
    resilience_chain void  { policy once; provider a; fallback 503 ""; }
    resilience_chain trips { policy trips; provider trips;
                             fallback 503 "busy"; }
    resilience_chain llm   { policy once; provider llm; fallback 503; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;

        location /fast/  { resilience_pass fast; }
        location /once/  { resilience_pass once; }
        location /post/  { resilience_pass post; }
        location /picky/ { resilience_pass picky; }
        location /mixed/ { resilience_pass mixed; }
        location /few/   { resilience_pass few; }
        location /page/  { resilience_pass page; }
        location /empty/ { resilience_pass empty; }
        location /static/ {
            types { text/x-own x; text/html html; }
            resilience_pass $arg_chain;
        }
        location /var/   { resilience_pass $arg_chain; }
        location /fresh/ { resilience_pass fresh; }
        location /twin/  { resilience_pass twin; }
        location /single/ { resilience_pass b; }
    }
E

my $c = http($n);

# sets what both providers answer and forgets what they saw
sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', @$for_a);
    $b->on('/', @{ $for_b // [ { body => 'from b' } ] });
    $_->forget for $a, $b;
}

# no connection is left that could be used again
sub refuse {
    $_->refuse, $_->drop(idle => 1) for @_;
}

sub counts { $a->count . '+' . $b->count }


# success

answers([ { body => 'from a', headers => { 'X-Own' => '1' } } ]);
my $r = $c->get('/fast/x?y=1');
is($r->status, 200, 'status');
is($r->body, 'from a', 'body');
is($r->header('x-own'), '1', 'provider\'s header');
is($r->header('x-resilience-provider'), 'a', 'X-Resilience-Provider');
is($r->header('x-resilience-attempts'), '1', 'X-Resilience-Attempts');
is($r->header('x-resilience-outcome'), 'success', 'X-Resilience-Outcome');
is(counts(), '1+0', 'asked once');
is($a->last_request->{uri}, '/fast/x?y=1', 'path and arguments');

is($c->get('/single/')->body, 'from b', 'a provider\'s name as a chain');
is($c->get('/twin/')->body, 'from b', 'a chain before a provider');
is($c->get('/var/?chain=once')->body, 'from a', 'chain by variable');
is($c->get('/var/?chain=b')->body, 'from b', 'provider by variable');
is($c->get('/var/?chain=nope')->status, 500, 'unknown name');
ok($n->wait_log(qr/\[error\].*unknown chain or provider "nope"/),
    'unknown name is logged');


# retry and fallback

answers([ 503, { body => 'from a' } ]);
$r = $c->get('/fast/');
is($r->body, 'from a', 'retried on the same provider');
is($r->header('x-resilience-attempts'), '2', 'two attempts');
is(counts(), '2+0', 'the second provider is not asked');

answers([ 503 ]);
$r = $c->get('/fast/');
is($r->body, 'from b', 'fallback');
is($r->header('x-resilience-provider'), 'b', 'fallback\'s provider');
is($r->header('x-resilience-attempts'), '4', 'four attempts');
is(counts(), '3+1', 'three times and once');
my $failed = qr/a:overloaded:503:\d+\.\d{3}, /;
ok($n->wait_access_log(qr{^(?:$failed){3}b:success:200:\d+\.\d{3}
                          \|success\|b\|4\|200\|/fast/$}x), 'trace');
ok($n->wait_log(qr/\[info\].*retry 1 of provider "a" after overloaded/),
    'a retry is logged');
ok($n->wait_log(
    qr/\[info\].*fallback from provider "a" to "b" after overloaded/),
    'a fallback is logged');

answers([ 503 ]);
is($c->get('/mixed/')->body, 'from b', 'policy of a provider');
is(counts(), '1+1', 'its own policy does not retry');

for my $status (500, 502, 504, 429) {
    answers([ $status ]);
    is($c->get('/once/')->body, 'from b', "fallback after $status");
}

for my $status (400, 404, 409, 422) {
    answers([ { status => $status, body => "no $status" } ]);
    $r = $c->get('/fast/');
    is($r->status, $status, "$status is the caller's");
    is($r->body, "no $status", "$status with its body");
    is($r->header('x-resilience-outcome'), 'client_error', "$status class");
    is(counts(), '1+0', "$status is asked once");
}

answers([ { status => 301, headers => { Location => '/y' } } ]);
$r = $c->get('/fast/');
is($r->status, 301, 'a redirect is not followed');
is($r->header('location'), '/y', 'a redirect is passed on');

refuse($a);
$b->forget;
is($c->get('/once/')->body, 'from b', 'connection refused');
$a->accept;

for my $how (qw(reset_before_header close_before_header)) {
    answers([ { $how => 1 } ]);
    is($c->get('/once/')->body, 'from b', $how);
}

for my $how (qw(reset_in_header close_in_header)) {
    answers([ { $how => 1 } ]);
    is($c->get('/once/')->body, 'from b', $how);
}
ok($n->wait_access_log(qr/^a:invalid_response:/), 'a cut header is invalid');

$a->close_on_accept;
is($c->get('/once/')->body, 'from b', 'closed on accept');
$a->accept;


# the spent chain

answers([ { status => 503, body => 'a is busy', type => 'text/x',
            headers => { 'X-Why' => 'a' } } ],
        [ { status => 500, body => 'b is broken' } ]);
$r = $c->get('/once/');
is($r->status, 503, 'the first provider\'s error is answered');
is($r->body, 'a is busy', 'with its body');
is($r->header('x-why'), 'a', 'with its headers');
is($r->header('content-type'), 'text/x', 'with its type');
is($r->header('x-resilience-outcome'), 'overloaded', 'with its outcome');
is(counts(), '1+1', 'after both were asked');
ok($n->wait_log(qr/\[error\].*chain\ "once"\ is\ spent\ after\ 2\ attempts:
                   \ overloaded,\ tenant\ "-"/x), 'a spent chain is logged');

refuse($a, $b);
$r = $c->get('/once/');
is($r->status, 502, 'no provider can be reached');
is($r->header('x-resilience-outcome'), 'connect', 'outcome of that');
$_->accept for $a, $b;

answers([ 503, 503, { body => 'third' } ]);
$r = $c->get('/few/');
is($r->status, 503, 'attempts');
is(counts(), '2+0', 'no more than attempts');

answers([ 500 ]);
$r = $c->get('/page/');
is($r->status, 503, 'fallback status');
is($r->body, '{"error":"busy"}', 'fallback body');
is($r->header('content-type'), 'application/json', 'fallback type');

$r = $c->get('/empty/');
is($r->status, 502, 'fallback without a body');
is($r->json->{status}, 502, 'a problem instead');

for my $case (
    [ file  => 503, '<p>busy</p>', 'text/html' ],
    [ types => 503, 'x',           'text/x-own' ],
    [ guess => 503, ' {"busy":1}', 'application/json' ],
    [ typed => 200, '{"ok":0}',    'application/ld+json' ],
    [ plain => 429, 'busy',        'text/plain' ],
    [ void  => 503, '',            'text/plain' ],
) {
    my ($chain, $status, $body, $type) = @$case;
    answers([ 500 ]);
    $r = $c->get("/static/?chain=$chain");
    is($r->status, $status, "$chain: status");
    is($r->body, $body, "$chain: body");
    is($r->header('content-type'), $type, "$chain: type");
    is($r->header('cache-control'), 'no-store', "$chain: Cache-Control");
    is($r->header('x-data-source'), 'static', "$chain: X-Data-Source");
    is($r->header('retry-after'), undef, "$chain: no Retry-After is known");
    is($r->header('x-resilience-outcome'), 'server_error', "$chain: outcome");

    $r = $c->head("/static/?chain=$chain");
    is($r->status, $status, "$chain: status of HEAD");
    is($r->header('content-length'), length $body, "$chain: length of HEAD");
}

answers([ { status => 503, headers => { 'Retry-After' => 7 } } ]);
is($c->get('/static/?chain=file')->header('retry-after'), 7,
    'Retry-After of a provider');
is($c->get('/static/?chain=typed')->header('retry-after'), undef,
    'goes with an error only');

answers([ 500 ]);
$c->get('/static/?chain=trips');
$r = $c->get('/static/?chain=trips');
is($r->body, 'busy', 'an open breaker');
like($r->header('retry-after') // '', qr/^1\d\d\z/,
    'Retry-After of the breaker');

answers([ 500 ]);
$r = $c->get('/static/?chain=llm');
is($r->status, 503, 'dialect: status');
like($r->body, qr/"error":\s*\{/, 'dialect: body');
is($r->header('content-type'), 'application/json', 'dialect: type');
is($r->header('x-data-source'), 'static', 'dialect: X-Data-Source');
is($r->header('x-should-retry'), 'false', 'dialect: x-should-retry');

answers([ 503 ]);
$r = $c->get('/once/', headers => { 'X-Resilience-Fallback' => 'off' });
is($r->status, 503, 'a client declines fallbacks');
is(counts(), '1+0', 'only the first is asked');
is($a->last_request->{header}{'x-resilience-fallback'}, undef,
    'that header is for us alone');


# classes

answers([ 503 ]);
is($c->get('/picky/')->body, 'from b', 'fallback_on');
is(counts(), '1+1', 'retry_on does not hold it');

answers([ 500 ]);
is($c->get('/picky/')->status, 500, 'fallback_on does not hold it');
is(counts(), '2+0', 'retry_on');


# what may be sent again

answers([ 500 ]);
is($c->post('/fast/', body => 'x')->status, 500,
    'a POST that may have been processed');
is(counts(), '1+0', 'is not sent again');

answers([ { reset_before_header => 1 } ]);
is($c->post('/fresh/', body => 'x')->status, 502, 'a POST that was cut off');
is(counts(), '1+0', 'is not sent again');

answers([ 200, { reset_before_header => 1 }, { body => 'again' } ]);
$c->get('/fast/');
is($c->post('/fast/', body => 'x')->body, 'again',
    'a POST into a connection that the provider had closed');
is(counts(), '3+0', 'is sent again once');

for my $status (503, 429) {
    answers([ $status ]);
    is($c->post('/once/', body => 'x')->body, 'from b',
        "a POST that $status refused");
}

refuse($a);
$b->forget;
is($c->post('/once/', body => 'x')->body, 'from b',
    'a POST that could not connect');
$a->accept;

answers([ 500 ]);
is($c->post('/once/', body => 'x',
    headers => { 'Idempotency-Key' => 'k1' })->body, 'from b',
    'a POST with an Idempotency-Key');
is($b->last_request->{header}{'idempotency-key'}, 'k1',
    'that is passed on');

answers([ 500 ]);
is($c->post('/post/', body => 'x')->body, 'from b', 'retry_non_idempotent');
is($b->last_request->{body}, 'x', 'with its body');
is(counts(), '2+1', 'a retry and a fallback');

for my $method (qw(PUT DELETE)) {
    answers([ 500 ]);
    is($c->request($method => '/once/', body => 'x')->body, 'from b', $method);
    is($b->last_request->{method}, $method, "$method as it was");
}

answers([ 500 ]);
is($c->request(PATCH => '/once/', body => 'x')->status, 500, 'PATCH');


# configuration

sub wrong {
    my ($fallback, $message, $name, @opt) = @_;
    config_error("resilience_provider a { return 200; }\n"
        . "resilience_chain x { provider a; $fallback }\n",
        $message, $name, @opt);
}

wrong('fallback 503 /nope/nope;', qr/"\/nope\/nope" failed/, 'no file');
wrong('fallback 503 %%PREFIX%%;', qr/is not a file/, 'a directory');
wrong('fallback 503 %%PREFIX%%/large;', qr/is over 1048576 bytes/,
    'a file that is too large', files => { large => 'x' x 1048577 });
wrong('fallback 100;', qr/invalid status "100" of "fallback"/, 'status 100');
wrong('fallback 204;', qr/invalid status "204" of "fallback"/, 'status 204');
wrong('fallback no;', qr/invalid status "no" .* or "stale"/, 'no status');
wrong('fallback 503 a b;', qr/invalid parameter "b" of "fallback"/,
    'two bodies');
wrong('fallback 503 type=;', qr/invalid parameter "type="/, 'empty type');
wrong('fallback 503 a; fallback 502 b;',
    qr/"fallback" directive is duplicate in chain "x"/, 'two fallbacks');

done_testing();
