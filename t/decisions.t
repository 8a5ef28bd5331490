#!/usr/bin/env perl

# What becomes of an answer, or of none: its class, whether it is tried again
# at the same provider, whether the next one is asked or the client is told,
# and whether the breaker counts it. A table, and a real nginx to run it.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();
my $shut = upstream();
$shut->close_on_accept;

my %vars = (A => $a->port, B => $b->port, SHUT => $shut->port,
            SOON => 250 * factor, LONG => 20_000 * factor);

my $providers = join '', map {
    my ($dialect) = @$_;
    my $p = "llm_dialect $dialect; resilience_endpoint http://127.0.0.1:";
    "resilience_provider $dialect-a { $p%%A%%; llm_key sk-a; }\n"
    . "resilience_provider $dialect-b { $p%%B%%; llm_key sk-b; }\n"
    . "resilience_provider $dialect-own { $p%%A%%; }\n"
    . join '', map {
          my ($chain, $first, $policy) = @$_;
          "resilience_chain $dialect$chain { policy $policy;"
          . " provider $dialect-$first; provider $dialect-b; }\n"
      } [ '', 'a', 'p' ], [ '_own', 'own', 'p' ], [ '_opt', 'a', 'opt' ]
} [ 'openai' ], [ 'anthropic' ], [ 'azure' ], [ 'gemini' ], [ 'none' ];

my $n = nginx(vars => \%vars, http => <<"E");
    log_format call '\$http_x_case \$resilience_trace';
    access_log %%PREFIX%%/access.log call;
    resilience_tenant \$http_x_case;
    resilience_zone zone=z:4m;

    resilience_policy p {
        preset llm_chat;
        timeout connect=%%LONG%%ms first_byte=%%SOON%%ms idle=%%SOON%%ms
                attempt=%%LONG%%ms total=%%LONG%%ms;
        retry 1 base=1ms max=1ms;
        retry_after max=1ms;
        breaker failures=100 window=100 min_calls=100;
    }
    resilience_policy opt {
        preset llm_chat;
        retry 1 base=1ms max=1ms;
        breaker failures=100 window=100 min_calls=100;
        fallback_on connect timeout rate_limited quota auth overloaded
                    server_error stream_dropped invalid_response not_found
                    content_policy;
    }

    $providers

    resilience_provider refused {
        llm_dialect openai; resilience_endpoint http://127.0.0.1:%%PORT2%%;
    }
    resilience_provider tls {
        llm_dialect openai; resilience_endpoint https://127.0.0.1:%%SHUT%%;
    }
    resilience_chain refused { policy p; provider refused; provider openai-b; }
    resilience_chain tls { policy p; provider tls; provider openai-b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;
        location /       { resilience_pass \$http_x_chain; }
        location /status { resilience_status; }
    }
E

my $c = http($n);

my %good = (
    openai => { openai => { content => 'from b' } },
    azure => { openai => { content => 'from b' } },
    anthropic => { anthropic => { content => 'from b' } },
    gemini => { body => { candidates => [ { finishReason => 'STOP',
        content => { parts => [ { text => 'from b' } ] } } ] } },
    none => { body => 'from b' },
);

