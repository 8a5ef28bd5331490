#!/usr/bin/env perl

# Tests for clients of every kind: HTTP/1.0, kept and pipelined connections,
# all methods, slow ones, HTTP/2; and for providers that speak TLS.

use Digest::SHA qw(sha256_hex);
use File::Temp qw(tempdir);
use FindBin;

use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();
my $tmp = tempdir(CLEANUP => 1);

# certificates of one authority, and one that is its own
sub openssl {
    system("openssl @_ >>$tmp/log 2>&1") == 0
        or BAIL_OUT("openssl @_: " . `cat $tmp/log`);
}

my $new = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30';
openssl("req -x509 $new -subj /CN=ca -keyout $tmp/ca.key -out $tmp/ca.pem");
openssl("req -x509 $new -subj /CN=good.test -keyout $tmp/own.key"
    . " -out $tmp/own.pem -addext subjectAltName=DNS:good.test");
openssl("req $new -subj /CN=good.test -keyout $tmp/good.key"
    . " -out $tmp/good.csr");
open my $ext, '>', "$tmp/ext" or die $!;
print {$ext} "subjectAltName=DNS:good.test,DNS:127.0.0.1\n";
close $ext;
openssl("x509 -req -in $tmp/good.csr -CA $tmp/ca.pem -CAkey $tmp/ca.key"
    . " -CAcreateserial -days 30 -extfile $tmp/ext -out $tmp/good.pem");

