#!/usr/bin/env perl

# Tests for what docs/security.md says: who gets to see which secret, what of
# a client's request can reach a provider, and what stays on disk and in memory.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream({ body => 'b' });

my $http = <<'E';
    resilience_zone zone=gw:1m state=state/gw;
    client_body_timeout 1s;
    client_body_buffer_size 1k;

    resilience_policy p {
        preset llm_chat;
        retry 1 base=1ms max=1ms;
        breaker failures=2 error_rate=0 open=1h;
    }
    resilience_policy hedge {
        preset llm_chat;
        retry 0;
        hedge after=20ms;
        breaker off;
    }

    resilience_provider bare {
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider keyed {
        resilience_endpoint http://127.0.0.1:%%A%%;
        llm_key key-of-a-keyed;
    }
    resilience_provider second {
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider second-keyed {
        resilience_endpoint http://127.0.0.1:%%B%%;
        llm_key key-of-b-keyed;
    }
    resilience_provider hiding {
        resilience_endpoint http://127.0.0.1:%%B%%;
        proxy_set_header X-Session '';
        proxy_hide_header Set-Cookie;
    }
    resilience_provider chat {
        resilience_endpoint http://127.0.0.1:%%A%%;
        llm_dialect openai;
    }
    resilience_provider tls {
        resilience_endpoint https://127.0.0.1:%%PORT2%%;
        llm_key key-for-tls;
    }
    resilience_provider any {
        resilience_endpoint https://127.0.0.1:%%PORT2%%;
        llm_key key-for-tls;
        proxy_ssl_verify off;
    }

    resilience_chain own    { policy p; provider bare; provider second; }
    resilience_chain keys   { policy p; provider keyed;
                              provider second-keyed; }
    resilience_chain mixed  { policy p; provider keyed; provider second; }
    resilience_chain hedged { policy hedge; provider bare; provider second; }
    resilience_chain hiding { policy p; provider bare; provider hiding; }
    resilience_chain chat   { policy p; provider chat; }
    resilience_chain tls    { policy p; provider tls; }
    resilience_chain any    { policy p; provider any; }

    log_format call '$status|$resilience_tenant|$resilience_trace';
    access_log %%PREFIX%%/access.log call;

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_tenant $http_x_tenant;
        resilience_headers on;
        location /own/    { resilience_pass own; }
        location /keys/   { resilience_pass keys; }
        location /mixed/  { resilience_pass mixed; }
        location /hedged/ { resilience_pass hedged; }
        location /hiding/ { resilience_pass hiding; }
        location /chat/   { resilience_pass chat; }
        location /tls/    { resilience_pass tls; }
        location /any/    { resilience_pass any; }
        location /by/     { resilience_pass $arg_chain; }
        location /hash/   {
            resilience_tenant $http_authorization hash;
            resilience_pass own;
        }
        location /secret/ { internal; return 200 secret; }
        location = /status { resilience_status; }
    }

    server {
        listen 127.0.0.1:%%PORT2%% ssl;
        ssl_certificate %%PREFIX%%/cert;
        ssl_certificate_key %%PREFIX%%/key;
        access_log %%PREFIX%%/tls.log;
        location / { return 200 tls; }
    }
E

my $pem = `openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/stdout -days 2 \\
           -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null`;
my %files = ('state/README' => '', cert => $pem =~ /(-+BEGIN CERT.*)/s,
             key => $pem =~ /(-+BEGIN PRIV.*?END PRIVATE KEY-+\n)/s);

my $n = nginx(http => $http, files => \%files,
              vars => { A => $a->port, B => $b->port });

my %secret = (
    'Authorization'  => 'Bearer client-one', 'x-api-key' => 'client-two',
    'api-key'        => 'client-three',      'Cookie'    => 'c=client-four',
    'x-goog-api-key' => 'client-five');

# all that a request to an upstream said, in one string
sub seen {
    my ($r) = @_;
    return join "\n", $r->{uri}, map({ "$_->[0]: $_->[1]" } @{ $r->{headers} }),
                      $r->{body} // '';
}

sub fresh { $_->forget for $a, $b }


# credentials

$a->on('/', 503);
fresh();
http($n)->get('/own/', headers => \%secret);
is($a->count, 2, 'the first provider, twice');
like(seen($_), qr/client-one/, 'it has no key: it is sent the client\'s')
    for $a->requests;
is($b->count, 1, 'the second one');
unlike(seen($b->last_request), qr/client-/, 'is never sent them');

for my $where (qw(keys mixed)) {
    fresh();
    http($n)->get("/$where/", headers => { %secret, 'X-Tenant' => $where });
    unlike(seen($_), qr/client-/, "$where: no provider is sent a client's")
        for $a->requests, $b->requests;
    like(seen($a->last_request), qr/key-of-a/, 'the first has its own');
    unlike(seen($b->last_request), qr/key-of-a/, 'and the second not that');
}
like(seen($b->last_request), qr{^/mixed/}, 'a second provider without a key');
unlike(seen($b->last_request), qr/^authorization:/mi, 'is sent none');

# what else is secret is for the configuration to say
$b->on('/', { body => 'b', headers => { 'Set-Cookie' => 's=1' } });
for my $where (qw(mixed hiding)) {
    fresh();
    my $r = http($n)->get("/$where/", headers => { 'X-Session' => 'other',
        'X-Tenant' => "session-$where" });
    my $hides = $where eq 'hiding' ? 1 : 0;
    is(scalar(seen($b->last_request) !~ /x-session/i), $hides ? 1 : '',
        "$where: another header, at the second provider");
    is($r->header('set-cookie'), $hides ? undef : 's=1', 'a cookie of its');
}
$b->on('/', { body => 'b' });

$a->on('/', { body => 'slow', hold => 'slow' });
fresh();
my $r = http($n)->get('/hedged/', headers => \%secret);
is($r->body, 'b', 'a hedge');
unlike(seen($b->last_request), qr/client-/, 'has none of them');
$a->release('slow');

$a->on('/', { status => 401, headers => { 'WWW-Authenticate' => 'Bearer' },
              body => 'bad key' });
$r = http($n)->get('/keys/', headers => { 'X-Tenant' => 'answer' });
unlike($r->raw, qr/key-of-/, 'no answer has a key');


# requests

$a->on('/', { body => 'ok' });

sub raw {
    my ($text) = @_;
    fresh();
    my $c = http($n);
    $c->send_raw($text);
    my $r = $c->read_response('POST', 5);
    return $r->status // 'none';
}

my $head = "POST /own/ HTTP/1.1\r\nHost: x\r\nX-Tenant: raw\r\n";
my $hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";

for (
    [ 'a length and chunks', 400,
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
    [ 'two lengths', 400,
      "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!" ],
    [ 'a length that is none', 400, "Content-Length: +5\r\n\r\nhello" ],
    [ 'an unknown coding', 501, "Transfer-Encoding: gzip, chunked\r\n\r\n" ],
    [ 'a coding twice', 400, "Transfer-Encoding: chunked\r\n"
      . "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" ],
    [ 'a space before the colon', 400,
      "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" ],
) {
    my ($what, $status, $rest) = @$_;
    is(raw($head . $rest . $hidden), $status, $what);
    is($a->count, 0, 'reaches no provider');
}

is(raw("${head}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"),
   200, 'chunks');
is($a->count, 1, 'are one request');
my $sent = $a->last_request;
is($sent->{header}{'content-length'}, 5, 'with a length');
ok(!$sent->{header}{'transfer-encoding'}, 'and no chunks');
is($sent->{body}, 'hello', 'of what was in them');

is(raw("${head}Connection: Content-Length, Host, close\r\n"
       . "Content-Length: 5\r\n\r\nhello"), 200, 'Connection that names more');
$sent = $a->last_request;
is($sent->{header}{'content-length'}, 5, 'does not take away the length');
is($sent->{header}{host}, '127.0.0.1:' . $a->port, 'nor the host');
is($sent->{body}, 'hello', 'nor the body');

is(raw("${head}X_Odd: 1\r\nContent-Length: 0\r\n\r\n"), 200, 'underscores');
ok(!$a->last_request->{header}{x_odd}, 'are dropped');


# where a request goes is for the configuration to say

is(raw("POST http://127.0.0.1:1/own/?u=http://127.0.0.1:1/ HTTP/1.1\r\n"
       . "Host: 127.0.0.1:1\r\nX-Tenant: raw\r\nContent-Length: 0\r\n\r\n"),
   200, 'an absolute address');
is($a->last_request->{header}{host}, '127.0.0.1:' . $a->port,
    'goes to the provider');
is(http($n)->get("/by/?chain=$_")->status, 500, "no chain: \"$_\"")
    for '127.0.0.1:1', 'http://127.0.0.1/', '..', '';
is(http($n)->get("/$_")->status, 404, "no location: $_")
    for qw(bare @bare resilience_bare);

$a->on('/', { body => 'redirected', headers => {
    'X-Accel-Redirect' => '/secret/', 'X-Accel-Charset' => 'utf-7',
    'X-Accel-Buffering' => 'yes', 'X-Accel-Limit-Rate' => 1 } });
$r = http($n)->get('/own/', headers => { 'X-Tenant' => 'accel' });
is($r->body, 'redirected', 'no provider has a say in where nginx looks');
unlike($r->raw, qr/X-Accel|utf-7/i, 'nor are clients told');

$a->on('/', { status => 302, headers => { Location => $b->url('/stolen') } });
fresh();
$r = http($n)->post('/chat/', { model => 'x' }, headers => \%secret);
is($b->count, 0, 'a redirect is not followed');


# answers

$a->on('/', { body => 'ok', headers => {
    'X-Resilience-Provider' => 'forged', 'X-One' => "1\r X-Two: 2" } });
$r = http($n)->get('/own/', headers => { 'X-Tenant' => 'answers' });
ok(!$r->header('x-two'), 'a carriage return begins no header');

# what a client says of itself comes back in nothing but the log and the status
$a->on('/', { body => 'ok' });
$r = http($n)->get('/own/', headers => { 'X-Tenant' => 'reflected' });
unlike($r->raw, qr/reflected/, 'a tenant is not in answers');
$a->on('/', 500);
my $mark = $n->mark;
http($n)->get('/own/', headers => { 'X-Tenant' => "a\e[2J\x07b" }) for 1 .. 3;
ok($n->wait_log(qr/breaker of tenant/, 5, $mark), 'a tenant with controls');
unlike($n->log($mark), qr/[\x00-\x09\x0b-\x1f\x7f]/, 'is not logged so');
like($n->log($mark), qr/tenant "[0-9a-f]{16}"/, 'but hashed');
like(http($n)->get('/own/', headers => { 'X-Tenant' => "caf\xc3\xa9" })
    ->status, qr/^\d/, 'letters are letters');
ok((grep { $_->{tenant} eq "caf\x{e9}" }
    @{ http($n)->get('/status')->json->{breakers} }), 'of any kind');


# slow clients

$a->on('/', { body => 'ok' });
fresh();
my $c = http($n);
$c->send_raw("${head}Content-Length: 100\r\n\r\nhalf of it");
$r = $c->read_response('POST', 5);
is($r->status // $r->error, 'closed', 'a body that does not come');
ok($n->wait_access_log(qr/^408\|raw\|/), 'is a timeout of the client\'s');
is($a->count, 0, 'has taken nothing of a provider');


# a prompt on disk

$a->on('/', { body => 'ok', hold => 'disk' });
fresh();
my $prompt = 'a prompt to be kept secret ' x 1000;
$r = http($n)->start(POST => '/own/', body => $prompt,
                     headers => { 'X-Tenant' => 'disk' });
ok($a->wait_held(1), 'a request that is larger than its buffer');
my @open = map { glob "/proc/$_/fd/*" } $n->workers;
ok((grep { (readlink // '') =~ m{/client_body/.* \(deleted\)$} } @open),
    'is in a file that has no name');
is(join(' ', glob $n->prefix . '/tmp/client_body/*'), '', 'none is to be seen');
is((stat($n->prefix . '/tmp/client_body'))[2] & 077, 0,
    'nor may others look');
$a->release('disk');
ok($r->read_until_end(5), 'answered');

$a->on('/', { body => 'x', body_repeat => 1_000_000 });
is(length http($n)->get('/own/', headers => { 'X-Tenant' => 'disk' })->body,
    1_000_000, 'a long answer');
is(join(' ', glob $n->prefix . '/tmp/proxy/*'), '', 'is in no file');


# logs, memory and the state file

$a->on('/', 500);
http($n)->post('/hash/', { say => 'a prompt to be kept secret' },
               headers => \%secret) for 1 .. 3;
http($n)->get('/keys/', headers => { %secret, 'X-Tenant' => 'visible' })
    for 1 .. 3;
ok($n->wait_access_log(qr/[0-9a-f]{16}\|bare:/), 'the log has a hash');
my $secrets = qr/client-(?:one|two|three|four|five)|key-of-|to be kept secret/;
unlike($n->log, $secrets, 'no secret is in the error log');
unlike(join("\n", $n->access_log), $secrets, 'nor in the other one');
unlike(http($n)->get('/status')->raw, $secrets, 'nor in the status');

SKIP: {
    my ($worker) = $n->workers;
    no warnings 'portable';         # 64 bits
    my $memory = '';
    open my $maps, '<', "/proc/$worker/maps" or skip 'no maps', 2;
    open my $mem, '<:raw', "/proc/$worker/mem" or skip 'no mem', 2;
    for (<$maps>) {
        /^([0-9a-f]+)-([0-9a-f]+) rw-s/ or next;
        my ($from, $to) = (hex $1, hex $2);
        sysseek $mem, $from, 0;
        my $left = $to - $from;
        while ($left > 0 && (my $got = sysread $mem, my $some, $left)) {
            $memory .= $some;
            $left -= $got;
        }
    }
    $memory =~ /visible/ or skip 'no memory could be read', 2;
    pass('a tenant that is not hashed is in shared memory');
    unlike($memory, $secrets, 'no secret is');
}

my $state = $n->prefix . '/state/gw';
$n->stop;
open my $fh, '<:raw', $state or die $!;
my $kept = do { local $/; <$fh> };
like($kept, qr/visible/, 'a tenant is in the state file');
unlike($kept, $secrets, 'no secret is');
is((stat $state)[2] & 07777, 0600, 'it is its owner\'s');


# TLS

$n = nginx(http => $http, files => \%files,
           vars => { A => $a->port, B => $b->port });
is(http($n)->get('/tls/')->status, 502, 'a certificate that nobody signed');
like($n->log, qr/certificate verify error/, 'for that reason');
is(-s $n->prefix . '/tls.log' || 0, 0, 'it was sent nothing');
is(http($n)->get('/any/')->body, 'tls', 'unless that is asked for');
$n->stop;


# nginx's debug log tells all

SKIP: {
    skip 'this nginx has no debug log', 2 if $n->version !~ /--with-debug/;
    $a->on('/', { body => 'ok' });
    $n = nginx(http => $http, files => \%files, log_level => 'debug',
               vars => { A => $a->port, B => $b->port });
    http($n)->get('/keys/', headers => \%secret);
    like($n->log, qr/key-of-a/, 'a provider\'s key is in the debug log');
    like($n->log, qr/client-one/, 'and a client\'s');
    $n->stop;
}

done_testing();