sub status { { status => @_ } }
sub body   { { status => $_[0], body => @_[1 .. $#_] } }
sub wait_s { (headers => { 'Retry-After' => $_[0] }) }
sub json_as { (type => 'application/json', @_) }

# an error as its dialect says it
sub oai {
    my ($status, $code, $type, $message, @more) = @_;
    return body($status, { error => { message => $message // 'no',
        type => $type, param => undef, code => $code } }, @more);
}

sub claude {
    my ($status, $type, $message, $detail, @more) = @_;
    return body($status, { type => 'error', request_id => 'req_1',
        error => { type => $type, message => $message // 'no',
            $detail ? (details => { error_code => $detail }) : () } }, @more);
}

sub google {
    my ($status, $name, $message, @details) = @_;
    return body($status, { error => { code => $status, status => $name,
        message => $message // 'no', details => \@details } });
}

sub detail { { '@type' => "type.googleapis.com/google.rpc.$_[0]",
               @_[1 .. $#_] } }
sub reason { detail('ErrorInfo', reason => $_[0]) }
sub delay  { detail('RetryInfo', retryDelay => $_[0]) }
sub quota  { detail('QuotaFailure', violations => [ { quotaId => $_[0] } ]) }

sub chunk {
    my ($delta, $finish, %more) = @_;
    return { data => { id => 'x', object => 'chat.completion.chunk', %more,
        choices => [ { index => 0, delta => $delta,
                       finish_reason => $finish } ] } };
}

sub stream { { type => 'text/event-stream', events => [ @_ ] } }
sub says   { { data => $_[0]{body} } }
sub parts  { (content => { parts => [ { text => 'Hello' } ] }) }
sub piece  { { data => { candidates => [ { @_ } ] } } }

my @hello = chunk({ content => 'Hello' });
my @done = { data => '[DONE]' };
my $too_long = q(This model's maximum context length is 8192 tokens.);
my %refusal = (type => 'message', content => [], stop_reason => 'refusal');
my @refusal = ({ event => 'message_delta', data => { type => 'message_delta',
    delta => { stop_reason => 'refusal' } } },
    { event => 'message_stop', data => { type => 'message_stop' } });
my %blocked = (promptFeedback => { blockReason => 'SAFETY' });
my $bad_key = google(400, 'INVALID_ARGUMENT', 'API key not valid.',
    reason('API_KEY_INVALID'));

# retry: asked again at the same provider, once (the policy's number);
# next: the second provider is asked; client: this is what the client gets;
# gone: the client gets an error of the module's own, of that status;
# broken: the client had a part of it, and an error ends it

my @table = (

    # the connection
    [ 'refused', 'refused', undef, 'connect', 'retry next', 1 ],
    [ 'TLS handshake', 'tls', undef, 'connect', 'retry next', 1 ],
    [ 'reset', 'openai', { reset_before_header => 1 },
      'connect', 'retry next', 1 ],
    [ 'closed', 'openai', { close_before_header => 1 },
      'connect', 'retry next', 1 ],
    [ 'silence', 'openai', { silent => 1 }, 'timeout', 'next', 1 ],
    [ '525', 'openai', status(525), 'connect', 'next', 1 ],
    [ '526', 'openai', status(526), 'connect', 'next', 1 ],

    # the request
    [ '400', 'openai', oai(400, undef, 'invalid_request_error'),
      'client_error', 'client', 0 ],
    [ '400', 'anthropic', claude(400, 'invalid_request_error'),
      'client_error', 'client', 0 ],
    [ '400', 'gemini', google(400, 'INVALID_ARGUMENT'),
      'client_error', 'client', 0 ],
    [ '422', 'openai', body(422, { detail => [ { loc => [ 'body' ],
          msg => 'prompt is too long', type => 'x' } ] }),
      'client_error', 'client', 0 ],
    map({ [ $_, 'openai', status($_), 'client_error', 'client', 0 ] }
        405, 406, 411, 412, 414, 415, 424, 431),
    [ 'an echo of the prompt', 'openai', oai(400, undef,
          'invalid_request_error', 'bad value: "prompt is too long", or '
          . "'your credit balance is too low'"),
      'client_error', 'client', 0 ],
    [ 'string_above_max_length', 'openai',
      oai(400, 'string_above_max_length', 'invalid_request_error',
          'string too long'), 'client_error', 'client', 0 ],

    # the context
    [ 'context, code', 'openai', oai(400, 'context_length_exceeded'),
      'context_length', 'client', 0 ],
    [ 'context, text', 'openai', oai(400, undef, undef, $too_long),
      'context_length', 'client', 0 ],
    [ 'context, vLLM', 'openai', oai(400, 400, 'BadRequestError', $too_long),
      'context_length', 'client', 0 ],
    [ 'context, llama.cpp', 'openai', oai(400, 400,
          'exceed_context_size_error', 'the request exceeds the available '
          . 'context size'), 'context_length', 'client', 0 ],
    [ 'context, Cohere', 'openai', body(400, { message => 'too many tokens' }),
      'context_length', 'client', 0 ],
    [ 'context, Together', 'openai', oai(403, undef, undef,
          '`inputs` tokens + `max_new_tokens` must be <= 4097'),
      'context_length', 'client', 0 ],
    [ 'context', 'anthropic', claude(400, 'invalid_request_error',
          'prompt is too long: 207310 tokens > 200000 maximum'),
      'context_length', 'client', 0 ],
    [ 'context', 'gemini', google(400, 'INVALID_ARGUMENT', 'The input token '
          . 'count (9) exceeds the maximum number of tokens allowed (8).'),
      'context_length', 'client', 0 ],

    # the content
    [ 'policy', 'openai', oai(400, 'content_policy_violation'),
      'content_policy', 'client', 0 ],
    [ 'policy', 'azure', body(400, { error => { code => 'content_filter',
          message => 'The response was filtered', status => 400,
          innererror => { code => 'ResponsibleAIPolicyViolation' } } }),
      'content_policy', 'client', 0 ],
    [ 'policy, opted', 'azure_opt', oai(400, 'content_filter'),
      'content_policy', 'next', 0 ],
    [ 'moderation, OpenRouter', 'openai', body(403, { error => { code => 403,
          message => 'flagged', metadata => { reasons => [ 'violence' ] } } }),
      'content_policy', 'client', 0 ],
    [ 'blocked', 'gemini', body(200, \%blocked),
      'content_policy', 'client', 0 ],
    [ 'blocked, opted', 'gemini_opt', body(200, \%blocked),
      'content_policy', 'next', 0 ],
    [ 'blocked, stream', 'gemini', stream({ data => \%blocked }),
      'content_policy', 'client', 0 ],
    [ 'blocked, stream, opted', 'gemini_opt', stream({ data => \%blocked }),
      'content_policy', 'next', 0 ],
    [ 'refusal', 'anthropic', body(200, \%refusal),
      'content_policy', 'client', 0 ],
    [ 'refusal, opted', 'anthropic_opt', body(200, \%refusal),
      'content_policy', 'next', 0 ],
    [ 'refusal, stream', 'anthropic', stream(@refusal),
      'content_policy', 'client', 0 ],
    [ 'refusal, stream, opted', 'anthropic_opt', stream(@refusal),
      'content_policy', 'next', 0 ],

    # the key
    [ '401', 'openai', oai(401, 'invalid_api_key'), 'auth', 'next', 0 ],
    [ '401', 'anthropic', claude(401, 'authentication_error'),
      'auth', 'next', 0 ],
    [ '401, the caller\'s', 'openai_own', oai(401, 'invalid_api_key'),
      'client_error', 'client', 0 ],
    [ '401, the caller\'s', 'anthropic_own',
      claude(401, 'authentication_error'), 'client_error', 'client', 0 ],
    [ '403 region', 'openai',
      oai(403, 'unsupported_country_region_territory'), 'auth', 'next', 0 ],
    [ '403', 'gemini', google(403, 'PERMISSION_DENIED'), 'auth', 'next', 0 ],
    [ 'API_KEY_INVALID', 'gemini', $bad_key, 'auth', 'next', 0 ],
    [ 'API_KEY_INVALID, likeness', 'openai',
      { status => 400, body => [ $bad_key->{body} ] }, 'auth', 'next', 0 ],
    [ 'API_KEY_INVALID, the caller\'s', 'gemini_own', $bad_key,
      'client_error', 'client', 0 ],
    [ 'FAILED_PRECONDITION', 'gemini', google(400, 'FAILED_PRECONDITION'),
      'quota', 'next', 0 ],

    # money
    [ '402', 'openai', oai(402, undef, undef, 'Insufficient Balance'),
      'quota', 'next', 0 ],
    [ '402 in flight, OpenRouter', 'openai', body(402, { error => {
          code => 402, message => 'x', metadata => {
              limit_source => 'openrouter_in_flight_budget' } } },
          wait_s(2)), 'quota', 'next', 0 ],
    map({ [ "429 $_", 'openai', oai(429, $_), 'quota', 'next', 0 ] }
        qw(insufficient_quota credit_balance_exhausted
           organization_spend_limit_exceeded project_spend_limit_exceeded
           organization_usage_limit_exceeded billing_not_active
           billing_hard_limit_reached)),
    [ '429 type insufficient_quota', 'azure',
      oai(429, undef, 'insufficient_quota'), 'quota', 'next', 0 ],
    [ '400 spend limit', 'anthropic', claude(400, 'invalid_request_error',
          'You have reached your specified API usage limits.'),
      'quota', 'next', 0 ],
    [ '429 spend limit', 'anthropic', claude(429, 'rate_limit_error', 'x',
          'enforced_spend_limit_reached', wait_s(1)), 'quota', 'next', 0 ],
    [ '429 without a wait', 'anthropic', claude(429, 'rate_limit_error'),
      'quota', 'next', 0 ],
    [ '429 PerDay', 'gemini', google(429, 'RESOURCE_EXHAUSTED', 'x',
          quota('GenerateRequestsPerDayPerProjectPerModel-FreeTier')),
      'quota', 'next', 0 ],
    [ '429 in 35617.7s', 'gemini', google(429, 'RESOURCE_EXHAUSTED', 'x',
          delay('35617.7s')), 'quota', 'next', 0 ],
    [ '429 limit: 0', 'gemini', google(429, 'RESOURCE_EXHAUSTED',
          'Quota exceeded for metric: x, limit: 0, model: y'),
      'quota', 'next', 0 ],
    [ '429 PerDay, likeness', 'openai', { status => 429, body => [
          google(429, 'RESOURCE_EXHAUSTED', 'x', quota('XPerDay'))->{body} ] },
      'quota', 'next', 0 ],

    # pace
    [ '429', 'openai', oai(429, 'rate_limit_exceeded', 'requests'),
      'rate_limited', 'retry next', 0 ],
    [ '429, a long wait', 'openai', oai(429, 'rate_limit_exceeded', 'requests',
          'x', wait_s(90)), 'rate_limited', 'next', 0 ],
    [ '429, a long wait', 'anthropic', claude(429, 'rate_limit_error', 'x',
          undef, wait_s(90)), 'rate_limited', 'next', 0 ],
    [ '429 ramp', 'anthropic', claude(429, 'rate_limit_error', 'x',
          'ramp_limit_exceeded'), 'rate_limited', 'retry next', 0 ],
    [ '429 PerMinute', 'gemini', google(429, 'RESOURCE_EXHAUSTED',
          'You exceeded your current quota, please check, limit: 15',
          quota('GenerateRequestsPerMinutePerProject'), delay('46s')),
      'rate_limited', undef, 0 ],
    [ '429 high demand', 'azure', oai(429, '429', undef,
          'System is experiencing high demand'), 'overloaded', 'next', 1 ],
    [ '429 slow_down', 'openai', oai(429, 'slow_down', 'rate_limit_error'),
      'overloaded', 'next', 1 ],
    [ '429 capacity, Mistral', 'openai', body(429, { object => 'error',
          message => 'Service tier capacity exceeded for this model.',
          type => 'x', code => '3505' }), 'overloaded', 'next', 1 ],
    [ '429 too many asked for', 'azure', oai(429, '429', undef,
          'token budget exceeded by request parameters'),
      'client_error', 'client', 0 ],
    [ '413', 'openai', status(413), 'client_error', 'client', 0 ],
    [ '413 tokens, Groq', 'openai', oai(413, 'rate_limit_exceeded', 'tokens'),
      'rate_limited', 'next', 0 ],
    [ '498, Groq', 'openai', oai(498, undef, 'capacity_exceeded'),
      'rate_limited', 'next', 0 ],

    # the model
    [ '404', 'openai', oai(404, 'model_not_found'), 'not_found', 'next', 0 ],
    [ '404', 'azure', oai(404, 'DeploymentNotFound'), 'not_found', 'next', 0 ],
    [ '404', 'anthropic', claude(404, 'not_found_error'),
      'not_found', 'next', 0 ],
    [ '404', 'gemini', google(404, 'NOT_FOUND'), 'not_found', 'next', 0 ],
    [ '410', 'openai', status(410), 'not_found', 'next', 0 ],

    # once more
    [ '408', 'openai', status(408), 'timeout', 'retry next', 1 ],
    [ '409', 'openai', status(409), 'client_error', 'retry client', 0 ],
    [ '409', 'anthropic', claude(409, 'conflict_error'),
      'client_error', 'retry client', 0 ],
    [ '425', 'openai', status(425), 'client_error', 'retry client', 0 ],

    # the provider
    [ '499', 'openai', status(499), 'cancelled', 'next', 0 ],
    [ '500', 'openai', status(500), 'server_error', 'retry next', 1 ],
    [ '500', 'anthropic', claude(500, 'api_error'),
      'server_error', 'retry next', 1 ],
    [ '500', 'gemini', google(500, 'INTERNAL'),
      'server_error', 'retry next', 1 ],
    map({ [ $_, 'openai', status($_), 'server_error', 'next', 0 ] } 501, 505),
    map({ [ $_, 'openai', status($_), 'server_error', 'retry next', 1 ] }
        502, 520 .. 523, 530),
    [ '503', 'openai', oai(503, 'server_is_overloaded'),
      'overloaded', 'retry next', 1 ],
    [ '503', 'gemini', google(503, 'UNAVAILABLE'),
      'overloaded', 'retry next', 1 ],
    [ '503, Ollama', 'openai', body(503, { error => 'server busy' }),
      'overloaded', 'retry next', 1 ],
    [ '503, a wait', 'openai', status(503, wait_s(90)),
      'overloaded', 'next', 1 ],
    map({ [ $_, 'openai', status($_), 'timeout', 'next', 1 ] } 504, 524),
    [ '504', 'gemini', google(504, 'DEADLINE_EXCEEDED'),
      'timeout', 'next', 1 ],
    [ '529', 'anthropic', claude(529, 'overloaded_error'),
      'overloaded', 'retry next', 1 ],
    map({ [ $_, 'openai', status($_, headers => { Location => '/x' }),
            'invalid_response', 'gone 502', 0 ] } 301, 302, 307),

    # a good status
    [ 'empty', 'openai', body(200, '', json_as()),
      'invalid_response', 'next', 1 ],
    [ 'no JSON', 'openai', body(200, '{"x', json_as()),
      'invalid_response', 'next', 1 ],
    [ 'no JSON', 'gemini', body(200, '{"x', json_as()),
      'invalid_response', 'next', 1 ],
    [ 'a page', 'openai', body(200, '<html>', type => 'text/html'),
      'invalid_response', 'next', 1 ],
    [ 'too short', 'openai', { body => { x => 'y' x 500 },
          close_after_bytes => 100 }, 'stream_dropped', 'next', 1 ],
    [ '200, 503 within', 'openai', oai(200, 503),
      'overloaded', 'retry next', 1 ],
    [ '200, no money', 'openai', oai(200, 'insufficient_quota'),
      'quota', 'next', 0 ],
    [ '200, 503 within', 'gemini', { status => 200,
          body => google(503, 'UNAVAILABLE')->{body} },
      'overloaded', 'retry next', 1 ],
    [ '200, overloaded within', 'anthropic', claude(200, 'overloaded_error'),
      'overloaded', 'retry next', 1 ],
    [ '200, an error in a choice', 'openai', body(200, { choices => [ {
          error => { code => 502, message => 'x' },
          finish_reason => 'error' } ] }), 'server_error', 'retry next', 1 ],
    [ '200, finish_reason error', 'openai', body(200, { choices => [ {
          finish_reason => 'error' } ] }), 'server_error', 'retry next', 1 ],
    [ '200, DeepSeek', 'openai', body(200, { choices => [ {
          finish_reason => 'insufficient_system_resource' } ] }),
      'overloaded', 'retry next', 1 ],
    [ '200, malformed', 'gemini', body(200, { candidates => [ {
          finishReason => 'MALFORMED_FUNCTION_CALL' } ] }),
      'invalid_response', 'next', 1 ],

    # a stream, before anything of it was passed on
    [ 'stream, 503', 'openai', stream(says(oai(0, 503))),
      'overloaded', 'retry next', 1 ],
    [ 'stream, no money', 'openai', stream(says(oai(0, 'insufficient_quota'))),
      'quota', 'next', 0 ],
    [ 'stream, context', 'openai',
      stream(says(oai(0, 'context_length_exceeded'))),
      'context_length', 'client', 0 ],
    [ 'stream, overloaded', 'anthropic', stream({ event => 'error',
          %{ says(claude(0, 'overloaded_error')) } }),
      'overloaded', 'retry next', 1 ],
    [ 'stream, 503', 'gemini', stream(says(google(503, 'UNAVAILABLE'))),
      'overloaded', 'retry next', 1 ],
    [ 'stream, comments only', 'openai', stream({ comment => 'ping' }),
      'invalid_response', 'next', 1 ],
    [ 'stream, silence', 'openai', { %{ stream({ comment => 'ping' }) },
          end => 'stall' }, 'timeout', 'next', 1 ],

    # and after that
    [ 'stream, then 503', 'openai', stream(@hello, says(oai(0, 503))),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, then pace', 'openai',
      stream(@hello, says(oai(0, 'rate_limit_exceeded'))),
      'stream_dropped', 'broken', 0 ],
    [ 'stream, then 500 and [DONE], vLLM', 'openai', stream(@hello,
          says(oai(0, 500, 'InternalServerError')), @done),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, OpenRouter', 'openai', stream(@hello,
          chunk({}, 'error', error => { code => 502, message => 'x' })),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, x_groq.error', 'openai', stream(@hello,
          chunk({}, undef, x_groq => { error => 'over' }), @done),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, finish_reason error', 'openai',
      stream(@hello, chunk({}, 'error'), @done),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, DeepSeek', 'openai',
      stream(@hello, chunk({}, 'insufficient_system_resource'), @done),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, no end', 'openai', stream(@hello),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, no end', 'gemini', stream(piece(parts())),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, malformed', 'gemini', stream(piece(parts()),
          piece(finishReason => 'MALFORMED_FUNCTION_CALL')),
      'stream_dropped', 'broken', 1 ],
    [ 'stream, then silence', 'openai', { %{ stream(@hello) },
          end => 'stall' }, 'stream_dropped', 'broken', 1 ],

    # all is well
    [ 'stream', 'openai', stream(@hello, chunk({}, 'stop'), @done),
      'success', 'client', 0 ],
    [ 'stream, filters', 'azure', stream(
          { data => { choices => [], id => '', model => '', object => '',
                      prompt_filter_results => [ { prompt_index => 0 } ] } },
          @hello, chunk({}, 'stop'),
          { data => { id => '', model => '', choices => [ { index => 0,
              finish_reason => undef, content_filter_offsets => {} } ] } },
          @done), 'success', 'client', 0 ],
    [ 'stream of one chunk', 'gemini',
      stream(piece(parts(), finishReason => 'STOP')),
      'success', 'client', 0 ],
    [ 'array of chunks', 'gemini',
      body(200, [ piece(parts())->{data}, { usageMetadata => {} } ]),
      'success', 'client', 0 ],

    # by the status alone
    [ '302', 'none', status(302), 'success', 'client', 0 ],
    [ '409', 'none', status(409), 'client_error', 'client', 0 ],
    [ '501', 'none', status(501), 'server_error', 'retry next', 1 ],
    [ '503', 'none', status(503), 'overloaded', 'retry next', 1 ],
);

my $case = 0;

for my $row (@table) {
    my ($name, $chain, $answer, $class, $way, $blamed) = @$row;

    $case++;
    my ($dialect) = $chain =~ /^(openai|anthropic|azure|gemini|none)/;
    $dialect //= 'openai';
    $name = "$dialect, $name";

    # a kept connection that was closed would be no failure
    $_->drop(idle => 1), $_->forget for $a, $b;
    $a->on('/', $answer) if $answer;
    $b->on('/', $good{$dialect});

    my $r = $c->post('/v1/x', { model => 'm' },
        headers => { 'X-Case' => $case, 'X-Chain' => $chain });

    ok($n->wait_access_log(qr/^$case /), "$name: ended");
    my ($trace) = map { /^$case (.*)/ } $n->access_log(qr/^$case /);
    my @trace = map { [ /^(\S+?):(\w+):(\d+):/ ] } split /, /, $trace;

    is($trace[0][1], $class, "$name: class") or diag($trace);

    my $next = $trace[-1][0] =~ /-b$/ ? 1 : 0;
    my $retry = @trace - $next > 1 ? 'retry ' : '';

    if (!defined $way) {
        ok($next, "$name: next");
    }
    elsif ($way =~ /^gone (\d+)/) {
        is($r->status, $1, "$name: status");
        is($r->header('location'), undef, "$name: nowhere to go");
        is(@trace, 1, "$name: asked once") or diag($trace);
    }
    elsif ($way eq 'broken') {
        is(@trace, 1, "$name: asked once") or diag($trace);
        like($r->body, qr/Hello.*"error":/s, "$name: ends with an error");
        unlike($r->body, qr/\[DONE\]/, "$name: and nothing else");
        ok($r->complete, "$name: properly");
    }
    else {
        is($retry . ($next ? 'next' : 'client'), $way, "$name: way")
            or diag($trace);
        if ($next) {
            like($r->body, qr/from b/, "$name: answer of the next");
        }
        else {
            is($r->status, $answer->{status} // 200, "$name: status");
        }
    }

    my ($cell) = @{ $c->get("/status?tenant=$case&provider=$trace[0][0]")
        ->json->{breakers} };
    is($cell->{failures} ? 1 : 0, $blamed, "$name: breaker");
}

done_testing();
