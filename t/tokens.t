#!/usr/bin/env perl

# Tests for tokens: what answers and streams tell of them, wherever it stands;
# streams that are asked to tell, and whose client sees nothing of it.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Digest::SHA qw(sha256_hex);
use JSON::PP ();

my $a = upstream();
my $b = upstream();

my $http = <<'E';
    resilience_zone zone=gw:1m state=state/gw;
    client_max_body_size 30m;
    log_format call '$arg_n|$resilience_provider|$llm_model'
                    '|$llm_input_tokens|$llm_output_tokens';
    access_log %%PREFIX%%/access.log call;

    resilience_policy p {
        preset llm_chat;
        timeout first_byte=20s idle=20s attempt=60s;
        retry 0;
        breaker off;
    }

    resilience_provider oa {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider ob {
        llm_dialect openai;
        llm_model * other;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider oq {
        llm_dialect openai;
        llm_usage off;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider nohold {
        llm_dialect openai;
        llm_hold 0;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider buffered {
        llm_dialect openai;
        proxy_buffering on;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider aa {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider na { resilience_endpoint http://127.0.0.1:%%A%%; }

    resilience_chain oa       { policy p; provider oa; }
    resilience_chain ob       { policy p; provider ob; }
    resilience_chain oq       { policy p; provider oq; }
    resilience_chain nohold   { policy p; provider nohold; }
    resilience_chain buffered { policy p; provider buffered; }
    resilience_chain aa       { policy p; provider aa; }
    resilience_chain na       { policy p; provider na; }
    resilience_chain quiet    { policy p; provider oq; provider ob; }
    resilience_chain both     { policy p; provider oa; provider ob; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location ~ ^/(?<chain>\w+)/ { resilience_pass $chain; }
        location = /status  { resilience_status; }
        location = /metrics { resilience_status prometheus; }
    }
E

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => $http,
              files => { 'state/.keep' => '' });

my $calls = 0;
my $chat = '/v1/chat/completions';

# what an answer that came to the client is logged with
sub logged {
    my $line;
    ok(wait_until(5, sub { ($line) = $n->access_log(qr/^$calls\|/); $line }),
       'logged') or return '';
    return $line =~ s/^\d+\|//r;
}

sub call {
    my ($chain, $path, %opt) = @_;
    $calls++;
    my $c = http($n);
    return $c->request($opt{method} // 'POST', "/$chain$path?n=$calls",
        headers => { 'Content-Type' => $opt{type} // 'application/json' },
        body => $opt{body} // '{"model":"m","messages":[]}',
        chunked => $opt{chunked} // 0, timeout => 30);
}

sub said { $a->on('/', @_); $_->forget for $a, $b }

sub told {
    my ($name, $want, $chain, $path, @answer) = @_;
    said(@answer);
    my $r = call($chain, $path);
    is($r->status, 200, "$name: status");
    ok($r->complete, "$name: complete");
    is(logged(), "$chain|m|$want", "$name: tokens");
    return $r;
}

my $usage = '{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}';


# answers

told('a chat completion', '9|2', 'oa', $chat, { openai => { content => 'a b' } });
told('none is told', '-|-', 'oa', $chat, { body => { choices => [] } });
told('null', '-|-', 'oa', $chat, { body => { choices => [], usage => undef } });
told('zero', '0|0', 'oa', $chat, { body => { choices => [],
    usage => { prompt_tokens => 0, completion_tokens => 0 } } });
told('embeddings', '8|-', 'oa', '/v1/embeddings', { type => 'application/json',
    body => '{"object":"list","data":[{"embedding":[0.1,-2e-5]}],'
          . '"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}' });
told('a response', '36|87', 'oa', '/v1/responses', { body => {
    object => 'response', output => [ { usage => { input_tokens => 1 } } ],
    metadata => { usage => '"usage":{"input_tokens":2}' },
    usage => { input_tokens => 36, input_tokens_details => {
        cached_tokens => 30 }, output_tokens => 87 } } });
told('no numbers', '-|-', 'oa', $chat, { type => 'application/json', body =>
    '{"usage":{"prompt_tokens":"9","completion_tokens":-1}}' });
told('messages', '60|7', 'aa', '/v1/messages', { anthropic => { usage => {
    input_tokens => 10, cache_creation_input_tokens => 20,
    cache_read_input_tokens => 30, output_tokens => 7 } } });
told('no dialect', '-|-', 'na', $chat, { openai => {} });
told('an answer that is no JSON', '-|-', 'oa', '/v1/audio/speech',
    { type => 'audio/mpeg', body => 'usage' . "\xff{" x 100_000 });

# answers that are not held: at the end, in the middle, at the start

for my $chain (qw(oa nohold buffered)) {
    my $text = 'x \"usage\":{\"prompt_tokens\":1} ' x 20_000;
    my @parts = ("\"choices\":[{\"message\":{\"content\":\"$text\"}}]",
                 '"a":{"usage":{"prompt_tokens":2}}', "\"usage\":$usage");
    for my $order ([ 0, 1, 2 ], [ 1, 2, 0 ], [ 2, 1, 0 ]) {
        my $body = '{' . join(',', @parts[@$order]) . '}';
        my $r = told("long, $chain @$order", '19|10', $chain, $chat,
            { type => 'application/json', body => $body });
        ok($r->body eq $body, "long, $chain @$order: untouched");
    }
}
told('a long list of numbers', '5|-', 'oa', '/v1/embeddings', { type =>
    'application/json', body => '{"data":[{"embedding":['
    . join(',', ('-0.0123456789') x 50_000)
    . ']}],"usage":{"prompt_tokens":5}}' });

# a winner's tokens are the call's

said({ status => 500, body => { usage => { prompt_tokens => 1 } } });
$b->on('/', { openai => { content => 'a b c' } });
is(call('both', $chat)->status, 200, 'failed over');
is(logged(), 'ob|other|9|3', 'the winner counts');

said({ status => 500, body => 'no' });
$b->on('/', 500);
call('both', $chat);
is(logged(), '-|m|-|-', 'no winner, no tokens');


# streams

my $d = JSON::PP->new->canonical;

sub chunk {
    my (%more) = @_;
    return 'data: ' . $d->encode({ id => 'c', choices => [ { index => 0,
        delta => { content => 'Hi' }, finish_reason => undef } ], %more });
}

my $tells = "data: {\"id\":\"c\",\"choices\":[],\"usage\":$usage}";

# bytes of a stream, as an answer; in pieces that end at the offsets
sub bytes {
    my ($bytes, @at) = @_;
    my ($from, @pieces) = (0);
    for my $to (@at, length $bytes) {
        push @pieces, { raw => substr($bytes, $from, $to - $from),
                        @pieces ? (gap_ms => 4) : () } if $to > $from;
        $from = $to;
    }
    return { type => 'text/event-stream', events => \@pieces };
}

my $asks = '{"model":"m","stream":true}';

sub streamed {
    my ($name, $chain, $bytes, $want, $tokens, @at) = @_;
    said(bytes($bytes, @at));
    my $r = call($chain, $chat, body => $asks);
    return 1 if $r->complete && $r->body eq $want && logged() =~ /$tokens$/;
    ok(0, $name);
    is($r->body, $want, "$name: body");
    like(logged(), qr/$tokens$/, "$name: tokens");
    return 0;
}

for my $end ([ LF => "\n" ], [ CRLF => "\r\n" ], [ CR => "\r" ]) {
    my ($name, $eol) = @$end;
    my $before = join '', map { "$_$eol$eol" } ': hello', chunk(),
        chunk(usage => undef);
    my $chunk = "id: 7$eol$tells$eol$eol";
    my $after = ": bye$eol$eol" . "data: [DONE]$eol$eol";
    my ($all, $want) = ($before . $chunk . $after, $before . $after);

    ok(streamed("$name, whole", $_, $all, $want, '19\|10'), "$name, $_, whole")
        for qw(oa nohold buffered);

    # cut anywhere from the event before to the end
    my $from = length($before) - 20;
    my $good = 1;
    for my $at ($from .. length($all) - 1) {
        $good &= streamed("$name, cut at $at", 'oa', $all, $want, '19\|10',
                          $at);
        last unless $good;
    }
    ok($good, "$name, cut anywhere");
    ok(streamed("$name, bytes", 'oa', $all, $want, '19\|10',
                length($before) - 3 .. length($before . $chunk) + 3),
       "$name, byte by byte");
}

my $good = chunk() . "\n\n";
my $done = "data: [DONE]\n\n";

for my $case (
    [ 'at the very start', "$tells\n\n$good$done", "$good$done", 1 ],
    [ 'twice', "$good$tells\n\n$good$tells\n\n$done", "$good$good$done", 1 ],
    [ 'behind an event without data', "${good}id: 1\n\n$tells\n\n$done",
      "${good}id: 1\n\n$done", 1 ],
    [ 'in several lines', $good . "data: {\"choices\":[],\ndata: \"usage\":"
      . "$usage}\n\n$done", "$good$done", 1 ],
    [ 'no space', $good . ($tells =~ s/: /:/r) . "\n\n$done", "$good$done", 1 ],
    [ 'with the last choice', chunk(usage => { prompt_tokens => 19,
      completion_tokens => 10 }) . "\n\n$done", undef, 1 ],
    [ 'no usage', "$good$done", undef, 0 ],
    [ 'no choices and no usage',
      "data: {\"choices\":[]}\n\n$good$done", undef, 0 ],
    [ 'behind its mark', "$good$done$tells\n\n", "$good$done", 1 ],
    [ 'Groq\'s own place', "$good" . 'data: {"choices":[{"delta":{},'
      . '"finish_reason":"stop"}],"x_groq":{"usage":' . "$usage}}\n\n$done",
      undef, 1 ],
) {
    my ($name, $bytes, $want, $tokens) = @$case;
    ok(streamed($name, 'oa', $bytes, $want // $bytes,
                $tokens ? '19\|10' : '-\|-', @$_), "$name, " . scalar @$_)
        for [], [ 1 .. length($bytes) - 1 ];
}

# a long event is never the one, and is not kept

my $long = 'data: {"choices":[],"x":"' . 'y' x 100_000
    . "\",\"usage\":$usage}\n\n";
ok(streamed('a long event', 'oa', "$good$long$done", "$good$long$done",
            '19\|10'), 'a long event passes, and is read');

# a stream that breaks off

said({ %{ bytes($good . substr $tells, 0, 30) }, end => 'rst' });
my $r = call('oa', $chat, body => $asks);
like($r->body, qr/^\Q$good\E\n*data: \{"error"/, 'what is not whole is not sent');
is(logged(), 'oa|m|-|-', 'and not counted');

# with a length that is not that of what is sent

said({ type => 'text/event-stream', framing => 'length',
       body => "$good$tells\n\n$done" });
$r = call('oa', $chat, body => $asks);
is($r->body, "$good$done", 'a stream with a length');
ok($r->complete, 'and that is not told');

# a client that reads slowly gets each byte once

{
    my $ten = join '', map { chunk(id => $_) . "\n\n" } 1 .. 10;
    my $much = $ten x 10_000;
    said(bytes("$much$tells\n\n$much$tells\n\n$done"));
    $calls++;
    my $c = http($n, rcvbuf => 4096, read_size => 65536);
    my $s = $c->start(POST => "/oa$chat?n=$calls", body => $asks,
                      headers => { 'Content-Type' => 'application/json' });
    ok($s->wait_header, 'a slow client: header');
    # the provider is held up as long as nothing is read
    ok(!$a->wait_done(1, 0.3), 'a slow client: all is full');
    ok($s->read_until_end(30), 'a slow client: complete');
    ok($s->body eq "$much$much$done", 'a slow client: every byte, once');
    is(logged(), 'oa|m|19|10', 'a slow client: tokens');
}

# what else streams tell

told('messages, streamed', '60|2', 'aa', '/v1/messages', { anthropic => {
    stream => 1, content => 'a b', usage => { input_tokens => 10,
    cache_creation_input_tokens => 20, cache_read_input_tokens => 30,
    output_tokens => 2 } } });

sub message_events {
    return { events => [ map { { event => $_->{type}, data => $_ } }
        { type => 'message_start', message => { usage => {
            input_tokens => 5, output_tokens => 1 } } },
        { type => 'content_block_delta', delta => { type => 'text_delta',
            text => 'x' } },
        @_, { type => 'message_stop' } ] };
}
told('deltas are totals', '25|40', 'aa', '/v1/messages', message_events(
    { type => 'message_delta', usage => { output_tokens => 30 } },
    { type => 'message_delta', usage => { output_tokens => 40,
        input_tokens => 25 } }));
said({ %{ message_events() }, reset_after_events => 2 });
call('aa', '/v1/messages');
is(logged(), 'aa|m|5|1', 'of a stream that broke off, as far as it went');

for my $size (100, 1 << 20) {
    my $text = 'x' x $size;
    my $bytes = "event: response.created\n"
        . 'data: {"type":"response.created","response":{"usage":null}}' . "\n\n"
        . "event: response.output_text.delta\n"
        . 'data: {"type":"response.output_text.delta","delta":"x"}' . "\n\n"
        . "event: response.completed\n"
        . 'data: {"type":"response.completed","response":{"output":[{"content":'
        . "[{\"text\":\"$text\"}],\"usage\":{\"input_tokens\":1}}],\"usage\":{"
        . '"input_tokens":36,"output_tokens":87},"tools":["' . $text
        . "\"]}}\n\n";
    my $r = told("a response, streamed, $size", '36|87', 'oa', '/v1/responses',
                 bytes($bytes));
    ok($r->body eq $bytes, "a response, streamed, $size: untouched");
}


# what is asked of a provider

sub sent {
    my ($chain, $body, %opt) = @_;
    said(bytes("$good$done"));
    $b->on('/', bytes("$good$done"));
    call($chain, $opt{path} // $chat, body => $body, %opt);
    my $u = $opt{to} // $a;
    return $u->last_request;
}

my $ask = '"stream_options":{"include_usage":true}';

for my $case (
    [ 'nothing', '{"stream":true}', "{\"stream\":true,$ask}" ],
    [ 'spaces', ' { "stream" : true , "x" : 1 } ',
      " { \"stream\" : true,$ask , \"x\" : 1 } " ],
    [ 'null', '{"stream":true,"stream_options":null}',
      "{\"stream\":true,$ask}" ],
    [ 'an empty object', '{"stream_options": { } ,"stream":true}',
      '{"stream_options": {"include_usage":true} ,"stream":true}' ],
    [ 'false', '{"stream":true,"stream_options":{"include_usage":false}}',
      "{\"stream\":true,$ask}" ],
    [ 'null inside', '{"stream":true,"stream_options":{"include_usage": null}}',
      "{\"stream\":true,$ask}" ],
    [ 'another option', '{"stream":true,"stream_options":{ '
      . '"include_obfuscation" : false , "x":{"y":[1]}}}',
      '{"stream":true,"stream_options":{"include_usage":true,'
      . '"include_obfuscation":false,"x":{"y":[1]}}}' ],
    [ 'several', '{"stream_options":{"a":1},"stream":true,"stream_options":'
      . '{"b":2},"stream":true}', '{"stream_options":{"include_usage":true,'
      . '"b":2},"stream":true,"stream_options":{"include_usage":true,"b":2},'
      . '"stream":true}' ],
    [ 'two streams', '{"stream":true,"stream":true}',
      "{\"stream\":true,\"stream\":true,$ask}" ],
    [ 'other letters', '{"str\u0065am":true,"stream\u005foptions":null}',
      '{"str\u0065am":true,"stream\u005foptions":{"include_usage":true}}' ],

    [ 'it is asked', '{"stream":true,"stream_options":{"include_usage":true}}' ],
    [ 'it is asked in another way',
      '{"stream":true,"stream_options":{"include_usage":1}}' ],
    [ 'no stream', '{"stream":false}' ],
    [ 'a stream of null', '{"stream":null}' ],
    [ 'a stream of text', '{"stream":"true"}' ],
    [ 'a stream and none', '{"stream":true,"stream":false}' ],
    [ 'none and a stream', '{"stream":false,"stream":true}' ],
    [ 'not said', '{"messages":[{"stream":true}]}' ],
    [ 'options that are none', '{"stream":true,"stream_options":"x"}' ],
    [ 'options that are long', '{"stream":true,"stream_options":{"x":"'
      . 'y' x 3000 . '"}}' ],
    [ 'too many', '{' . join(',', ('"stream":true') x 40) . '}' ],
    [ 'an array', '[{"stream":true}]' ],
    [ 'no JSON', '{"stream":true' ],
) {
    my ($name, $body, $want) = @$case;
    my $q = sent('oa', $body);
    is($q->{body}, $want // $body, "asked: $name");
    is($q->{header}{'content-length'}, length($want // $body),
        "asked: $name: length");
}
is(sent('oa', '')->{body}, '', 'asked: nothing at all');

for my $case (
    [ 'a provider that is not asked', chain => 'oq' ],
    [ 'no dialect', chain => 'na' ],
    [ 'another dialect', chain => 'aa', path => '/v1/messages' ],
    [ 'responses', path => '/v1/responses' ],
    [ 'another path', path => '/v1/completions/x' ],
    [ 'a body of another type', type => 'text/plain' ],
    [ 'PUT', method => 'PUT' ],
) {
    my ($name, %opt) = @$case;
    is(sent(delete $opt{chain} // 'oa', $asks, %opt)->{body}, $asks,
        "not asked: $name");
}
is(sent('oa', $asks, path => '/v1/completions')->{body},
    "{\"model\":\"m\",\"stream\":true,$ask}", 'asked: completions');
is(sent('ob', $asks, to => $b)->{body},
    "{\"model\":\"other\",\"stream\":true,$ask}", 'asked: and another model');
is(sent('oa', $asks, chunked => 3)->{body},
    "{\"model\":\"m\",\"stream\":true,$ask}", 'asked: in chunks');

# what must be changed, and can't be

$r = call('ob', $chat, body => '{"model":"m","stream":true');
is($r->status, 400, 'no JSON where the model is to be changed');
is($r->json->{error}{code}, 'invalid_json', 'is said in the dialect');

# one that asked gets it all

said({ openai => { stream => 1, content => 'a b' } });
$r = call('oa', $chat, body => "{\"stream\":true,$ask}");
is(scalar(grep { /"choices":\[\]/ } map { $_->{data} } $r->events), 1,
    'asked by the client: the chunk');
is(logged(), 'oa|-|9|2', 'asked by the client: tokens');
$r = call('oa', $chat, body => '{"stream":true}');
is(scalar(grep { /"choices":\[\]/ } map { $_->{data} } $r->events), 0,
    'not asked by the client: no chunk');
is($r->text, 'a b', 'not asked by the client: the rest');
is(logged(), 'oa|-|9|2', 'not asked by the client: tokens');

said(bytes("$good$tells\n\n$done"));
is(call('oq', $chat, body => $asks)->body, "$good$tells\n\n$done",
    'what was not asked for is not taken out');
is(logged(), 'oq|m|19|10', 'but counted');

# one provider is asked, the other is not

said(500);
$b->on('/', bytes("$good$tells\n\n$done"));
$r = call('quiet', $chat, body => $asks);
is($a->last_request->{body}, $asks, 'the first is not asked');
is($b->last_request->{body}, "{\"model\":\"other\",\"stream\":true,$ask}",
    'the second is');
is($r->body, "$good$done", 'and its answer is the client\'s');
is(logged(), 'ob|other|19|10', 'tokens of the second');

# long bodies, in memory and in a file

for my $case ([ 20 << 20, 0 ], [ 20 << 20, 1 << 20 ], [ 100_000, 777 ]) {
    my ($size, $chunked) = @$case;
    my $text = 'a \"stream\":false ' x ($size / 36);
    my ($head, $tail) = ("{\"messages\":\"$text\",\"stream\":true",
                         ",\"model\":\"x\",\"more\":\"$text\"}");
    my $q = sent('oa', $head . $tail, chunked => $chunked);
    is($q->{sha256}, sha256_hex("$head,$ask$tail"),
        "asked: $size bytes, $chunked");
    is($q->{header}{'content-length'}, length("$head,$ask$tail"),
        "asked: $size bytes, $chunked: length");
}


# counts

sub counts {
    my %p = map { $_->{name} => $_ } @{ http($n)->get('/status')->json
                                        ->{providers} };
    my ($input, $output) = @{ $p{$_[0]}{tokens} }{qw(input output)};
    my %m = http($n)->get('/metrics')->body =~
        /^(llm_tokens_total\{provider="$_[0]",direction="\w+"\}) (\d+)$/mg;
    is($m{qq(llm_tokens_total{provider="$_[0]",direction="input"})}, $input,
        'metric: input');
    is($m{qq(llm_tokens_total{provider="$_[0]",direction="output"})}, $output,
        'metric: output');
    return [ $input, $output ];
}

is_deeply(counts('na'), [ 0, 0 ], 'counts of no dialect');
my $before = counts('aa');
told('once more', '60|7', 'aa', '/v1/messages', { anthropic => { usage => {
    input_tokens => 10, cache_creation_input_tokens => 20,
    cache_read_input_tokens => 30, output_tokens => 7 } } });
my $after = counts('aa');
is_deeply($after, [ $before->[0] + 60, $before->[1] + 7 ], 'counted once');

$n->conf($http =~ s/gw:1m/gw:2m/r);
ok($n->reload(gone => 1), 'reload with a larger zone');
is_deeply(counts('aa'), $after, 'counts are kept');

ok($n->stop, 'stop');
$n->start;
is_deeply(counts('aa'), $after, 'counts outlive a restart');


# configuration

for my $case (
    [ 'llm_usage maybe;', qr/invalid value "maybe" in "llm_usage" directive, it must be "on" or "off"/ ],
    [ 'llm_usage on; llm_usage off;', qr/"llm_usage" directive is duplicate/ ],
    [ 'llm_usage;', qr/invalid number of arguments in "llm_usage"/ ],
) {
    my ($text, $re) = @$case;
    config_error("resilience_provider x { $text return 200; }", $re, $text);
}
config_error('server { location / { llm_usage off; } }',
    qr/"llm_usage" directive is allowed in the block of a "resilience_provider" only/,
    'llm_usage elsewhere');

done_testing();
