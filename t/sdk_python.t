#!/usr/bin/env perl

# Tests with the providers' official Python SDKs: one normal answer when the
# first provider fails, an exception when a stream breaks off, one request when
# the chain is spent.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Cwd qw(abs_path);
use IPC::Open2;
use JSON::PP;

my $python = abs_path("$FindBin::Bin/..") . '/build/venv/bin/python';
-x $python
    or plan skip_all => 'no Python SDKs, scripts/pip-venv installs them';

my $a = upstream();
my $b = upstream();

my $n = nginx(<<'CONF', vars => { A => $a->port, B => $b->port });
    resilience_policy p {
        preset llm_chat;
        retry 0;
        breaker off;
    }
    resilience_provider openai_a {
        llm_dialect openai;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider openai_b {
        llm_dialect openai;
        llm_key sk-b;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider anthropic_a {
        llm_dialect anthropic;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider anthropic_b {
        llm_dialect anthropic;
        llm_key sk-b;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider gemini_a {
        llm_dialect gemini;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider gemini_b {
        llm_dialect gemini;
        llm_key sk-b;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_chain openai {
        policy p;
        provider openai_a;
        provider openai_b;
    }
    resilience_chain anthropic {
        policy p;
        provider anthropic_a;
        provider anthropic_b;
    }
    resilience_chain gemini {
        policy p;
        provider gemini_a;
        provider gemini_b;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass $http_x_chain; }
    }
CONF

my $json = JSON::PP->new->canonical;

# a client that is stuck must not be waited for
alarm 120 * factor;

my $pid = open2(my $from, my $to, $python, "$FindBin::Bin/sdk/client.py");
$to->autoflush(1);

sub asks {
    my ($sdk, $stream) = @_;
    $_->forget for $a, $b;
    print {$to} $json->encode({ sdk => $sdk, stream => $stream ? \1 : \0,
        base => 'http://127.0.0.1:' . $n->port,
        headers => { 'X-Chain' => $sdk } }), "\n";
    return $json->decode(scalar <$from>);
}

# Gemini's answers: a chunk, and the last one
sub chunk {
    my ($text, %more) = @_;
    return { candidates => [ { index => 0, content => { role => 'model',
        parts => [ { text => $text } ] }, %more } ] };
}

sub good {
    my ($sdk, $stream, %more) = @_;
    return { $sdk => { content => 'two words' }, %more } if $sdk ne 'gemini';
    return { body => $json->encode(chunk('two words', finishReason => 'STOP')),
             type => 'application/json' } unless $stream;
    return { events => [ { data => chunk('two ') }, $more{end} ? ()
        : { data => chunk('words', finishReason => 'STOP') } ] };
}

sub bad {
    my ($sdk, $status) = @_;
    return { "${sdk}_error" => { status => $status } } if $sdk ne 'gemini';
    return { status => $status, type => 'application/json', body =>
        $json->encode({ error => { code => $status, message => 'no',
                                   status => 'UNAVAILABLE' } }) };
}

for my $sdk (qw(openai anthropic gemini)) {
    for my $stream (0, 1) {
        my $name = $sdk . ($stream ? ', streamed' : '');

        $a->on('/', good($sdk, $stream));
        $b->on('/', good($sdk, $stream));
        is(asks($sdk, $stream)->{text}, 'two words', "$name: an answer");
        is($a->count . '+' . $b->count, '1+0', "$name: of the first");

        for my $status (500, 503, 429) {
            $a->on('/', bad($sdk, $status));
            is(asks($sdk, $stream)->{text}, 'two words',
                "$name: an answer though the first says $status");
            is($a->count . '+' . $b->count, '1+1', "$name: $status: asked once");
        }

        $b->on('/', bad($sdk, 500));
        my $r = asks($sdk, $stream);
        ok($r->{error}, "$name: a spent chain is an exception");
        is($r->{status}, 429, "$name: of the first provider's");
        is($a->count . '+' . $b->count, '1+1', "$name: no request beside it");
    }

    $a->on('/', good($sdk, 1, end => 'no_terminal'));
    my $r = asks($sdk, 1);
    ok($r->{error}, "$sdk: a stream that breaks off is an exception");
    like($r->{text}, qr/^two /, "$sdk: what came before is there");
    is($a->count . '+' . $b->count, '1+0', "$sdk: that is passed on");
}

close $to;
waitpid $pid, 0;
is($?, 0, 'the client has ended well');

done_testing();
