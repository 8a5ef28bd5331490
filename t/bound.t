#!/usr/bin/env perl

# Tests for requests that are bound to a provider: what refers to something
# that it keeps, or carries what it alone can read, goes to no other one.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();

my $n = nginx(<<'CONF', vars => { A => $a->port, B => $b->port });
    client_body_buffer_size 8k;
    client_max_body_size 10m;

    resilience_policy p {
        retry 1 base=1ms max=1ms;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_provider openai_a {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider openai_b {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider anthropic_a {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider anthropic_b {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider gemini_a {
        llm_dialect gemini;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider gemini_b {
        llm_dialect gemini;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider none_a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider none_b { resilience_endpoint http://127.0.0.1:%%B%%; }

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
    resilience_chain none { policy p; provider none_a; provider none_b; }
    resilience_chain balanced {
        policy p;
        balance weighted;
        provider openai_a weight=0;
        provider openai_b weight=1;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass $http_x_chain; }
    }
CONF

$a->on('/', { status => 500, body => '{}', type => 'application/json' });
$b->on('/', { body => '{"from":"b"}', type => 'application/json' });

my $c = http($n);

# how often each was asked
sub asked {
    my ($chain, $path, $body, %headers) = @_;
    $_->forget for $a, $b;
    $c->post($path, body => $body,
        headers => { 'Content-Type' => 'application/json',
                     'X-Chain' => $chain, %headers });
    return $a->count . '+' . $b->count;
}

my $responses = '/v1/responses';
my $chat = '/v1/chat/completions';
my $messages = '/v1/messages';
my $generate = '/v1beta/models/m:generateContent';

# bound ones: tried again, but not elsewhere
for my $case (
    [ openai => $responses, '{"previous_response_id":"resp_1"}' ],
    [ openai => $responses, '{"conversation":"conv_1"}' ],
    [ openai => $responses, '{"conversation": {"id" : "conv_1"}}' ],
    [ openai => $responses, '{"input":[{"type":"reasoning",'
        . '"encrypted_content":"gAAA"}]}' ],
    [ openai => $responses, '{"input":[{"type":"item_reference","id":"x"}]}' ],
    [ openai => $chat, '{"messages":[{"content":[{"type":"file",'
        . '"file":{"file_id":"file-1"}}]}]}' ],
    [ openai => '/v1/responses/resp_1/cancel', '' ],
    [ openai => '/v1/files', '' ],
    [ openai => '/v1/batches', '{}' ],
    [ anthropic => $messages, '{"messages":[{"content":[{"type":"thinking",'
        . '"thinking":"","signature":"s"}]}]}' ],
    [ anthropic => $messages, '{"messages":[{"content":[{"type":'
        . '"redacted_thinking","data":"d"}]}]}' ],
    [ anthropic => "$messages/batches", '{}' ],
    [ gemini => $generate, '{"contents":[{"parts":[{"thoughtSignature":'
        . '"s"}]}]}' ],
    [ gemini => $generate, '{"cachedContent":"cachedContents/1"}' ],
) {
    my ($chain, $path, $body) = @$case;
    is(asked(@$case), '2+0', "$chain $path $body");
}

# others, though they have the words
for my $case (
    [ openai => $responses, '{"input":"hi"}' ],
    [ openai => $responses, '{"previous_response_id":null,"input":"hi"}' ],
    [ openai => $responses, '{"input":"\"previous_response_id\":\"resp_1\""}' ],
    [ openai => $chat, '{"tools":[{"function":{"parameters":'
        . '{"properties":{"file_id":{"type":"string"}}}}}]}' ],
    [ anthropic => $messages, '{"thinking":{"type":"enabled"},"messages":[]}' ],
    [ gemini => $generate, '{"contents":[]}' ],
    [ none => $responses, '{"previous_response_id":"resp_1"}' ],
    [ none => '/v1/files', '' ],
) {
    my ($chain, $path, $body) = @$case;
    is(asked(@$case), '2+1', "$chain $path $body moves on");
}
is(asked('openai', $responses, '{"previous_response_id":"resp_1"}',
    'Content-Type' => 'text/plain'), '2+1', 'what is no JSON is not read');

# wherever it stands in a long body, in memory or in a file
my $long = 'x' x 200_000;
is(asked('openai', $responses, qq({"input":"$long",)
    . '"previous_response_id":"resp_1"}'), '2+0', 'at the end of a file');
is(asked('openai', $responses, '{"previous_response_id":"resp_1",'
    . qq("input":"$long"})), '2+0', 'at its begin');
is(asked('openai', $responses, qq({"input":"$long"})), '2+1', 'nowhere in it');

# the provider that keeps it is taken to be the first
is(asked('balanced', $responses, '{"input":"hi"}'), '0+1', 'as it is balanced');
is(asked('balanced', $responses, '{"previous_response_id":"resp_1"}'), '2+0',
    'bound: not by balance');

ok($n->wait_log(qr/\[info\].*request is bound to provider "openai_a"/),
    'it is logged');

done_testing();
