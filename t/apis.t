#!/usr/bin/env perl

# Tests for APIs that are no LLM's: plain HTTP, FastCGI, uwsgi, SCGI,
# memcached and gRPC, each with retries, fallbacks and breakers.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;
use Resilience::Wire;

use IO::Handle;
use IPC::Open2 qw(open2);
use JSON::PP ();

my %pass = (
    http      => 'proxy_pass http://127.0.0.1:%%PORT%%;',
    fastcgi   => 'fastcgi_pass 127.0.0.1:%%PORT%%;
                  fastcgi_param REQUEST_METHOD $request_method;
                  fastcgi_param REQUEST_URI $request_uri;
                  fastcgi_param CONTENT_LENGTH $content_length;',
    uwsgi     => 'uwsgi_pass 127.0.0.1:%%PORT%%;
                  uwsgi_param REQUEST_METHOD $request_method;
                  uwsgi_param REQUEST_URI $request_uri;
                  uwsgi_param CONTENT_LENGTH $content_length;',
    scgi      => 'scgi_pass 127.0.0.1:%%PORT%%;
                  scgi_param CONTENT_LENGTH $content_length;
                  scgi_param REQUEST_METHOD $request_method;
                  scgi_param REQUEST_URI $request_uri;',
    memcached => 'set $memcached_key $uri; memcached_pass 127.0.0.1:%%PORT%%;',
);

my $policies = <<'E';
    resilience_tenant $http_x_tenant;
    log_format call '$resilience_trace|$resilience_outcome|$status|$uri';
    access_log %%PREFIX%%/access.log call;

    resilience_policy twice {
        retry 1 base=1ms max=2ms;
        breaker off;
        timeout attempt=5s;
    }
    resilience_policy short { retry 0; breaker off; timeout attempt=300ms; }
    resilience_policy trips {
        retry 0;
        breaker failures=2 open=1h;
        timeout attempt=5s;
    }
E

sub config {
    my ($pass, $port_a, $port_b) = @_;
    my ($a, $b) = map { my $text = $pass; $text =~ s/%%PORT%%/$_/; $text }
                  $port_a, $port_b;
    return <<"E";
    $policies
    resilience_provider a { $a }
    resilience_provider b { $b }
    resilience_chain twice { policy twice; provider a; provider b; }
    resilience_chain short { policy short; provider a; provider b; }
    resilience_chain trips { policy trips; provider a;
                             fallback 503 "busy"; }
    resilience_chain alone { policy twice; provider a; }
E
}

my $locations = <<'E';
        location /short/ { resilience_pass short; }
        location /trips/ { resilience_pass trips; }
        location /alone/ { resilience_pass alone; }
        location / { resilience_pass twice; }
E