my $n = nginx(<<'E', vars => { A => $a->port, B => $b->port, TLS => $tmp });
    log_format call '$request|$status|$resilience_trace|$resilience_outcome'
                    '|$connection';
    access_log %%PREFIX%%/access.log call;
    client_max_body_size 0;

    resilience_policy fast {
        timeout connect=5s attempt=1m;
        retry 1 base=1ms max=1ms;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_policy idle {
        timeout idle=1s attempt=1m;
        retry 0;
        breaker off;
    }
    resilience_policy once { timeout attempt=1m; retry 0; breaker off; }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider openai {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider other {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider buffered {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
    }

    resilience_chain two  { policy fast; provider a; provider b; }
    resilience_chain llm  { policy fast; provider openai; provider other; }
    resilience_chain idle { policy idle; provider a; }

    # connections and TLS sessions belong to an upstream
    upstream tls { server 127.0.0.1:%%PORT3%%; keepalive 4; }
    upstream wrong_name { server 127.0.0.1:%%PORT3%%; }
    upstream unknown_ca { server 127.0.0.1:%%PORT3%%; }

    resilience_provider tls {
        proxy_pass https://tls;
        proxy_ssl_name good.test;
        proxy_ssl_trusted_certificate %%TLS%%/ca.pem;
    }
    resilience_provider endpoint {
        resilience_endpoint https://127.0.0.1:%%PORT3%%;
        proxy_ssl_trusted_certificate %%TLS%%/ca.pem;
    }
    resilience_provider wrong_name {
        proxy_pass https://wrong_name;
        proxy_ssl_name other.test;
        proxy_ssl_trusted_certificate %%TLS%%/ca.pem;
    }
    resilience_provider unknown_ca {
        proxy_pass https://unknown_ca;
        proxy_ssl_name good.test;
    }
    resilience_provider own_ca {
        proxy_pass https://127.0.0.1:%%PORT4%%;
        proxy_ssl_name good.test;
        proxy_ssl_trusted_certificate %%TLS%%/ca.pem;
    }
    resilience_provider unverified {
        proxy_pass https://127.0.0.1:%%PORT4%%;
        proxy_ssl_verify off;
    }
    resilience_provider no_tls { proxy_pass https://127.0.0.1:%%PORT%%; }

    resilience_chain tls        { policy once; provider tls; provider b; }
    resilience_chain endpoint   { policy once; provider endpoint; }
    resilience_chain unverified { policy once; provider unverified; }
    resilience_chain wrong_name {
        policy once;
        provider wrong_name;
        provider b;
    }
    resilience_chain unknown_ca {
        policy once;
        provider unknown_ca;
        provider b;
    }
    resilience_chain own_ca     { policy once; provider own_ca; provider b; }
    resilience_chain no_tls     { policy once; provider no_tls; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%PORT2%% http2;
        listen 127.0.0.1:%%PORT5%% ssl http2;
        ssl_certificate %%TLS%%/good.pem;
        ssl_certificate_key %%TLS%%/good.key;

        location /two/      { resilience_pass two; }
        location /llm/      { resilience_pass llm; }
        location /idle/     { resilience_pass idle; }
        location /buffered/ { resilience_pass buffered; }
        location /tls/      { resilience_pass $arg_chain; }
    }
    server {
        listen 127.0.0.1:%%PORT3%% ssl;
        ssl_certificate %%TLS%%/good.pem;
        ssl_certificate_key %%TLS%%/good.key;
        location / {
            proxy_pass http://127.0.0.1:%%A%%;
            proxy_set_header X-Name $ssl_server_name;
            proxy_set_header X-Connection $connection;
        }
    }
    server {
        listen 127.0.0.1:%%PORT4%% ssl;
        ssl_certificate %%TLS%%/own.pem;
        ssl_certificate_key %%TLS%%/own.key;
        location / { proxy_pass http://127.0.0.1:%%A%%; }
    }
E

my $c = http($n);

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', @$for_a);
    $b->on('/', @{ $for_b // [ { body => 'from b' } ] });
    $_->forget for $a, $b;
}

sub counts { $a->count . '+' . $b->count }


# HTTP/1.0

answers([ { body => 'from a' } ]);
my $old = http($n, version => '1.0');
my $r = $old->get('/two/', keepalive => 0);
is($r->status, 200, 'HTTP/1.0');
is($r->body, 'from a', 'HTTP/1.0: body');
ok($old->wait_closed, 'HTTP/1.0: closed');

$r = $old->get('/two/', keepalive => 1);
is($r->framing, 'length', 'HTTP/1.0, kept: framing');
$old->get('/two/', keepalive => 1);
is($old->connects, 2, 'HTTP/1.0, kept: one connection');
$old->close;

answers([ 503 ], [ { body => 'from b', framing => 'chunked' } ]);
$r = $old->get('/two/');
is($r->body, 'from b', 'HTTP/1.0: fallback');
is($r->framing, 'close', 'HTTP/1.0: no chunks');
ok($r->complete, 'HTTP/1.0: complete');

answers([ { openai => { content => 'a b c', stream => 1 } } ]);
$r = $old->post('/llm/', {});
is($r->text, 'a b c', 'HTTP/1.0: stream');
is($r->framing, 'close', 'HTTP/1.0: stream, no chunks');

answers([ { status => 503, body => 'busy' } ], [ 503 ]);
$r = $old->get('/two/');
is($r->status, 503, 'HTTP/1.0: spent');
is($r->body, 'busy', 'HTTP/1.0: spent, body');


# one connection for many calls

my @kept = (
    [ 'success', sub { [ { body => 'x' } ] }, 200, 'x' ],
    [ 'retry', sub { [ 503, { body => 'x' } ] }, 200, 'x' ],
    [ 'fallback', sub { [ 503 ] }, 200, 'from b' ],
    [ 'cut header', sub { [ { close_in_header => 1 } ] }, 200, 'from b' ],
    [ 'reset', sub { [ { reset_before_header => 1 } ] }, 200, 'from b' ],
    [ 'spent', sub { [ { status => 500, body => 'e' } ], [ 503 ] }, 500, 'e' ],
    [ 'spent without an answer', sub { ([ { close_before_header => 1 } ]) x 2 },
        502, qr/"Bad Gateway".*"connect"/ ],
    [ 'client error', sub { [ { status => 422, body => 'no' } ] }, 422, 'no' ],
    [ 'no content', sub { [ 204 ] }, 204, '' ],
    [ 'chunks', sub { [ { body => 'x', framing => 'chunked' } ] }, 200, 'x' ],
    [ 'closed by the provider', sub { [ { body => 'x', close => 1 } ] },
        200, 'x' ],
);
for my $path (qw(/two/ /llm/)) {
    for my $case (@kept, reverse @kept) {
        my ($name, $answers, $status, $body) = @$case;
        for my $method (qw(GET POST)) {
            answers($answers->());
            my $r = $c->request($method => $path,
                body => $method eq 'POST' ? 'y' x 5000 : undef);
            is($r->status, $status, "kept, $path: $method, $name");
            like($r->body, ref $body ? $body : qr/^\Q$body\E$/,
                "kept, $path: $method, $name, body")
                unless $path eq '/llm/' && $name =~ /without/;
        }
        is($c->head($path)->body, '', "kept, $path: HEAD after that");
    }
    answers([ { openai => { content => 'a b', stream => 1 } } ]);
    is($c->post($path, {})->text, 'a b', "kept, $path: stream") for 1 .. 2;
}
is($c->connects, 1, 'kept: one connection');

answers([ 503 ]);
for my $path (qw(/two/ /llm/)) {
    my $close = http($n);
    $r = $close->get($path, keepalive => 0);
    is($r->body, 'from b', "$path: Connection: close");
    is($r->header('connection'), 'close', "$path: says so");
    ok($close->wait_closed, "$path: closed");
}


# pipelined

sub pipelined {
    my ($path, $name, %opt) = @_;
    $_->forget for $a, $b;
    $a->on($path, 503);
    $b->on($path, { body => 'from b', %{ $opt{answer} || {} } });
    $a->on($path . 'ok', { body => 'from a' });
    $a->on($path . 'first', { body => 'first', hold => "$path$name" });

    my $long = 'z' x 30_000;
    my @list = ([ GET => 'first', 'first' ], [ POST => '', 'from b', 'x' ],
        [ GET => 'ok', 'from a' ], [ HEAD => '', '' ],
        [ POST => 'ok', 'from a', $long ], [ POST => '', 'from b', $long, 1 ],
        [ GET => '', 'from b' ], [ PUT => 'ok', 'from a', 'y', 1 ],
        [ POST => 'ok', 'from a', 'y' x 3000 ], [ GET => 'ok', 'from a' ]);

    my $p = http($n);
    $p->send_raw(join '', map {
        my ($method, $end, undef, $body, $chunked) = @$_;
        $p->bytes_of($method, $path . $end, body => $body,
            chunked => $chunked) } @list);

    ok($a->wait_held(1), "pipelined, $path$name: the first is held");
    is(counts(), '1+0', "pipelined, $path$name: the others wait");
    $a->release("$path$name");

    my @got = map { my $r = $p->read_response($_->[0]);
                    ($r->status // 'none') . ' ' . $r->body } @list;
    is_deeply(\@got, [ map { "200 $_->[2]" } @list ],
        "pipelined, $path$name: in their order");
    my ($sent) = grep { $_->{method} eq 'PUT' } $a->requests;
    is($sent->{body}, 'y', "pipelined, $path$name: body");
    is(scalar(grep { $_->{body_length} == 30_000 } $a->requests, $b->requests),
        4, "pipelined, $path$name: long bodies");
}
pipelined('/two/p/', 'once');
pipelined('/two/p/', 'again', answer => { framing => 'chunked' });
pipelined('/llm/p/', 'once');


# methods

answers([ 503 ], [ { body => 'from b', headers => { 'X-B' => 1 } } ]);
for my $path (qw(/two/ /llm/)) {
    for my $method (qw(GET POST PUT PATCH DELETE OPTIONS PROPFIND FOO)) {
        $_->forget for $a, $b;
        my $r = $c->request($method => "$path?q=%20", body => "by $method");
        is($r->body, 'from b', "$method $path");
        is(counts(), '2+1', "$method $path: tried and moved on");
        my @wrong = grep { $_->{method} ne $method
            || $_->{body} ne "by $method" || $_->{uri} ne "$path?q=%20" }
            $a->requests, $b->requests;
        is(@wrong, 0, "$method $path: as it came");
    }

    $_->forget for $a, $b;
    my $r = $c->head($path);
    is($r->status, 200, "HEAD $path");
    is($r->header('x-b'), 1, "HEAD $path: headers");
    is($r->header('content-length'), 6, "HEAD $path: length");
    is($r->header('transfer-encoding'), undef, "HEAD $path: no chunks");
    is(counts(), '2+1', "HEAD $path: tried and moved on");
    is($b->last_request->{method}, 'HEAD', "HEAD $path: as it came");
    is($c->get($path)->body, 'from b', "GET $path after HEAD");
}

answers([ { status => 503, body => 'busy' } ], [ 503 ]);
for my $path (qw(/two/ /llm/)) {
    my $r = $c->head($path);
    is($r->status, 503, "HEAD $path: spent");
    like($r->header('content-length') // 4, qr/^4$/,
        "HEAD $path: spent, no wrong length");
    is($c->get($path)->body, 'busy', "GET $path after that");
}
is($c->connects, 1, 'methods: one connection');


# Expect: 100-continue

for my $path (qw(/two/ /llm/)) {
    answers([ 503 ]);
    my $e = http($n);
    my $r = $e->start(POST => $path, headers => { Expect => '100-continue',
        'Content-Length' => 5 });
    ok($r->read_while(5, sub { $r->informational }), "$path: 100 Continue");
    is(($r->informational)[0]{status}, 100, "$path: only that");
    is(counts(), '0+0', "$path: no attempt without the body");
    $e->send_raw('hello');
    ok($r->read_until_end(10), "$path: body sent on");
    is($r->body, 'from b', "$path: answer after 100");
    is_deeply([ map { $_->{body} } $a->requests, $b->requests ],
        [ ('hello') x 3 ], "$path: body after 100");
    is(scalar(grep { $_->{header}{expect} } $a->requests), 0,
        "$path: the provider is asked for nothing");
}


# slow clients

answers([ { body => 'from a' } ]);
my $slow = http($n);
my $body = join '', map { "line $_\n" } 1 .. 1000;
$slow->start(POST => '/two/', headers => { 'Content-Length' => length $body });
for (my $at = 0; $at < length $body; $at += 2000) {
    is($c->get('/two/other')->body, 'from a', "body up to $at: others go on");
    is($a->count('/two/other'), $a->count, "body up to $at: no attempt yet");
    $slow->send_raw(substr $body, $at, 2000);
}
is($slow->read_response('POST')->body, 'from a', 'body in pieces');
is($a->last_request->{body}, $body, 'body in pieces: whole');

# what the upstream has sent when it is stuck, longer than "idle" has it
sub stuck {
    my ($path) = @_;
    my $still = ($path eq '/idle/' ? 1.5 : 0.5) * factor;
    my ($sent, $since) = (-1, 0);
    wait_until(20, sub {
        my $now = $a->last_request($path)->{sent};
        ($sent, $since) = ($now, now()) if $now != $sent;
        return now() - $since > $still;
    });
    return $sent;
}

my $piece = join '', map { sprintf "%07d\n", $_ } 1 .. 1250;
my $times = 5200;
my $sha = sha256_hex($piece x $times);
my %big = (body => $piece, body_repeat => $times, type => 'audio/x');

# 52 MB: the system's own buffers for sockets may take some 42 of them
for my $case ([ '/two/', 'length' ], [ '/two/', 'chunked' ],
              [ '/llm/', 'length' ], [ '/idle/', 'chunked' ])
{
    my ($path, $framing) = @$case;
    my $name = "$path slow, $framing";
    answers([ { %big, framing => $framing } ]);
    my $s = http($n, rcvbuf => 4096, timeout => 60);
    my $r = $s->start(GET => $path);
    ok($r->wait_bytes(1000), "$name: begins");
    cmp_ok(stuck($path), '<', 50_000_000, "$name: held back");
    ok(!$a->last_request->{done}, "$name: not over");
    ok($r->read_until_end(60), "$name: complete");
    is(sha256_hex($r->body), $sha, "$name: whole");
    is($a->count, 1, "$name: asked once");
}

answers([ { %big } ]);
$slow = http($n, rcvbuf => 4096, timeout => 60);
$r = $slow->start(GET => '/buffered/');
ok($r->wait_bytes(1000), 'buffered, slow: begins');
ok($a->wait_done(1, 30), 'buffered, slow: the provider is not held back');
ok($r->read_until_end(60), 'buffered, slow: complete');
is(sha256_hex($r->body), $sha, 'buffered, slow: whole');


# HTTP/2

my $h2 = 'http://127.0.0.1:' . $n->port(2);

# (exit code, output)
sub curl {
    my (@args) = @_;
    my @cmd = ('curl', '-sS', '--http2-prior-knowledge', '--max-time',
        30 * factor(), @args);
    my $pid = open my $out, '-|';
    defined $pid or die "fork: $!";
    if (!$pid) {
        open STDERR, '>', "$tmp/curl.err";
        exec @cmd or exit 127;
    }
    local $/;
    my $said = <$out>;
    close $out;
    return ($? >> 8, $said // '');
}

sub spew {
    my ($name, $text) = @_;
    open my $fh, '>:raw', "$tmp/$name" or die $!;
    print {$fh} $text;
    close $fh;
    return "$tmp/$name";
}

sub slurp {
    open my $fh, '<:raw', $_[0] or return '';
    local $/;
    return scalar <$fh>;
}

SKIP: {
    my $curl = `curl -V 2>&1` // '';
    skip 'no curl with HTTP/2', 1
        unless $curl =~ /HTTP2/ && $n->version =~ /http_v2_module/;

    answers([ 503 ], [ { body => 'from b', headers => { 'X-B' => 1 } } ]);
    my ($rc, $said) = curl('-w', '|%{http_version}|%{http_code}', "$h2/two/");
    is($said, 'from b|2|200', 'HTTP/2 GET');

    ($rc, $said) = curl('-I', "$h2/two/");
    like($said, qr{^HTTP/2 200}, 'HTTP/2 HEAD');
    like($said, qr/^content-length: 6\r$/m, 'HTTP/2 HEAD: length');
    like($said, qr/^x-b: 1\r$/m, 'HTTP/2 HEAD: headers');

    my $sent = $piece x 200;
    my $file = spew('body', $sent);
    for my $path (qw(/two/ /llm/)) {
        for my $how ([ '--data-binary', "\@$file" ], [ '-T', $file ],
            [ '-T', '-', '-X', 'POST' ])
        {
            $_->forget for $a, $b;
            open my $in, '<', $file or die $!;
            open my $save, '<&', \*STDIN;
            open STDIN, '<&', $in;
            ($rc, $said) = curl(@$how, '-H', 'Content-Type: x/y', "$h2$path");
            open STDIN, '<&', $save if $save;
            is($said, 'from b', "HTTP/2 $path @$how[0, 1]" =~ s/$tmp//r);
            is_deeply([ map { $_->{sha256} } $a->requests, $b->requests ],
                [ (sha256_hex($sent)) x 3 ], 'the same body each time');
            is($b->last_request->{header}{'content-length'}, length $sent,
                'its length');
        }
    }

    answers([ { status => 500, body => 'e' } ], [ 503 ]);
    ($rc, $said) = curl('-w', '|%{http_code}', "$h2/two/");
    is($said, 'e|500', 'HTTP/2: spent');

    $sha = sha256_hex($piece x 2000);
    $big{body_repeat} = 2000;
    for my $framing (qw(length chunked)) {
        answers([ { %big, framing => $framing } ]);
        ($rc, $said) = curl("$h2/two/");
        is(sha256_hex($said), $sha, "HTTP/2: 20 MB, $framing");
        is($rc, 0, "HTTP/2: 20 MB, $framing, complete");

        answers([ { %big, framing => $framing,
            close_after_bytes => 300_000 } ]);
        ($rc, $said) = curl("$h2/two/");
        isnt($rc, 0, "HTTP/2: cut, $framing");
        cmp_ok(length $said, '<=', 300_000, "HTTP/2: cut, $framing, no more");
    }

    # a stream, as it comes
    answers([ { openai => { content => 'one two', stream => 1 } } ]);
    ($rc, $said) = curl('-X', 'POST', "$h2/llm/");
    is($rc, 0, 'HTTP/2: a stream ends well');
    like($said, qr/one.*two.*\n\ndata: \[DONE\]\n\n$/s, 'HTTP/2: its events');

    answers([ { framing => 'chunked', events => [
        { data => { choices => [ { delta => { content => 'one' } } ] } },
        { data => { choices => [ { delta => { content => 'two' } } ] },
          hold => 'second' },
        { data => '[DONE]' } ] } ]);
    open my $out, '-|', 'curl', '-sSN', '--http2-prior-knowledge',
        '--max-time', 30 * factor(), "$h2/llm/" or die $!;
    like(scalar <$out>, qr/one/, 'HTTP/2: an event at once');
    ok($a->wait_held(1), 'HTTP/2: the next is not there yet');
    $a->release('second');
    like(join('', <$out>), qr/two.*\[DONE\]/s, 'HTTP/2: the others');
    ok(close $out, 'HTTP/2: and the end');

    answers([ { openai => { content => 'one two', stream => 1 },
        close_after_events => 3 } ]);
    ($rc, $said) = curl("$h2/llm/");
    like($said, qr/one.*"error".*\n\n$/s, 'HTTP/2: a broken stream says so');
    unlike($said, qr/DONE/, 'HTTP/2: and is not done');

    # side by side in one connection
    $a->on("/two/s$_", $_ % 3 ? { body => "$_ " x $_, body_repeat => 3000 }
        : 503) for 1 .. 30;
    answers([ 503 ]);
    my $tls = 'good.test:' . $n->port(5);
    my @many = map { ("https://$tls/two/s$_/", '-o', "$tmp/s$_") } 1 .. 30;
    ($rc) = curl('--parallel', '--parallel-max', 30, '--cacert',
        "$tmp/ca.pem", '--http2', '--resolve', "$tls:127.0.0.1", @many);
    is($rc, 0, 'HTTP/2: 30 calls side by side');
    my @wrong = grep { slurp("$tmp/s$_") ne
        ($_ % 3 ? "$_ " x $_ x 3000 : 'from b') } 1 .. 30;
    is("@wrong", '', 'HTTP/2: each with its own answer');
    ok(wait_until(5, sub { $n->access_log(qr{/two/s\d+/}) == 30 }),
        'HTTP/2: all are logged');
    my %connection = map { /(\d+)$/ => 1 } $n->access_log(qr{/two/s\d+/});
    is(keys %connection, 1, 'HTTP/2: one connection for all');
}

SKIP: {
    `h2load --version 2>/dev/null` =~ /h2load/
        or skip 'no h2load', 1;
    answers([ map { ({ body => 'x' }, 503) } 1 .. 50 ]);
    my $said = `h2load -n 600 -c 3 -m 20 $h2/two/load 2>&1`;
    like($said, qr/600 succeeded, 0 failed, 0 errored/, 'h2load');
    like($said, qr/status codes: 600 2xx/, 'h2load: all good');
}


# TLS

answers([ { body => 'from a' } ]);
$c = http($n);
for my $chain (qw(tls endpoint unverified)) {
    is($c->get("/tls/?chain=$chain")->body, 'from a', "TLS: $chain");
}
is_deeply([ map { $_->{header}{'x-name'} } ($a->requests)[0, 1] ],
    [ 'good.test', undef ], 'TLS: name');
$a->forget;
is($c->post('/tls/?chain=tls', body => $body)->body, 'from a',
    "TLS: POST $_") for 1 .. 5;
is($a->last_request->{body}, $body, 'TLS: body');
my %connection = map { $_->{header}{'x-connection'} => 1 } $a->requests;
cmp_ok(keys %connection, '<=', 2, 'TLS: connections are kept');

for my $chain (qw(wrong_name unknown_ca own_ca no_tls)) {
    answers([ { body => 'from a' } ]);
    for my $method (qw(GET POST)) {
        my $r = $c->request($method => "/tls/?chain=$chain", body => 'x');
        is($r->status, 200, "TLS, $chain: $method");
        is($r->body, 'from b', "TLS, $chain: $method falls back");
    }
    is($a->count, 0, "TLS, $chain: nothing was sent");
    ok($n->wait_access_log(qr/$chain\ HTTP.*\|200\|$chain:connect:0:[\d.]+,
        \ b:success:200:[\d.]+\|success\|/x), "TLS, $chain: outcome");
}
answers([ { body => 'from a' } ]);
is($c->get('/tls/?chain=tls')->body, 'from a', 'TLS: and good again');

done_testing();
