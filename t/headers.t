#!/usr/bin/env perl

# Tests for what a provider is sent: headers, credentials, model.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $n = nginx(vars => { A => $a->port, B => $b->port },
              files => { key => "  sk-file\n", empty => "\n" },
              http => <<'E');
    log_format call '$resilience_trace|$resilience_outcome|$llm_model';
    access_log %%PREFIX%%/access.log call;

    resilience_policy p { preset llm_chat; retry 0; breaker off; }

    resilience_provider plain { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider second { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider keyed {
        llm_key sk-none;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider openai {
        llm_dialect openai;
        llm_key sk-openai;
        resilience_endpoint http://127.0.0.1:%%A%%/base;
    }
    resilience_provider anthropic {
        llm_dialect anthropic;
        llm_key sk-ant;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider file {
        llm_dialect openai;
        llm_key_file %%PREFIX%%/key;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider empty {
        llm_dialect openai;
        llm_key_file %%PREFIX%%/empty;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider own {
        proxy_pass http://127.0.0.1:%%A%%/other/;
        proxy_set_header Host example.com;
        proxy_set_header X-Attempt $resilience_attempt;
        proxy_set_header X-Provider $resilience_provider;
        proxy_set_header X-Tenant $resilience_tenant;
        proxy_set_header X-Left $resilience_deadline;
    }
    resilience_provider host {
        proxy_set_header Host example.org;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider model {
        llm_dialect openai;
        llm_model gpt-5 vendor/gpt-5;
        llm_model o1 "o\"1";
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider any {
        llm_dialect openai;
        llm_model gpt-5 five;
        llm_model * other;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain plain  { policy p; provider plain; provider second; }
    resilience_chain keyed  { policy p; provider keyed; provider second; }
    resilience_chain empty  { policy p; provider empty; provider second; }
    resilience_chain none   { policy p; provider empty; }
    resilience_chain own    { policy p; provider second; provider own; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_tenant $http_x_org;
        location /plain/     { resilience_pass plain; }
        location /keyed/     { resilience_pass keyed; }
        location /openai/    { resilience_pass openai; }
        location /anthropic/ { resilience_pass anthropic; }
        location /file/      { resilience_pass file; }
        location /empty/     { resilience_pass empty; }
        location /none/      { resilience_pass none; }
        location /host/      { resilience_pass host; }
        location /own/       { resilience_pass own; }
        location /model/     { resilience_pass model; }
        location /any/       { resilience_pass any; }
        location /rewritten/ { rewrite ^ /v2/x?z=1 break; resilience_pass plain; }
        location = /status   { resilience_status; }
    }
E

my $c = http($n);
my %secret = (Authorization => 'Bearer client', 'x-api-key' => 'client',
    'api-key' => 'client', 'x-goog-api-key' => 'client', Cookie => 'c=client');
my %hop = ('Keep-Alive' => 'timeout=5', 'Proxy-Connection' => 'x',
    'Proxy-Authorization' => 'x', TE => 'trailers', Trailer => 'x',
    Upgrade => 'websocket', 'X-Mine' => 'x',
    Connection => 'keep-alive, X-Mine');

sub sent {
    my ($u, $path, %headers) = @_;
    $_->forget for $a, $b;
    $c->post($path, body => '{}', headers => \%headers);
    return ($u->last_request || {})->{header} || {};
}


# what passes

my $h = sent($a, '/plain/', 'X-Custom' => '1', 'User-Agent' => 'sdk/1',
    'Idempotency-Key' => 'k', 'OpenAI-Beta' => 'x', 'Content-Type' => 'x/y',
    Accept => 'text/event-stream');
is($h->{'x-custom'}, '1', 'a header of the client\'s');
is($h->{'user-agent'}, 'sdk/1', 'User-Agent');
is($h->{'idempotency-key'}, 'k', 'Idempotency-Key');
is($h->{'openai-beta'}, 'x', 'OpenAI-Beta');
is($h->{'content-type'}, 'x/y', 'Content-Type');
is($h->{accept}, 'text/event-stream', 'Accept');
is($h->{host}, '127.0.0.1:' . $a->port, 'Host is the endpoint\'s');
is($h->{'content-length'}, 2, 'Content-Length');

# what is of the connection

$h = sent($a, '/plain/', %hop);
is($h->{lc $_}, undef, "$_ is not passed on") for sort keys %hop;

# credentials

$h = sent($a, '/plain/', %secret);
is($h->{lc $_}, $secret{$_}, "$_ goes to the client's own provider")
    for sort keys %secret;

for my $case ([ keyed => authorization => 'Bearer sk-none' ],
              [ openai => authorization => 'Bearer sk-openai' ],
              [ anthropic => 'x-api-key' => 'sk-ant' ],
              [ file => authorization => 'Bearer sk-file' ]) {
    my ($provider, $name, $value) = @$case;
    $h = sent($a, "/$provider/", %secret);
    is($h->{$name}, $value, "$provider: its own key");
    is($h->{lc $_}, undef, "$provider: not the client's $_")
        for grep { lc $_ ne $name } sort keys %secret;
    my @sent = map { $_->[1] } @{ $a->last_request->{headers} };
    is(scalar(grep { /client/ } @sent), 0, "$provider: nowhere");
}

$a->on('/', 503);
for my $chain (qw(plain keyed)) {
    $h = sent($b, "/$chain/", %secret, 'X-Custom' => '1');
    is($h->{lc $_}, undef, "$chain: no $_ for a second provider")
        for sort keys %secret;
    is($h->{'x-custom'}, '1', "$chain: other headers pass");
    my @sent = map { $_->[1] } @{ $b->last_request->{headers} };
    is(scalar(grep { /client|sk-/ } @sent), 0, "$chain: nothing else either");
}
$a->on('/', { body => 'a' });

# a dialect is to be read

$h = sent($a, '/openai/', 'Accept-Encoding' => 'gzip');
is($h->{'accept-encoding'}, 'identity',
    'a dialect asks for no compression');
$h = sent($a, '/plain/', 'Accept-Encoding' => 'gzip');
is($h->{'accept-encoding'}, 'gzip', 'others may');

# paths

sent($a, '/openai/v1/chat%2Fx?a=b%20c');
is($a->last_request->{uri}, '/base/openai/v1/chat%2Fx?a=b%20c',
    'path of the endpoint, and the client\'s as it was written');
sent($a, '/rewritten/');
is($a->last_request->{uri}, '/v2/x?z=1', 'a path that was rewritten');

# a provider's own directives

$b->on('/', 503);
$h = sent($a, '/own/x', 'X-Org' => 'acme');
is($a->last_request->{uri}, '/other/own/x', 'proxy_pass with a path');
is($h->{host}, 'example.com', 'proxy_set_header');
is($h->{'x-attempt'}, 2, '$resilience_attempt');
is($h->{'x-provider'}, 'own', '$resilience_provider');
is($h->{'x-tenant'}, 'acme', '$resilience_tenant');
cmp_ok($h->{'x-left'}, '>', 590_000, '$resilience_deadline');
$b->on('/', { body => 'b' });


sent($a, '/host/');
is_deeply([ map { $_->[1] } grep { lc $_->[0] eq 'host' }
            @{ $a->last_request->{headers} } ], [ 'example.org' ],
    'a Host of its own beside an endpoint');


# keys

is($c->post('/empty/', body => '{}')->body, 'b',
    'a provider without its key is skipped');
ok($n->wait_access_log(qr/^empty:no_key:0:\S+ second:success/), 'as no_key');
is($c->post('/none/', body => '{}')->status, 503, 'no other is left');

sub write_key {
    my ($name, $text) = @_;
    open my $fh, '>', $n->prefix . "/$name.new" or die $!;
    print $fh $text;
    close $fh;
    rename $n->prefix . "/$name.new", $n->prefix . "/$name" or die $!;
}

write_key(key => 'sk-new');
ok(wait_until(5, sub {
    return sent($a, '/file/')->{authorization} eq 'Bearer sk-new' }),
    'a key file is read again when it changes');
write_key(empty => 'sk-there');
ok(wait_until(5, sub {
    return (sent($a, '/none/')->{authorization} // '') eq 'Bearer sk-there' }),
    'a key that was missing');
unlink $n->prefix . '/empty' or die $!;
ok(wait_until(5, sub { $c->post('/none/', body => '{}')->status == 503 }),
    'a key file that is gone');

# a line break would make another header of it

write_key(empty => 'sk-back');
ok(wait_until(5, sub { $c->post('/none/', body => '{}')->status == 200 }),
    'a key file that is back');
write_key(empty => "sk-a\r\nX-Evil: 1\n");
ok(wait_until(5, sub {
    return (sent($a, '/none/')->{authorization} // '') eq 'Bearer sk-a' }),
    'a key of two lines is cut');
is(scalar(grep { $_->{header}{'x-evil'} } $a->requests), 0,
    'the second one is never sent');
write_key(empty => "sk-a b\n");
ok(wait_until(5, sub { $c->post('/none/', body => '{}')->status == 503 }),
    'a key with a space in it is none');

unlike($n->log, qr/sk-/, 'no key is in the log');
unlike(http($n)->get('/status')->body, qr/sk-/, 'nor in the status');


# model

sub model {
    my ($path, $body, %headers) = @_;
    $a->forget;
    $c->post($path, body => $body,
        headers => { 'Content-Type' => 'application/json', %headers });
    my $r = $a->last_request or return undef;
    is($r->{header}{'content-length'}, length $r->{body}, 'its length');
    return $r->{body};
}

is(model('/model/', '{"model":"gpt-5","n":1}'),
    '{"model":"vendor/gpt-5","n":1}', 'a model is replaced');
is(model('/model/', '{ "n" : [1, {"model":"gpt-5"}],"model" :"gpt-5" }'),
    '{ "n" : [1, {"model":"gpt-5"}],"model" :"vendor/gpt-5" }',
    'and nothing else is');
is(model('/model/', '{"model":"o1"}'), '{"model":"o\"1"}', 'it is escaped');
is(model('/model/', '{"mod\u0065l":"gpt\u002d5"}'),
    '{"mod\u0065l":"vendor/gpt-5"}', 'it may come in escapes');
is(model('/model/', '{"model":"gpt-5","model":"gpt-5"}'),
    '{"model":"vendor/gpt-5","model":"vendor/gpt-5"}', 'and twice');
is(model('/model/', '{"model":"x"}'), '{"model":"x"}', 'another is not');
is(model('/model/', '{"n":1}'), '{"n":1}', 'none is added');
is(model('/any/', '{"model":"x"}'), '{"model":"other"}', '* is any');
is(model('/any/', '{"model":"gpt-5"}'), '{"model":"five"}',
    'a name goes before it');
is(model('/openai/', 'no json'), 'no json', 'nothing is to be replaced');

my $r = $c->post('/model/', body => 'no json');
is($r->status, 400, 'what is no JSON');
is($r->json->{error}{code}, 'invalid_json', 'is told so');
is($c->post('/model/', body => '[1]')->status, 400, 'nor an object');
is(model('/model/', 'a=b', 'Content-Type' => 'multipart/form-data'), 'a=b',
    'another type is not looked at');
is($c->get('/model/')->status, 200, 'no body');
ok($n->wait_access_log(qr/\|success\|vendor\/gpt-5$/), '$llm_model');

done_testing();
