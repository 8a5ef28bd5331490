#!/usr/bin/env perl

# Dialects: where the model and the key go, encoded answers, the module's own
# errors, and how a broken stream ends.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use IO::Compress::Gzip qw(gzip);
use IO::Uncompress::Gunzip qw(gunzip);
use JSON::PP ();

my $a = upstream();
my $b = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'CONF');
    log_format call '$resilience_trace|$llm_model|$resilience_outcome';
    access_log %%PREFIX%%/access.log call;

    resilience_policy p { preset llm_chat; retry 0; breaker off; }
    resilience_policy open {
        preset llm_chat; retry 0; breaker failures=1 open=60s;
    }

    resilience_provider openai {
        llm_dialect openai; resilience_endpoint http://127.0.0.1:%%A%%;
        llm_hold 4k;
    }
    resilience_provider anthropic {
        llm_dialect anthropic; resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider claude {
        llm_dialect anthropic; resilience_endpoint http://127.0.0.1:%%A%%;
        llm_key sk-ant;
    }
    resilience_provider azure {
        llm_dialect azure; resilience_endpoint http://127.0.0.1:%%A%%;
        llm_key sk-azure;
        llm_model gpt-5 my-gpt5; llm_model o3 "a b/c";
    }
    resilience_provider gemini {
        llm_dialect gemini; resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider vertex {
        llm_dialect gemini; resilience_endpoint http://127.0.0.1:%%B%%/x%20y;
        llm_key sk-google;
        llm_model gemini-3-pro gemini-3-flash; llm_model * other;
    }
    resilience_provider plain { resilience_endpoint http://127.0.0.1:%%A%%; }

    resilience_chain openai    { policy p; provider openai; }
    resilience_chain anthropic { policy p; provider anthropic; }
    resilience_chain claude    { policy p; provider claude; }
    resilience_chain azure     { policy p; provider azure; }
    resilience_chain gemini    { policy p; provider gemini; provider vertex; }
    resilience_chain vertex    { policy p; provider vertex; }
    resilience_chain plain     { policy p; provider plain; }
    resilience_chain o_openai    { policy open; provider openai; }
    resilience_chain o_anthropic { policy open; provider anthropic; }
    resilience_chain o_azure     { policy open; provider azure; }
    resilience_chain o_gemini    { policy open; provider gemini; }
    resilience_chain o_plain     { policy open; provider plain; }

    server {
        listen 127.0.0.1:%%PORT%%;
        gzip on; gzip_types application/json; gzip_min_length 20;
        location / { resilience_pass $http_x_chain; }
    }
CONF

my $c = http($n);

sub ask {
    my ($chain, $path, $body, %headers) = @_;
    $_->forget for $a, $b;
    return $c->post($path, $body // { contents => [] },
        headers => { 'X-Chain' => $chain, %headers });
}

sub zip   { my $out; gzip(\$_[0], \$out, -Minimal => 1) or die; $out }
sub unzip { my $out; gunzip(\$_[0], \$out) or return; $out }

my %zipped = (type => 'application/json',
              headers => { 'Content-Encoding' => 'gzip' });
my %hi = (body => { candidates => [ { finishReason => 'STOP',
    content => { parts => [ { text => 'hi' } ] } } ] });


# the model in the path, and the key

my $path = '/v1beta/models/gemini-3-pro:generateContent';
$_->on('/', { %hi }) for $a, $b;

my $r = ask('vertex', $path, undef, Authorization => 'Bearer mine');
is($r->status, 200, 'gemini: status');
my $sent = $b->last_request;
is($sent->{uri}, '/x%20y/v1beta/models/gemini-3-flash:generateContent',
    'gemini: model in the path, behind the endpoint\'s');
is($sent->{header}{'x-goog-api-key'}, 'sk-google', 'gemini: key');
is($sent->{header}{authorization}, undef, 'gemini: not the client\'s');
ok($n->wait_access_log(qr/^vertex:success:\S+\|gemini-3-flash\|/),
    'gemini: the model in the log');

ask('vertex', '/v1/models/m:streamGenerateContent?alt=sse');
is($b->last_request->{uri},
    '/x%20y/v1/models/other:streamGenerateContent?alt=sse',
    'gemini: any model, arguments');
ask('vertex', '/v1/projects/p/locations/l/publishers/google/models/m:x');
is($b->last_request->{uri},
    '/x%20y/v1/projects/p/locations/l/publishers/google/models/other:x',
    'gemini: Vertex\'s path');
ask('vertex', '/v1beta/openai/chat/completions', { model => 'gemini-3-pro' });
is($b->last_request->{uri}, '/x%20y/v1beta/openai/chat/completions',
    'gemini: a path without a model');
is($b->last_request->{body}, '{"model":"gemini-3-flash"}',
    'gemini: the body\'s then');
$c->post('/v1/models/a%2Fb:x', body => 'no JSON', headers => {
    'X-Chain' => 'vertex', 'Content-Type' => 'application/json' });
is($b->last_request->{uri}, '/x%20y/v1/models/other/b:x',
    'gemini: an encoded path is read decoded');
is($b->last_request->{body}, 'no JSON', 'gemini: and no body is');

$r = ask('azure', '/openai/deployments/gpt-5/chat/completions'
    . '?api-version=2024-10-21', { model => 'gpt-5' }, 'api-key' => 'mine');
$sent = $a->last_request;
is($sent->{uri}, '/openai/deployments/my-gpt5/chat/completions'
    . '?api-version=2024-10-21', 'azure: deployment in the path');
is($sent->{body}, '{"model":"gpt-5"}', 'azure: and not in the body');
is($sent->{header}{'api-key'}, 'sk-azure', 'azure: key');
ask('azure', '/openai/deployments/o3/embeddings?api-version=1', { model => 1 });
is($a->last_request->{uri},
    '/openai/deployments/a%20b/c/embeddings?api-version=1',
    'azure: a name is encoded');
ask('azure', '/openai/v1/chat/completions', { model => 'gpt-5' });
is($a->last_request->{uri}, '/openai/v1/chat/completions', 'azure: v1 path');
is($a->last_request->{body}, '{"model":"my-gpt5"}', 'azure: v1 body');
ask('azure', '/openai/deployments/other/x');
is($a->last_request->{uri}, '/openai/deployments/other/x',
    'azure: a deployment of no other name');

# a client's key as an argument is for the first provider without one

for (
    [ '?key=mine', '' ], [ '?alt=sse&key=mine', '?alt=sse' ],
    [ '?key=mine&alt=sse', '?alt=sse' ], [ '?key&a=1&key=x&b', '?a=1&b' ],
    [ '?monkey=1', '?monkey=1' ], [ '?keys=1', '?keys=1' ],
) {
    my ($args, $left) = @$_;
    $a->on('/', 503);
    is(ask('gemini', "$path$args")->status, 200, "$args: fallback");
    is($a->last_request->{uri}, "$path$args", "$args: the first");
    is($b->last_request->{uri}, '/x%20y/v1beta/models/gemini-3-flash'
        . ":generateContent$left", "$args: not the second");
}

# Anthropic's: both headers, both versions, as the client sends them

$a->on('/', { anthropic => { content => 'hi' } });
for (
    { 'x-api-key' => 'sk-1', 'anthropic-version' => '2023-06-01' },
    { authorization => 'Bearer sk-1', 'anthropic-version' => '2026-10-21',
      'anthropic-beta' => 'a,b' },
) {
    my %sent = %$_;
    ask('anthropic', '/v1/messages', { model => 'm' }, %sent);
    my $h = $a->last_request->{header};
    is($h->{$_}, $sent{$_}, "anthropic: $_ $sent{'anthropic-version'}")
        for qw(x-api-key authorization anthropic-version anthropic-beta);
    ask('claude', '/v1/messages', { model => 'm' }, %sent);
    $h = $a->last_request->{header};
    is($h->{'x-api-key'}, 'sk-ant', 'anthropic: the provider\'s own key');
    is($h->{authorization}, undef, 'anthropic: and no other');
    is($h->{'anthropic-version'}, $sent{'anthropic-version'},
        'anthropic: the client\'s version');
}


# encoded answers

my $text = JSON::PP->new->encode({ choices => [ { message => {
    content => 'Hello ' x 500 } } ] });
$a->on('/', { body => $text, type => 'application/json' });
$r = ask('openai', '/v1/x', {}, 'Accept-Encoding' => 'gzip');
is($a->last_request->{header}{'accept-encoding'}, 'identity',
    'no encoding is asked for');
is($r->header('content-encoding'), 'gzip', 'nginx encodes');
is(unzip($r->body), $text, 'what the provider said');

for my $chain (qw(openai anthropic azure gemini)) {
    $a->on('/', { body => zip($text), %zipped });
    $r = ask($chain, '/v1/x', {}, 'Accept-Encoding' => 'gzip');
    is($r->status, 200, "$chain: gzip all the same: status");
    is($r->header('content-encoding'), 'gzip', "$chain: encoding");
    is(unzip($r->body), $text, "$chain: body");
    ok($n->wait_access_log(qr/^$chain:success:200/), "$chain: a success");

    my $events = "data: {\"x\":1}\n\n" x 10;
    $a->on('/', { body => zip($events), %zipped, type => 'text/event-stream',
        end_hold => "open $chain" });
    $_->forget for $a, $b;
    my $s = $c->start(POST => '/v1/x', json => {},
        headers => { 'X-Chain' => $chain });
    ok($s->wait_header, "$chain: gzip stream: is not held");
    $a->release("open $chain");
    $s->read_until_end;
    is(unzip($s->body), $events, "$chain: gzip stream: body");
    ok($s->complete, "$chain: gzip stream: whole");

    $a->on('/', { status => 400, body => zip('{"error":{}}'), %zipped });
    $r = ask($chain, '/v1/x');
    is($r->status, 400, "$chain: gzip error: status");
    is(unzip($r->body), '{"error":{}}', "$chain: gzip error: body");
    ok($n->wait_access_log(qr/^$chain:client_error:400/),
        "$chain: gzip error: by its status");
}
$a->on('/', { body => '', %zipped });
is(ask('openai', '/v1/x')->status, 502, 'nothing, encoded, is nothing');


# the module's own errors

$a->on('/', 503);
for (
    [ 'openai', 'application/json', sub { $_[0]{error}{code} },
      sub { $_[0]{error}{type} }, 'service_unavailable_error' ],
    [ 'azure', 'application/json', sub { $_[0]{error}{code} },
      sub { $_[0]{error}{type} }, 'service_unavailable_error' ],
    [ 'anthropic', 'application/json',
      sub { $_[0]{error}{details}{error_code} },
      sub { "$_[0]{type} $_[0]{error}{type}" }, 'error overloaded_error' ],
    [ 'gemini', 'application/json',
      sub { $_[0]{error}{details}[0]{reason} },
      sub { "$_[0]{error}{code} $_[0]{error}{status}" }, '503 UNAVAILABLE' ],
    [ 'plain', 'application/problem+json', sub { $_[0]{code} },
      sub { "$_[0]{type} $_[0]{title} $_[0]{status}" },
      'about:blank Service Unavailable 503' ],
) {
    my ($chain, $type, $code, $what, $want) = @$_;
    $r = ask("o_$chain", '/v1/x');
    is($r->status, 503, "$chain: the provider's error");
    is($r->header('x-should-retry'), $chain eq 'plain' ? undef : 'false',
        "$chain: is not to be tried again");
    $r = ask("o_$chain", '/v1/x');
    is($a->count, 0, "$chain: open");
    is($r->status, 503, "$chain: status");
    is($r->header('content-type'), $type, "$chain: type");
    is($r->header('x-should-retry'), $chain eq 'plain' ? undef : 'false',
        "$chain: x-should-retry");
    like($r->header('retry-after'), qr/^(?:60|6[1-6])$/, "$chain: Retry-After");
    is(eval { $code->($r->json) }, 'breaker_open', "$chain: code");
    is(eval { $what->($r->json) }, $want, "$chain: error");
}

$a->on('/', { status => 503, body => 'no',
              headers => { 'x-should-retry' => 'true' } });
my @said = ask('openai', '/v1/x')->header('x-should-retry');
is("@said", 'false', 'x-should-retry is said once');

# an error's body of any length is looked at, up to 16 KB of it

my $late = '{"error":{"type":"invalid_request_error","x":"' . 'x' x 12_000
    . '","code":"context_length_exceeded"}}';
$a->on('/', { status => 400, body => $late, type => 'application/json' });
is(ask('openai', '/v1/x')->body, $late, 'a long error is passed on');
ok($n->wait_access_log(qr/^openai:context_length:400/), 'and was read');

$a->on('/', { status => 429, body => 'x' x 100_000,
              headers => { 'Retry-After' => 7 } });
$r = ask('openai', '/v1/x');
is($r->status, 429, 'an error that is too long: status');
is(eval { $r->json->{error}{code} }, 'rate_limited', 'code');
is($r->header('retry-after'), 7, 'Retry-After');


$a->on('/', 405);
is(ask('openai', '/v1/x')->status, 405, 'a method that the API has not');
ok($n->wait_log(qr/\[warn\].*provider "openai" answered 405/), 'is logged');


# streams

sub stream { { type => 'text/event-stream', events => [ @_ ] } }

sub said {
    my ($name, $n) = @_;
    return { event => $name, data => { type => $name, sequence_number => $n,
        $name =~ /delta/ ? (delta => 'Hello') : (response => {}) } };
}

$a->on('/', stream(said('response.created', 0),
    said('response.output_text.delta', 7)));
$r = ask('openai', '/v1/responses');
my @events = $r->events;
is($events[-1]{event}, 'error', 'responses: ends with an error');
my $e = ($r->event_json)[-1];
is($e->{type}, 'error', 'responses: type');
is($e->{code}, 'stream_dropped', 'responses: code');
is($e->{sequence_number}, 8, 'responses: the next number');
is($e->{error}{code}, 'stream_dropped', 'responses: what SDKs raise');
ok($r->complete, 'responses: properly');

$a->on('/', stream(said('response.output_text.delta', 1),
    { event => 'response.failed', data => { type => 'response.failed',
      response => { error => { code => 'server_error' } } } }));
$r = ask('openai', '/v1/responses');
is(($r->events)[-1]{event}, 'response.failed',
    'responses: the provider\'s own error is enough');

my $long = 'x' x 50_000;
for my $at (1 .. 3) {
    my $last = JSON::PP->new->canonical->encode({ candidates => [ {
        content => { parts => [ { text => $long } ], role => 'model' },
        finishReason => 'STOP' } ], usageMetadata => { a => 1 } });
    my $piece = length($last) * $at / 4;
    $a->on('/', stream(
        { raw => "data: " . substr $last, 0, $piece },
        { raw => substr($last, $piece) . "\r\n\r\n", gap_ms => 20 }));
    $r = ask('gemini', '/v1/models/m:streamGenerateContent?alt=sse');
    is($r->body, "data: $last\r\n\r\n", "gemini: a long event, cut at $at/4");
    ok($n->wait_access_log(qr/^gemini:success:\d+:\S+\|m\|success/),
        "gemini: its end is seen");
}

$a->on('/', stream({ data => { candidates => [ { content => { parts => [
    { text => 'Hello' } ] } } ] } }));
$e = (ask('gemini', '/v1/models/m:x')->event_json)[-1];
is($e->{error}{code}, 502, 'gemini: broken: code');
is($e->{error}{status}, 'UNAVAILABLE', 'gemini: broken: status');

done_testing();