for my $protocol (qw(http fastcgi uwsgi scgi memcached)) {
    subtest $protocol => sub {
        my ($a, $b) = map { $protocol eq 'http' ? upstream()
                            : Resilience::Wire->new($protocol) } 1, 2;
        my $on = sub {
            my ($u, @answers) = @_;
            $u->on($protocol eq 'http' ? '/' : (), @answers);
            $u->forget;
        };
        my $n = nginx(config($pass{$protocol}, $a->port, $b->port)
            . "server { listen 127.0.0.1:%%PORT%%; $locations }");
        my $c = http($n);
        my $memcached = $protocol eq 'memcached';
        my $broken = $memcached ? { error => 1 } : { status => 503 };

        $on->($a, { body => 'from a' });
        $on->($b, { body => 'from b' });
        my $r = $c->get('/x');
        is($r->status, 200, 'status');
        is($r->body, 'from a', 'body');

        if ($memcached) {
            is($a->last_request->{key}, '/x', 'key');
            $on->($a, { miss => 1 });
            is($c->get('/x')->status, 404, 'a miss');
            is($a->count . '+' . $b->count, '1+0', 'is no failure');
        }
        else {
            $r = $c->post('/y?z=1', body => 'sent');
            is($r->body, 'from a', 'POST');
            is($a->last_request->{body}, 'sent', 'with its body');
            is($a->last_request->{REQUEST_URI}
               // $a->last_request->{uri}, '/y?z=1', 'and its path');

            $on->($a, $broken, { body => 'again' });
            is($c->get('/x')->body, 'again', 'a retry');
            is($a->count . '+' . $b->count, '2+0', 'on the same provider');
        }

        $on->($a, $broken);
        $b->forget;
        is($c->get('/x')->body, 'from b', 'a fallback');
        is($a->count . '+' . $b->count, $memcached ? '1+1' : '2+1',
            'after the first provider was asked');

        $on->($a, { $protocol eq 'http' ? 'close_before_header' : 'close', 1 });
        is($c->get('/x')->body, 'from b', 'a connection that is closed');

        if ($protocol =~ /cgi/) {
            $on->($a, { body => 'as it is', redirect => '/short/' });
            is($c->get('/x')->body, 'as it is', 'X-Accel-Redirect');
        }

        $on->($a, { silent => 1 });
        is($c->get('/short/')->body, 'from b', 'a provider that is silent');

        $a->refuse;
        $a->drop(idle => 1) if $protocol eq 'http';
        is($c->get('/x')->body, 'from b', 'a provider that is down');
        is($c->post('/x', body => 'x')->body, 'from b', 'POST, too')
            unless $memcached;
        $a->accept;

        $on->($a, $broken);
        $c->get('/trips/') for 1, 2;
        is($a->count, 2, 'failures');
        $r = $c->get('/trips/');
        is($r->status, 503, 'open the breaker');
        is($r->body, 'busy', 'with the fallback');
        is($a->count, 2, 'and it is not asked any more');
    };
}


# gRPC

my $dir = "$FindBin::Bin/sdk";
my ($major) = (`node --version 2>/dev/null` // '') =~ /^v(\d+)/;

SKIP: {
    skip 'gRPC needs Node.js 20 or newer, and it is not here', 1
        unless ($major // 0) >= 20;
    -d "$dir/node_modules/\@grpc/grpc-js"
        or BAIL_OUT('grpc-js is not installed: run "make sdk"');
    subtest grpc => \&grpc;
}

done_testing();


sub grpc {
    my ($a, $b) = map { grpc_process('server') } 1, 2;
    my $n = nginx(config('grpc_pass grpc://127.0.0.1:%%PORT%%;',
                         $a->{port}, $b->{port}) . <<'E');
    resilience_policy once { preset grpc; breaker off; retry 0; }
    resilience_policy again {
        preset grpc;
        breaker off;
        retry 1 base=1ms max=2ms;
    }
    resilience_chain once { policy once; provider a; provider b; }
    resilience_chain again { policy again; provider a; provider b; }
    resilience_provider down { grpc_pass grpc://127.0.0.1:%%PORT2%%; }
    resilience_chain down { policy once; provider down; provider b; }
    resilience_chain gone { policy once; provider down; }
    server {
        listen 127.0.0.1:%%PORT%% http2;
        location / { resilience_pass $http_x_chain; }
    }
E
    my $client = grpc_process('client', '127.0.0.1:' . $n->port);
    my $id = 0;

    my $call = sub {
        my ($chain, %job) = @_;
        my $header = delete $job{metadata} // {};
        return $client->{ask}({ id => ++$id, method => 'unary', %job,
            metadata => { %$header, 'x-chain' => $chain } });
    };
    my $does = sub { $_[0]{ask}($_[1]) };
    my $seen = sub { $_[0]{ask}({ ask => 1 }) };
    my $both = sub {
        $does->($a, $_[0]);
        $does->($b, $_[1] // { messages => [ 'from b' ] });
    };

    $both->({ messages => [ 'from a' ], trailers => { note => 'end' } });
    my $r = $call->('once', text => 'question', metadata => { own => 'x' });
    is($r->{code}, 0, 'unary: status');
    is_deeply($r->{messages}, [ 'from a' ], 'unary: message');
    is($r->{trailers}{note}, 'end', 'unary: trailers');
    is($seen->($a)->{last}{text}, 'question', 'unary: request');
    is($seen->($a)->{last}{metadata}{own}, 'x', 'unary: metadata');

    $both->({ messages => [ map { "m$_" } 1 .. 50 ],
              trailers => { note => 'end' } });
    $r = $call->('once', method => 'stream');
    is($r->{code}, 0, 'stream: status');
    is_deeply($r->{messages}, [ map { "m$_" } 1 .. 50 ], 'stream: messages');
    is($r->{trailers}{note}, 'end', 'stream: trailers');

    # a status with the header, or after it; before a message both fall over

    for my $late (0, 1) {
        my $how = $late ? 'in the trailers' : 'in the header';
        for my $code (14, 8) {
            $both->({ code => $code, late => $late });
            $r = $call->('once');
            is_deeply($r->{messages}, [ 'from b' ], "$code $how falls over");
        }
        for my $code (3, 5, 7, 12, 16) {
            $both->({ code => $code, details => 'no', late => $late,
                      trailers => { why => 'so' } });
            $r = $call->('once');
            is($r->{code}, $code, "$code $how is the caller's");
            is($r->{details}, 'no', "$code $how: details");
            is($r->{trailers}{why}, 'so', "$code $how: trailers");
            is($seen->($b)->{calls}, 0, "$code $how is asked once");
        }
        for my $code (13, 4) {
            $both->({ code => $code, details => 'no', late => $late });
            $r = $call->('once');
            is($r->{code}, $code, "$code $how is not sent again");
            $r = $call->('once', metadata => { 'idempotency-key' => 'k' });
            is_deeply($r->{messages}, [ 'from b' ],
                "$code $how falls over if it may be sent again");
        }
        $both->(({ code => 14, details => 'a', late => $late,
                   trailers => { why => 'so' } }) x 2);
        $r = $call->('once');
        is($r->{code}, 14, "a spent chain: status $how");
        is($r->{details}, 'a', "a spent chain: details $how");
        is($r->{trailers}{why}, 'so', "a spent chain: trailers $how");
    }

    $both->({ code => 14 });
    is_deeply($call->('again')->{messages}, [ 'from b' ], 'retries');
    is($seen->($a)->{calls}, 2, 'were made');
    ok($n->wait_access_log(qr/^(?:a:overloaded:200:\S+ ){2}b:success:200:/),
        'the trace says so');

    $both->({ messages => [ 'one' ], code => 14, details => 'cut' });
    $r = $call->('once', method => 'stream');
    is($r->{code}, 14, 'an error after a message');
    is_deeply($r->{messages}, [ 'one' ], 'comes after the message');
    ok($n->wait_access_log(qr/^a:overloaded:200:\S+\|overloaded\|200\|/),
        'and is the outcome');

    $both->({ code => 14, details => 'no' });
    my %t = (metadata => { 'x-tenant' => 'trips' });
    $call->('trips', %t) for 1, 2;
    $r = $call->('trips', %t);
    is($r->{code}, 14, 'an open breaker is UNAVAILABLE');
    is($seen->($a)->{calls}, 2, 'and does not ask');

    is_deeply($call->('down')->{messages}, [ 'from b' ], 'a server down');
    $r = $call->('gone');
    is($r->{code}, 14, 'no server left is UNAVAILABLE');

    $both->({ stall => 1 });
    is_deeply($call->('short')->{messages} , [],
        'a silent server is not asked again, the call may be under way');
    $r = $call->('short', metadata => { 'idempotency-key' => 'k' });
    is_deeply($r->{messages}, [ 'from b' ], 'unless it may be');

    $both->({ stall => 1 });
    $r = $call->('once', deadline => 200 * factor);
    is($r->{code}, 4, 'the client\'s deadline');
    ok(wait_until(5, sub { $seen->($a)->{cancelled} }),
        'cancels the call at the server');

    $both->({ messages => [ 'one' ], stall => 1 });
    $r = $call->('once', method => 'stream', deadline => 500 * factor);
    is($r->{code}, 4, 'the client\'s deadline in a stream');
    is_deeply($r->{messages}, [ 'one' ], 'that had begun');
    ok(wait_until(5, sub { $seen->($a)->{cancelled} }), 'cancels it, too');
}

sub grpc_process {
    my (@args) = @_;
    my $json = JSON::PP->new->utf8->canonical;
    my $pid = open2(my $out, my $in, 'node', "$dir/grpc.mjs", @args);
    $in->autoflush(1);
    my $self = { in => $in, pid => $pid, ask => sub {
        print {$in} $json->encode($_[0]), "\n";
        return $json->decode(scalar(readline $out) // die "node is gone\n");
    } };
    $self->{port} = $json->decode(scalar readline $out)->{port}
        if $args[0] eq 'server';
    return $self;
}
