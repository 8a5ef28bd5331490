#!/usr/bin/env perl

# Tests for POST on a status location: what an administrator says.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $http = <<'E';
    resilience_zone zone=breakers:1m;
    resilience_tenant $http_x_tenant;
    resilience_policy p { retry 0; breaker failures=1 open=1h; }
    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_chain c { policy p; provider a; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass c; }
        location = /status { resilience_status; }
        location = /admin { resilience_status json admin; }
    }
E

my $n = nginx($http, vars => { A => $a->port, B => $b->port });

sub call {
    my ($tenant) = @_;
    return http($n)->get('/', headers => { 'X-Tenant' => $tenant })->body;
}

sub say_to {
    my ($args, %headers) = @_;
    return http($n)->post("/admin?$args", body => '', headers => \%headers);
}

sub breaker {
    my ($tenant, $provider) = @_;
    $provider //= 'a';
    my $s = http($n)->get("/status?provider=$provider&tenant=$tenant")->json;
    return $s->{breakers}[0];
}

call($_) for qw(x y z);

# one tenant

my $r = say_to('provider=a&tenant=x&action=open');
is($r->status, 200, 'open');
is($r->header('content-type'), 'application/json', 'an answer in JSON');
is($r->json->{action}, 'open', 'says what was done');
is(breaker('x')->{forced}, 'open', 'forced');
is(breaker('x')->{state}, 'open', 'is open');
is(call('x'), 'b', 'refuses');
is(call('y'), 'a', 'others are not touched');
ok($n->wait_log(qr/\[notice\].*admin:\ open\ breaker\ of\ tenant\ "x"
                   \ and\ provider\ "a"/x), 'is logged');

$a->on('/', 500);
is(say_to('provider=a&tenant=x&action=close')->status, 200, 'close');
is(breaker('x')->{forced}, 'closed', 'forced');
call('x') for 1 .. 3;
is(breaker('x')->{state}, 'closed', 'never opens');
is(breaker('x')->{failures}, 3, 'but counts');

is(say_to('provider=a&tenant=x&action=disable')->status, 200, 'disable');
is(breaker('x')->{forced}, 'disabled', 'forced');
call('x') for 1 .. 3;
is(breaker('x')->{failures}, 3, 'does not count');

is(say_to('provider=a&tenant=x&action=auto')->status, 200, 'auto');
is(breaker('x')->{forced}, undef, 'not forced');
is(breaker('x')->{state}, 'closed', 'closed at first');
call('x');
is(breaker('x')->{state}, 'open', 'and opens again by itself');

$a->on('/', { body => 'a' });
is(say_to('provider=a&tenant=x&action=reset')->status, 200, 'reset');
is(breaker('x')->{state}, 'closed', 'closed');
is(call('x'), 'a', 'admits');

# all tenants of a provider, also those that come later

is(say_to('provider=a&action=open')->status, 200, 'open for all');
is(breaker($_)->{forced}, 'open', "$_ is forced") for qw(x y z);
is(call($_), 'b', "$_ is refused") for qw(x y new);
is(breaker('new')->{forced}, 'open', 'a new one, too');
is(scalar(grep { $_->{state} ne 'open' }
    @{ http($n)->get('/status?provider=a')->json->{breakers} }), 0,
    'all are open');
is(scalar(@{ http($n)->get('/status?state=open')->json->{breakers} }), 4,
    'and found as such');
is(http($n)->get('/status?provider=a')->json->{providers}[0]{breaker}{forced},
    'open', 'so is the provider');
is(breaker('x', 'b')->{forced}, undef, 'another provider is not');
ok($n->wait_log(qr/\[notice\].*admin:\ open\ breakers\ of\ all\ tenants
                   \ of\ provider\ "a"/x), 'is logged');

ok($n->reload(gone => 1), 'reload');
is(call('x'), 'b', 'is kept over a reload');

is(say_to('provider=a&tenant=x&action=auto')->status, 200, 'auto for one');
is(call('x'), 'a', 'is for that one');
is(call('y'), 'b', 'not for others');

is(say_to('provider=a&action=auto')->status, 200, 'auto for all');
is(call($_), 'a', "$_ is admitted") for qw(x y z new);

$a->on('/', 500);
call($_) for qw(x y z);
is(breaker($_)->{state}, 'open', "$_ opened by itself") for qw(x y z);
$a->on('/', { body => 'a' });
is(say_to('provider=a&action=reset')->status, 200, 'reset for all');
is(breaker($_)->{state}, 'closed', "$_ is closed") for qw(x y z);
is(call($_), 'a', "$_ is admitted") for qw(x y z);

# what is refused

for my $bad (
    [ '', 400 ], [ 'provider=a', 400 ], [ 'action=open', 400 ],
    [ 'provider=a&action=explode', 400 ], [ 'provider=a&action=', 400 ],
    [ 'provider=nope&action=open', 404 ],
    [ 'provider=a&tenant=nobody&action=open', 404 ],
    [ 'provider=a&tenant=' . 'x' x 65 . '&action=open', 404 ],
    [ 'provider=&action=open', 404 ],
) {
    my ($args, $status) = @$bad;
    $r = say_to($args);
    is($r->status, $status, "\"$args\" is refused");
    is($r->header('content-type'), 'application/json', "\"$args\": in JSON");
    ok($r->json->{error}, "\"$args\": with a reason");
    unlike($r->body, qr/"(?:x|y|z|b)"/, "\"$args\": which tells no names");
}

$r = http($n)->post('/status?provider=a&action=open', body => '');
is($r->status, 405, 'no POST without admin');
ok($r->json->{error}, 'with a reason');
is(http($n)->put('/admin?provider=a&action=open', body => '')->status, 405,
    'no PUT');
is(http($n)->get('/admin?provider=a&action=open')->status, 200, 'GET is');
is(breaker('x')->{forced}, undef, 'for reading');

my $host = '127.0.0.1:' . $n->port;
is(say_to('provider=a&action=auto', Origin => "http://$host")->status, 200,
    'a page of its own');
for my $headers ({ Origin => 'http://evil.example' }, { Origin => 'null' },
                 { Origin => "http://$host.evil" },
                 { 'Sec-Fetch-Site' => 'cross-site' }) {
    my ($name) = %$headers;
    is(say_to('provider=a&action=open', %$headers)->status, 403,
        "$name: $headers->{$name}");
}
is(breaker('x')->{forced}, undef, 'a foreign page does nothing');

# a tenant by what its name is when it is decoded

call('a b&c');
is(say_to('provider=a&tenant=a%20b%26c&action=open')->status, 200, 'decoded');
is(breaker('a%20b%26c')->{forced}, 'open', 'and found');

done_testing();
