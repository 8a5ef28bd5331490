#!/usr/bin/env perl

# Tests for an authentication service behind a chain: when it does not answer
# no one is let in.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $auth = upstream();
my $app = upstream({ body => 'secret' });

my %vars = (AUTH => $auth->port, APP => $app->port);
my $n = nginx(vars => \%vars, http => <<'E');
    resilience_policy auth {
        timeout attempt=300ms total=1s;
        retry 1 base=1ms max=2ms;
        breaker failures=3 open=1h;
    }
    resilience_provider auth {
        resilience_endpoint http://127.0.0.1:%%AUTH%%;
    }
    resilience_chain auth { policy auth; provider auth; }
    resilience_chain refusing {
        policy auth;
        provider auth;
        fallback 403;
    }

    server {
        listen unix:%%PREFIX%%/auth.sock;
        resilience_tenant $http_x_case;
        location / { resilience_pass $http_x_chain; }
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        auth_request /auth;
        auth_request_set $user $upstream_http_x_user;

        location = /auth {
            internal;
            auth_request off;
            proxy_pass http://unix:%%PREFIX%%/auth.sock:/check;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Chain auth;
            proxy_set_header X-Original-URI $request_uri;
        }
        location / {
            proxy_set_header X-User $user;
            proxy_pass http://127.0.0.1:%%APP%%;
        }
        location /refusing/ {
            auth_request /refuse;
            proxy_pass http://127.0.0.1:%%APP%%;
        }
        location = /refuse {
            internal;
            auth_request off;
            proxy_pass http://unix:%%PREFIX%%/auth.sock:/check;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Chain refusing;
        }
        location /subrequest/ {
            auth_request /direct;
            proxy_pass http://127.0.0.1:%%APP%%;
        }
        location = /direct {
            internal;
            auth_request off;
            resilience_pass auth;
        }
    }
E

my $c = http($n);

sub ask {
    my ($case, %opt) = @_;
    $app->forget;
    return $c->request($opt{body} ? 'POST' : 'GET', $opt{path} // '/x',
        body => $opt{body}, headers => { 'X-Case' => $case,
        Authorization => 'Bearer user' });
}

sub refused {
    my ($case, $status, %opt) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $r = ask($case, %opt);
    is($r->status, $status, "$case: status");
    unlike($r->body, qr/secret/, "$case: nothing of the application's");
    is($app->count, 0, "$case: which is not reached");
}


$auth->on('/', { headers => { 'X-User' => 'joe' } });
my $r = ask('ok', body => 'sent');
is($r->status, 200, 'a good credential');
is($r->body, 'secret', 'is let in');
is($app->last_request->{header}{'x-user'}, 'joe', 'with a name');
is($app->last_request->{body}, 'sent', 'with its body');
is($auth->last_request->{header}{authorization}, 'Bearer user',
    'the service is told the credential');
is($auth->last_request->{header}{'x-original-uri'}, '/x', 'and the path');
is($auth->last_request->{body_length}, 0, 'and not the body');

$auth->on('/', 500, { headers => { 'X-User' => 'ann' } });
is(ask('again')->body, 'secret', 'a retry');
is($app->last_request->{header}{'x-user'}, 'ann', 'with its answer');

$auth->on('/', 401);
refused('401', 401);
$auth->on('/', 403);
refused('403', 403);

for my $status (500, 503, 404, 302) {
    $auth->on('/', $status);
    refused("status $status", 500);
}

$auth->on('/', { silent => 1 });
refused('slow', 500);
$auth->on('/', { reset_before_header => 1 });
refused('cut', 500);

$auth->on('/', 500);
$auth->forget;
refused('open', 500) for 1 .. 3;
my $asked = $auth->count;
is($asked, 5, 'the breaker opens, and the third is not retried');
$auth->on('/', 200);
refused('open', 500);
is($auth->count, $asked, 'the service is not asked any more');

$auth->refuse, $auth->drop(idle => 1);
refused('down', 500);
refused('fallback', 403, path => '/refusing/');
refused('subrequest', 500, path => '/subrequest/');
ok($n->wait_log(qr/\[error\].*cannot be reached by a subrequest/),
    'a chain is no target of auth_request itself');
$auth->accept;
is(ask('back')->body, 'secret', 'the service is back');

done_testing();
