# The providers' own SDKs, against a chain whose first provider fails in every
# way: an application must see one normal answer, or one honest error.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use IO::Handle;
use IPC::Open2 qw(open2);
use JSON::PP ();

my $version = `node --version 2>/dev/null` // '';
my ($major) = $version =~ /^v(\d+)/;
plan skip_all => 'the SDKs need Node.js 20 or newer, and it is not here'
    unless ($major // 0) >= 20;

my $dir = "$FindBin::Bin/sdk";
-d "$dir/node_modules/openai" && -d "$dir/node_modules/\@anthropic-ai/sdk"
    or BAIL_OUT('the SDKs are not installed: run "make sdk"');

my $json = JSON::PP->new->utf8->canonical;
my @sdks = qw(openai anthropic);


# two upstreams speak both dialects; a header of the request says which case
# is played, and is a tenant of its own

my $first = upstream();
my $second = upstream();

my %vars = (A => $first->port, B => $second->port, TOTAL => 10 * factor,
            SHORT => 1000 * factor, CONNECT => 1000 * factor);

my $n = nginx(<<'CONF', vars => \%vars);
    resilience_zone zone=gateway:1m;
    resilience_tenant $http_x_case;

    resilience_policy chat {
        preset llm_chat;
        timeout connect=%%CONNECT%%ms first_byte=%%SHORT%%ms
                idle=%%SHORT%%ms attempt=%%TOTAL%%s total=%%TOTAL%%s;
        retry 0;
        breaker off;
    }

    resilience_provider openai_a {
        llm_dialect openai;
        llm_key sk-a;
        # one that is kept may be reset at any time, and is then not counted
        resilience_endpoint http://127.0.0.1:%%A%% keepalive=0;
    }
    resilience_provider openai_b {
        llm_dialect openai;
        llm_key sk-b;
        llm_model * model-of-b;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider openai_dead {
        llm_dialect openai;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%PORT2%%;
    }

    resilience_provider anthropic_a {
        llm_dialect anthropic;
        llm_key sk-a;
        # one that is kept may be reset at any time, and is then not counted
        resilience_endpoint http://127.0.0.1:%%A%% keepalive=0;
    }
    resilience_provider anthropic_b {
        llm_dialect anthropic;
        llm_key sk-b;
        llm_model * model-of-b;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider anthropic_dead {
        llm_dialect anthropic;
        llm_key sk-a;
        resilience_endpoint http://127.0.0.1:%%PORT2%%;
    }

    resilience_chain openai {
        policy chat;
        provider openai_a;
        provider openai_b;
    }
    resilience_chain openai_gone {
        policy chat;
        provider openai_dead;
        provider openai_b;
    }
    resilience_chain openai_none {
        policy chat;
        provider openai_dead;
    }

    resilience_chain anthropic {
        policy chat;
        provider anthropic_a;
        provider anthropic_b;
    }
    resilience_chain anthropic_gone {
        policy chat;
        provider anthropic_dead;
        provider anthropic_b;
    }
    resilience_chain anthropic_none {
        policy chat;
        provider anthropic_dead;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_headers on;

        location / {
            resilience_pass $http_x_chain;
        }
    }
CONF

my ($from_node, $to_node);
my $node = open2($from_node, $to_node, 'node', "$dir/client.mjs");
$to_node->autoflush(1);

my $next = 0;
my %result;


# what goes wrong at the first provider

sub failed {
    my ($sdk, $status) = @_;
    return { "${sdk}_error" => { status => $status } };
}

sub error_event {
    my ($sdk) = @_;
    return $sdk eq 'openai'
        ? { data => { error => { message => 'busy', code => undef,
                                 type => 'server_error' } } }
        : { event => 'error', data => { type => 'error', error => {
                type => 'overloaded_error', message => 'busy' } } };
}

sub error_in_200 {
    my ($sdk, $stream) = @_;
    return { events => [ error_event($sdk) ] } if $stream;
    return { body => error_event($sdk)->{data} };
}

# plain: half a body; streamed: nothing but comments
sub cut {
    my ($sdk, $stream) = @_;
    return +{ $sdk => {}, reset_after_bytes => 30 } unless $stream;
    return { events => [ ({ comment => 'wait' }) x 2 ], end => 'rst' };
}

my @fault = (
    [ 'status 500' => sub { failed($_[0], 500) } ],
    [ 'status 503' => sub { failed($_[0], 503) } ],
    [ 'status 401' => sub { failed($_[0], 401) } ],
    [ 'status 429' => sub { return { %{ failed($_[0], 429) },
                                     headers => { 'Retry-After' => 7 } } } ],
    [ 'silence' => sub { { silent => 1 } } ],
    [ 'a reset before the header' => sub { { reset_before_header => 1 } } ],
    [ 'a reset in the header' => sub { { reset_in_header => 1 } } ],
    [ 'an error in a 200' => \&error_in_200 ],
    [ 'an answer cut short' => \&cut ],
    [ 'an empty 200' => sub { { type => 'application/json' } } ],
    [ 'refused' => undef ],
);

my @jobs;
for my $sdk (@sdks) {
    for my $stream (0, 1) {
        for my $fault (@fault) {
            my ($name, $answer) = @$fault;
            my $case = case($sdk, $stream, $name);
            on($first, $case, $answer->($sdk, $stream)) if $answer;
            on($second, $case, { $sdk => { content => 'two words' } });
            push @jobs, [ $sdk, $stream, $name, $answer, job($sdk, $stream,
                $case, chain => $answer ? $sdk : "${sdk}_gone") ];
        }
    }
}

for my $job (@jobs) {
    my ($sdk, $stream, $name, $reachable, $id) = @$job;
    my $case = case($sdk, $stream, $name);
    subtest $case => sub {
        my $r = result($id);
        ok($r->{ok}, 'an answer') || diag($json->encode($r));
        is($r->{text}, 'two words', 'all of it');
        is($r->{model}, 'model-of-b', 'of the second provider');
        is($r->{finish}, $sdk eq 'openai' ? 'stop' : 'end_turn', 'finished');
        is($r->{requests}, 1, 'the SDK asked once');
        is($r->{headers}{'x-resilience-provider'}, "${sdk}_b", 'header');
        if ($stream) {
            cmp_ok($r->{chunks}, '>=', 3, 'in chunks');
        }
        else {
            ok($r->{usage}, 'usage');
        }

        my @asked = of($first, $case);
        is(scalar @asked, $reachable ? 1 : 0, 'the first was asked');
        is(key_of($asked[0]), 'sk-a', 'with its key') if @asked;
        @asked = of($second, $case);
        is(scalar @asked, 1, 'the second too');
        is(key_of($asked[0]), 'sk-b', 'with its own');
    };
}


# a stream that breaks after it has begun

my @break = (
    [ 'reset' => sub { +{ $_[0] => { content => 'a b c d', stream => 1 },
                         gap_ms => 5, reset_after_events => 4 } } ],
    [ 'closed' => sub { +{ $_[0] => { content => 'a b c d', stream => 1 },
                          gap_ms => 5, close_after_events => 4 } } ],
    [ 'stalled' => sub { +{ $_[0] => { content => 'a b c d', stream => 1 },
                           gap_ms => 5, stall_after_events => 4 } } ],
    [ 'an error event' => sub {
        my ($sdk) = @_;
        my @events = $sdk eq 'openai'
            ? ({ data => { id => 'c', object => 'chat.completion.chunk',
                 created => 1, model => 'm', choices => [ { index => 0,
                 delta => { content => 'a' }, finish_reason => undef } ] } })
            : (map { { event => $_->{type}, data => $_ } }
                { type => 'message_start', message => { id => 'msg_1',
                    type => 'message', role => 'assistant', content => [],
                    model => 'm', stop_reason => undef,
                    usage => { input_tokens => 1, output_tokens => 1 } } },
                { type => 'content_block_start', index => 0,
                    content_block => { type => 'text', text => '' } },
                { type => 'content_block_delta', index => 0,
                    delta => { type => 'text_delta', text => 'a' } });
        return { gap_ms => 5, events => [ @events, error_event($sdk) ] };
    } ],
);

@jobs = ();
for my $sdk (@sdks) {
    for my $break (@break) {
        my ($name, $answer) = @$break;
        my $case = case($sdk, 1, "broken: $name");
        on($first, $case, $answer->($sdk));
        on($second, $case, { $sdk => {} });
        push @jobs, [ $case, job($sdk, 1, $case, max_retries => undef) ];
    }
}

for my $job (@jobs) {
    my ($case, $id) = @$job;
    subtest $case => sub {
        my $r = result($id);
        ok(!$r->{ok}, 'no success') || diag($json->encode($r));
        like($r->{text}, qr/^a/, 'what came is there');
        ok($r->{error}{api}, 'an error of the API')
            || diag($json->encode($r));
        is($r->{requests}, 1, 'the SDK does not ask again');
        is(scalar of($second, $case), 0, 'nor do we');
    };
}


# nothing is left

my %name = (400 => 'BadRequestError', 401 => 'AuthenticationError',
            429 => 'RateLimitError', 500 => 'InternalServerError',
            502 => 'InternalServerError', 503 => 'InternalServerError',
            504 => 'InternalServerError');
my %own_name = (anthropic => { 503 => 'ServiceUnavailableError',
                               504 => 'GatewayTimeoutError' });

@jobs = ();
for my $sdk (@sdks) {
    for my $stream (0, 1) {
        for my $status (500, 503, 429, 401) {
            my $case = case($sdk, $stream, "spent: $status");
            on($_, $case, failed($sdk, $status)) for $first, $second;
            push @jobs, [ $case, $status, 1, $sdk,
                job($sdk, $stream, $case, max_retries => undef) ];
        }

        my $case = case($sdk, $stream, 'spent: silent');
        on($_, $case, { silent => 1 }) for $first, $second;
        push @jobs, [ $case, 504, 1, $sdk,
            job($sdk, $stream, $case, max_retries => undef) ];

        $case = case($sdk, $stream, 'spent: refused');
        push @jobs, [ $case, 502, 0, $sdk, job($sdk, $stream, $case,
            max_retries => undef, chain => "${sdk}_none") ];

        # the caller's own mistake is told as it is
        $case = case($sdk, $stream, 'a bad request');
        on($first, $case, failed($sdk, 400));
        on($second, $case, { $sdk => {} });
        push @jobs, [ $case, 400, 0, $sdk,
            job($sdk, $stream, $case, max_retries => undef) ];
    }
}

for my $job (@jobs) {
    my ($case, $status, $b_asked, $sdk, $id) = @$job;
    subtest $case => sub {
        my $r = result($id);
        my $e = $r->{error} || {};
        ok(!$r->{ok}, 'no success');
        is($e->{status}, $status, 'status') || diag($json->encode($r));
        is($e->{name}, $own_name{$sdk}{$status} // $name{$status},
            'the error for it');
        ok($e->{api}, 'one of the API');
        ok($e->{type}, 'it has a type');
        is($r->{requests}, 1, 'the SDK does not ask again');
        is($e->{headers}{'x-should-retry'}, 'false', 'it is told not to')
            if $status != 400;
        is(scalar of($second, $case), $b_asked, 'the second provider');
    };
}


subtest 'a client that has heard enough' => sub {
    for my $sdk (@sdks) {
        my $case = case($sdk, 1, 'abort');
        on($first, $case, { $sdk => { content => 'a b c d', stream => 1 },
                        gap_ms => 5, stall_after_events => 5 });
        my $before = grep { $_->{aborted} } $first->requests;
        my $r = result(job($sdk, 1, $case, abort_after_chunks => 3));
        ok($r->{ok}, "$sdk: ended by the client");
        is($r->{chunks}, 3, 'after three');
        ok($first->wait_aborted($before + 1), 'the provider is told');
        is(scalar of($second, $case), 0, 'and no other is asked');
    }
};

close $to_node;
waitpid $node, 0;
is($?, 0, 'the client ended well');
$n->stop;
done_testing;


sub case {
    my ($sdk, $stream, $name) = @_;
    return "$sdk, " . ($stream ? 'streamed' : 'plain') . ", $name";
}

sub on {
    my ($upstream, $case, $answer) = @_;
    $upstream->on({ path => '/', headers => { 'X-Case' => $case } }, $answer);
}

sub of {
    my ($upstream, $case) = @_;
    return grep { ($_->{header}{'x-case'} // '') eq $case } $upstream->requests;
}

sub key_of {
    my ($request) = @_;
    my $h = $request->{header};
    my $key = join ' ', grep { defined } @$h{qw(authorization x-api-key)};
    $key =~ s/^Bearer //;
    return $key;
}

sub job {
    my ($sdk, $stream, $case, %more) = @_;
    my $chain = delete $more{chain} // $sdk;
    my $id = ++$next;
    my %job = (id => $id, sdk => $sdk, max_retries => 0, %more,
        stream => $stream ? JSON::PP::true : JSON::PP::false,
        base_url => 'http://127.0.0.1:' . $n->port
            . ($sdk eq 'openai' ? '/v1' : ''),
        timeout => 30_000 * factor,
        headers => { 'X-Case' => $case, 'X-Chain' => $chain });
    delete @job{ grep { !defined $job{$_} } keys %job };
    print {$to_node} $json->encode(\%job), "\n";
    return $id;
}

sub result {
    my ($id) = @_;
    local $SIG{ALRM} = sub {
        kill 'TERM', $node;
        die "no answer to job $id\n";
    };
    alarm 60 * factor;
    while (!$result{$id}) {
        my $line = <$from_node> // die "the client is gone\n";
        my $result = $json->decode($line);
        $result{ $result->{id} } = $result;
    }
    alarm 0;
    return $result{$id};
}
