#!/usr/bin/env perl

# Tests for bodies: a request's body is the same on every attempt, a model's
# name in it is replaced and nothing else, an answer's body comes as it was.

use Digest::SHA qw(sha256_hex);
use FindBin;
use IO::Compress::Gzip qw(gzip);
use JSON::PP ();

use lib "$FindBin::Bin/lib";
use Resilience::Test;

use constant { K => 1024, M => 1024 * 1024 };

my $a = upstream();
my $b = upstream();

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    client_max_body_size 0;

    resilience_policy again {
        timeout attempt=1m;
        retry 1 base=1ms max=1ms;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_policy often {
        timeout attempt=1m;
        retry 19 base=1ms max=1ms;
        retry_non_idempotent on;
        breaker off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }

    resilience_provider buffered {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
    }
    resilience_provider openai {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider mapped {
        llm_dialect openai;
        llm_model gpt-5 openai/gpt-5;
        llm_model 模型 模型/二;
        llm_model "😀" 'a"\b';
        llm_model long-name s;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider any {
        llm_dialect openai;
        llm_model * llama3;
        llm_model gpt-5 gpt-oss;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider claude {
        llm_dialect anthropic;
        llm_model * claude;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider plain {
        llm_model gpt-5 gpt-6;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain two   { policy again; provider a; provider b; }
    resilience_chain often { policy often; attempts 20; provider a; }
    resilience_chain models { policy again; provider mapped; provider any; }
    resilience_chain late  { policy again; provider openai; provider any; }

    server {
        listen 127.0.0.1:%%PORT%%;
        client_body_buffer_size 32m;

        location /two/      { resilience_pass two; }
        location /often/    { resilience_pass often; }
        location /models/   { resilience_pass models; }
        location /late/     { resilience_pass late; }
        location /plain/    { resilience_pass plain; }
        location /claude/   { resilience_pass claude; }
        location /openai/   { resilience_pass openai; }
        location /a/        { resilience_pass a; }
        location /buffered/ { resilience_pass buffered; }

        location /file/ {
            client_body_buffer_size 1k;
            rewrite ^/file(/.*) $1 break;
            resilience_pass $arg_chain;
        }
        location /always/ {
            client_body_in_file_only clean;
            rewrite ^/always(/.*) $1 break;
            resilience_pass $arg_chain;
        }
        location /single/ {
            client_body_in_single_buffer on;
            rewrite ^/single(/.*) $1 break;
            resilience_pass $arg_chain;
        }
    }
E

my $c = http($n, timeout => 60);

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', @$for_a);
    $b->on('/', @{ $for_b // [ { body => 'from b' } ] });
    $_->forget for $a, $b;
}

# octets that are different wherever one looks
sub octets {
    my ($size) = @_;
    my $block = join '', map { pack 'N', $_ * 2654435761 } 1 .. 2 * K + 1;
    return substr $block x (1 + $size / length $block), 0, $size;
}

# true if each request brought this body, framed by its length
sub same {
    my ($body, @requests) = @_;
    my $sha = sha256_hex($body);
    my @bad = grep { $_->{sha256} ne $sha
        || ($_->{header}{'content-length'} // 0) != length $body
        || exists $_->{header}{'transfer-encoding'} } @requests;
    diag("$_->{method} $_->{uri}: $_->{body_length} of ", length $body)
        for @bad;
    return !@bad;
}

sub spilled { $n->log($_[0]) =~ /body is buffered to a temporary file/ }


# the same request body again and again

my @size = ([ 'no byte' => 0 ], [ 'one byte' => 1 ], [ '8 KB' => 8 * K ],
            [ '1 MB' => M ], [ '20 MB' => 20 * M ]);

for my $size (@size) {
    my ($what, $length) = @$size;
    my $body = octets($length);

    for my $place ('memory', 'a file') {
        my $path = $place eq 'memory' ? '/two/' : '/file/two/?chain=two';

        for my $chunked (0, 1) {
            my $name = "$what in $place" . ($chunked ? ', in chunks' : '');
            answers([ 503 ]);
            my $mark = $n->mark;
            my $r = $c->post($path, body => $body,
                chunked => $chunked && 7001);
            is($r->body, 'from b', "$name: fallback");
            my @seen = ($a->requests, $b->requests);
            is(@seen, 3, "$name: three attempts");
            ok(same($body, @seen), "$name: the same each time");
            is(!!spilled($mark), $place ne 'memory' && $length > K,
                "$name: kept there");
        }
    }
}

for my $size (@size[0 .. 3]) {
    my ($what, $length) = @$size;
    my $body = octets($length);
    for my $how (qw(always single)) {
        answers([ 503 ]);
        is($c->post("/$how/two/?chain=two", body => $body)->body, 'from b',
            "$what, $how: fallback");
        ok(same($body, $a->requests, $b->requests),
            "$what, $how: the same each time");
    }
}

for my $method (qw(PUT PATCH DELETE GET)) {
    my $body = octets(3 * K);
    answers([ 503 ]);
    $c->request($method => '/two/', body => $body);
    ok(same($body, $a->requests, $b->requests), "$method with a body");
    is($b->count, 1, "$method fell back");
}

for my $place ('memory', 'a file') {
    my $body = octets(M + 1);
    answers([ { status => 503, times => 19 }, { body => 'at last' } ]);
    my $r = $c->post($place eq 'memory' ? '/often/'
        : '/file/often/?chain=often', body => $body);
    is($r->body, 'at last', "20 attempts with a body in $place");
    is($a->count, 20, "all 20 came, body in $place");
    ok(same($body, $a->requests), "20 times the same from $place");
}

# the header alone first, so that nothing of the body comes with it
answers([ 503 ]);
my $body = octets(20 * K);
$c->start(POST => '/two/', headers => { 'Content-Length' => length $body });
$c->send_raw(substr $body, 0, 5000);
$c->send_raw(substr $body, 5000);
is($c->read_response('POST')->body, 'from b', 'header and body apart');
ok(same($body, $a->requests, $b->requests), 'then the same each time');


# the model

my $pad = 'x' x (3 * K);
my @rewrite = (
    [ 'alone', '{"model":"gpt-5"}', '{"model":"openai/gpt-5"}' ],
    [ 'first', '{"model":"gpt-5","a":[1,2]}',
        '{"model":"openai/gpt-5","a":[1,2]}' ],
    [ 'last', '{"a":{"b":null},"model":"gpt-5"}',
        '{"a":{"b":null},"model":"openai/gpt-5"}' ],
    [ 'in the middle', qq( {\n\t"a" : 1.5e3 ,\r "model" : "gpt-5" ,"b":[] }\n),
        qq( {\n\t"a" : 1.5e3 ,\r "model" : "openai/gpt-5" ,"b":[] }\n) ],
    [ 'twice', '{"model":"gpt-5","a":1,"model":"gpt-5"}',
        '{"model":"openai/gpt-5","a":1,"model":"openai/gpt-5"}' ],
    [ 'with escapes in its key', '{"mo\u0064e\u006C":"gpt-5"}',
        '{"mo\u0064e\u006C":"openai/gpt-5"}' ],
    [ 'with escapes in its value', '{"model":"\u0067pt\u002d5"}',
        '{"model":"openai/gpt-5"}' ],
    [ 'nested elsewhere, too',
        '{"x":{"model":"gpt-5"},"model":"gpt-5","y":[{"model":"gpt-5"}]}',
        '{"x":{"model":"gpt-5"},"model":"openai/gpt-5",'
            . '"y":[{"model":"gpt-5"}]}' ],
    [ 'in a text, too', '{"p":"\"model\":\"gpt-5\"}","model":"gpt-5"}',
        '{"p":"\"model\":\"gpt-5\"}","model":"openai/gpt-5"}' ],
    [ 'beside keys like it',
        '{"models":"gpt-5","mode":"gpt-5","Model":"gpt-5","model":"gpt-5",'
            . '"model ":"gpt-5","":"gpt-5"}',
        '{"models":"gpt-5","mode":"gpt-5","Model":"gpt-5",'
            . '"model":"openai/gpt-5","model ":"gpt-5","":"gpt-5"}' ],
    [ 'in another script', '{"模":"模型","model":"模型"}',
        '{"模":"模型","model":"模型/二"}' ],
    [ 'in another script, with escapes',
        '{"model":"\u6a21\u578B","a":"\u6a21"}',
        '{"model":"模型/二","a":"\u6a21"}' ],
    [ 'outside of the first plane', '{"model":"\ud83d\ude00"}',
        '{"model":"a\"\\\\b"}' ],
    [ 'shorter than before', '{"model":"long-name","a":1}',
        '{"model":"s","a":1}' ],
    [ 'that is not mapped', '{"model":"gpt-4",  "a":1}' ],
    [ 'that only begins like it', '{"model":"gpt-5-mini"}' ],
    [ 'that only ends like it', '{"model":"x/gpt-5"}' ],
    [ 'in another case', '{"model":"GPT-5"}' ],
    [ 'not there', '{"a":1}' ],
    [ 'only nested', '{"a":{"model":"gpt-5"}}' ],
    [ 'of an empty object', ' {} ' ],
    [ 'after much else', qq({"a":"$pad","model":"gpt-5"}),
        qq({"a":"$pad","model":"openai/gpt-5"}) ],
    [ 'before much else', qq({"model":"gpt-5","a":"$pad"}),
        qq({"model":"openai/gpt-5","a":"$pad"}) ],
);

answers([ { openai => {} } ]);
for my $case (@rewrite) {
    my ($name, $in, $out) = @$case;
    $out //= $in;

    for my $how ('memory', 'chunks', 'file', 'file and chunks', 'file only',
                 'one buffer')
    {
        my $path = $how eq 'file only' ? '/always/models/?chain=models'
                 : $how =~ /file/ ? '/file/models/?chain=models'
                 : $how eq 'one buffer' ? '/single/models/?chain=models'
                 : '/models/';
        $a->forget;
        my $r = $c->post($path, body => $in,
            headers => { 'Content-Type' => 'application/json' },
            chunked => $how =~ /chunks/ && 5);
        is($r->status, 200, "a model $name, $how: status");
        my $sent = $a->last_request;
        is($sent->{body}, $out, "a model $name, $how");
        ok(same($out, $sent), "a model $name, $how: its length");
    }
}

answers([ { openai => {} } ]);
for my $type ('application/json; charset=utf-8', 'application/x+JSON', undef) {
    $c->post('/models/', body => '{"model":"gpt-5"}',
        headers => { $type ? ('Content-Type' => $type) : () });
    is($a->last_request->{body}, '{"model":"openai/gpt-5"}',
        'a model in ' . ($type // 'no type'));
}

# each provider has names of its own
my @any = (
    [ '{"model":"gpt-4","a":1}', '{"model":"llama3","a":1}' ],
    [ '{"model":"gpt-5","a":1}', '{"model":"gpt-oss","a":1}' ],
    [ '{"model":"","a":1}', '{"model":"llama3","a":1}' ],
    [ '{"a":1}', '{"a":1}' ],
);
for my $case (@any) {
    my ($in, $out) = @$case;
    for my $path ('/models/', '/late/', '/file/models/?chain=models') {
        answers([ 503 ], [ { openai => {} } ]);
        $c->post($path, body => $in);
        my $first = $path =~ /late/ || $in !~ /gpt-5/ ? $in
                  : '{"model":"openai/gpt-5","a":1}';
        is_deeply([ map { $_->{body} } $a->requests, $b->requests ],
            [ $first, $first, $out ], "$path of $in");
    }
}

# wherever the name lies in what is read of a file at a time
answers([ { openai => {} } ]);
for my $at (64 * K - 24 .. 64 * K + 4) {
    my $in = '{"a":"' . 'x' x ($at - 8) . '","model":"gpt-5"}';
    my $out = $in =~ s/gpt-5/openai\/gpt-5/r;
    $a->forget;
    $c->post('/file/models/?chain=models', body => $in);
    ok(same($out, $a->last_request), "a model from byte $at of a file");
}

for my $size (@size[3, 4]) {
    my ($what, $length) = @$size;
    my $x = octets($length) =~ s/[^ -!#-\[\]-~]/-/gr;
    for my $at (qw(first last)) {
        my @part = (qq("a":"$x"), '"model":"gpt-5"');
        my $in = '{' . join(',', $at eq 'last' ? @part : reverse @part) . '}';
        my $out = $in =~ s/gpt-5/openai\/gpt-5/r;
        my $last = $in =~ s/gpt-5/gpt-oss/r;

        for my $how ('memory', 'a file', 'a file, in chunks') {
            answers([ 503 ], [ { openai => {} } ]);
            $c->post($how eq 'memory' ? '/models/'
                : '/file/models/?chain=models', body => $in,
                chunked => $how =~ /chunks/ && 64 * K);
            ok(same($out, $a->requests), "$what, model $at, $how");
            is($a->count, 2, "$what, model $at, $how: sent again");
            ok(same($last, $b->requests) && $b->count == 1,
                "$what, model $at, $how: fallback");
        }
    }
}


# no JSON

my %bad = ('no JSON' => 'hello', 'an array' => '[{"model":"gpt-5"}]',
    'a string' => '"model"', 'cut off' => '{"model":"gpt-5"',
    'more behind it' => '{"model":"gpt-5"} x', 'two' => '{}{}',
    'a comma too much' => '{"model":"gpt-5",}', 'blanks' => '   ',
    'a cut escape' => '{"model":"\u12"}');

answers([ { openai => {} } ]);
for my $name (sort keys %bad) {
    for my $path ('/models/', '/file/models/?chain=models') {
        my $r = $c->post($path, body => $bad{$name});
        is($r->status, 400, "$name: $path");
        is(eval { $r->json->{error}{type} }, 'invalid_request_error',
            "$name: error");
        like($r->header('content-type'), qr{^application/json}, "$name: type");
    }
}
is($a->count + $b->count, 0, 'none of it was sent');

my $r = $c->post('/claude/', body => 'hello');
is($r->status, 400, 'no JSON for Anthropic');
is(eval { $r->json->{type} }, 'error', 'its error');
is(eval { $r->json->{error}{type} }, 'invalid_request_error',
    'its error\'s type');

$r = $c->post('/plain/', body => 'hello');
is($r->status, 400, 'no JSON, no dialect');
is($r->header('content-type'), 'application/problem+json', 'its type');
is(eval { $r->json->{code} }, 'invalid_json', 'its code');
is($a->count, 0, 'it is not sent either');

$a->on('/', { body => 'x' });
$c->post('/plain/', body => '{"model":"gpt-5"}');
is($a->last_request->{body}, '{"model":"gpt-6"}', 'a model, no dialect');

# where no model is to be replaced anything goes
$a->on('/', { openai => {} });
for my $name (sort keys %bad) {
    $a->forget;
    is($c->post('/openai/', body => $bad{$name})->status, 200,
        "$name: without llm_model");
    is($a->last_request->{body}, $bad{$name}, "$name: as it was");
}
for my $type ('multipart/form-data; boundary=x', 'audio/wav', 'text/plain') {
    $a->forget;
    is($c->post('/models/', body => '{"model":"gpt-5"} --x',
        headers => { 'Content-Type' => $type })->status, 200, $type);
    is($a->last_request->{body}, '{"model":"gpt-5"} --x', "$type: as it was");
}
is($c->get('/models/')->status, 200, 'no body at all');
is($c->post('/models/', body => '')->status, 200, 'an empty body');
is($c->post('/models/', body => '', chunked => 1)->status, 200,
    'an empty body in chunks');


# answers

# what the upstream is to send is made of small pieces
my $block = octets(10_007);

for my $size (@size) {
    my ($what, $length) = @$size;
    my $piece = substr $block, 0, $length;
    my $times = int($length / length $block) || 1;
    my $x = $piece x $times;

    for my $path (qw(/a/ /buffered/ /openai/)) {
        # an empty answer is none for an LLM
        next if $path eq '/openai/' && !$length;
        my $connects = $c->connects;

        for my $framing (qw(length chunked close http10)) {
            my @more = $framing eq 'http10' ? (framing => 'close', http10 => 1)
                     : (framing => $framing);
            my $name = "$path answers $what, $framing";
            $a->on('/', { body => $piece, body_repeat => $times, @more,
                headers => { 'Content-Type' => 'audio/x' } });
            my $r = $c->get($path);
            ok($r->complete, "$name: complete");
            ok($r->body eq $x, "$name: as it was")
                or diag(length $r->body);
            is($r->header('content-type'), 'audio/x', "$name: type");
            # a held one's length is known
            is($r->framing, $framing eq 'length' ? 'length' : 'chunked',
                "$name: framing") unless $path eq '/openai/';
        }
        is($c->connects, $connects, "$path, $what: one connection");
    }
}

for my $path (qw(/a/ /buffered/ /openai/)) {
    for my $framing (qw(length chunked)) {
        $a->on('/', { body => $block, body_repeat => 100, type => 'audio/x',
            framing => $framing, close_after_bytes => 300_000 });
        my $r = http($n)->get($path);
        is($r->status, 200, "$path cut, $framing");
        ok(!$r->complete, "$path cut, $framing: not complete");
        ok(length $r->body <= 300_000, "$path cut, $framing: no more bytes");
    }
}

# compressed by the provider
my $text = '{"text":"' . 'many words ' x 20_000 . '"}';
gzip(\$text, \my $zip, -Minimal => 1) or die;
for my $path (qw(/a/ /two/ /buffered/)) {
    answers([ { body => $zip, type => 'application/json',
        headers => { 'Content-Encoding' => 'gzip' } } ]);
    my $r = $c->get($path, headers => { 'Accept-Encoding' => 'gzip, br' });
    is($a->last_request->{header}{'accept-encoding'}, 'gzip, br',
        "$path: Accept-Encoding is passed on");
    is($r->header('content-encoding'), 'gzip', "$path: Content-Encoding");
    ok($r->body eq $zip, "$path: compressed as it was");
}
answers([ { openai => {} } ]);
$c->get('/openai/', headers => { 'Accept-Encoding' => 'gzip' });
is($a->last_request->{header}{'accept-encoding'}, 'identity',
    'an LLM\'s answer is to be read');

done_testing();
