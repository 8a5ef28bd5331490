#!/usr/bin/env perl

# Tests with CopilotKit's mock server as the provider, which nobody here wrote,
# and with the SDKs of OpenAI, Anthropic and Google: an answer, a fallback, and
# a stream that breaks off.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use IPC::Open2;
use JSON::PP;

my $dir = "$FindBin::Bin/sdk";
my ($major) = `node --version 2>/dev/null` =~ /^v(\d+)/;
plan skip_all => 'no node >= 20' if ($major // 0) < 20;
plan skip_all => 'no aimock, scripts/npm-ci t/sdk installs it'
    if !-d "$dir/node_modules/\@copilotkit/aimock";

my $json = JSON::PP->new->canonical;

# a client that is stuck must not be waited for
alarm 120 * factor;

my $mock = open2(my $said, my $mock_in, 'node', "$dir/aimock.mjs");
my ($first, $second) = @{ $json->decode(scalar <$said>) };

my $n = nginx(<<'CONF', vars => { A => $first, B => $second });
    resilience_policy p {
        preset llm_chat;
        retry 0;
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

my $node = open2(my $from, my $to, 'node', "$dir/client.mjs");
$to->autoflush(1);

sub asks {
    my ($sdk, $prompt, $stream) = @_;
    print {$to} $json->encode({ id => 1, sdk => $sdk, prompt => $prompt,
        stream => $stream ? \1 : \0, headers => { 'X-Chain' => $sdk },
        base_url => 'http://127.0.0.1:' . $n->port
                    . ($sdk eq 'openai' ? '/v1' : '') }), "\n";
    return $json->decode(scalar <$from>);
}

for my $sdk (qw(openai anthropic gemini)) {
    for my $stream (0, 1) {
        my $name = $sdk . ($stream ? ', streamed' : '');
        my $r = asks($sdk, 'hello', $stream);
        is($r->{text}, 'from the first', "$name: an answer")
            or diag($json->encode($r));
        ok($r->{finish}, "$name: to its end");

        $r = asks($sdk, 'fail', $stream);
        is($r->{text}, 'from the second', "$name: a fallback")
            or diag($json->encode($r));
    }

    my $r = asks($sdk, 'break', 1);
    ok(!$r->{ok} && $r->{error}{api}, "$sdk: a stream that breaks off raises")
        or diag($json->encode($r));
    like($r->{text}, qr/^a st/, "$sdk: what came before is there");
}

close $_ for $to, $mock_in;
waitpid $_, 0 for $node, $mock;

done_testing();
