#!/usr/bin/env perl

# Tests for tenants and for the status.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    log_format call '$resilience_tenant|$resilience_chain|$status';
    access_log %%PREFIX%%/access.log call;

    keepalive_requests 100000;
    resilience_zone zone=gw:1m;
    resilience_policy p { retry 0; breaker failures=1 open=1h; }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider idle { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_chain c { policy p; provider a; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location /one/ { resilience_pass c; }
        location /tenant/ {
            resilience_tenant $http_x_tenant;
            resilience_pass c;
        }
        location /hash/ {
            resilience_tenant $http_x_api_key hash;
            resilience_pass c;
        }
        location /required/ {
            resilience_tenant $http_x_tenant required;
            resilience_pass c;
        }
        location = /status { resilience_status; }
        location = /json   { resilience_status json; }
    }
E

my $c = http($n);

sub call {
    my ($path, %headers) = @_;
    return $c->get($path, headers => \%headers);
}

sub status { http($n)->get("/status$_[0]")->json }

# nothing yet

my $r = $c->get('/status');
is($r->status, 200, 'status');
is($r->header('content-type'), 'application/json', 'type');
is($r->header('cache-control'), 'no-store', 'not to be stored');
my $s = $r->json;
is($s->{zone}{name}, 'gw', 'zone name');
is($s->{zone}{size}, 1048576, 'zone size');
is($s->{zone}{cells}, 0, 'no cells');
cmp_ok($s->{zone}{capacity}, '>', 1000, 'capacity');
is($s->{zone}{evictions}, 0, 'no evictions');
is($s->{workers}, 2, 'workers');
is($s->{draining} ? 1 : 0, 0, 'not draining');
is(join(' ', map { $_->{name} } @{ $s->{providers} }), 'a b idle',
    'providers in the order of the configuration');
is_deeply($s->{breakers}, [], 'no breakers');
is($s->{next}, undef, 'no next page');
is($c->get('/json')->json->{zone}{name}, 'gw', 'json');
is($c->head('/status')->status, 200, 'HEAD');
is($c->post('/status', body => '')->status, 405, 'POST');


# counts

call('/one/') for 1 .. 3;
$a->on('/', 500);
call('/one/');
$a->on('/', { body => 'a' });
call('/one/');

# a success is counted when its end was passed on, so a client may be faster
ok(wait_until(5, sub {
    $s = status('');
    return !grep { $_->{inflight} } @{ $s->{providers} } }), 'all are over');
my %p = map { $_->{name} => $_ } @{ $s->{providers} };
is($p{a}{attempts}, 4, 'attempts');
is($p{a}{successes}, 3, 'successes');
is_deeply($p{a}{failures}, { server_error => 1, breaker_open => 1 },
    'failures by class');
is($p{a}{inflight}, 0, 'nothing in flight');
is($p{b}{attempts}, 2, 'attempts of the fallback');
delete $p{idle}{breaker}{since_ms};
is_deeply(delete $p{idle}{latency_ms}, { p50 => undef, p95 => undef,
    p99 => undef }, 'latencies of none');
is_deeply(delete $p{idle}{tokens}, { input => 0, output => 0 }, 'no tokens');
is_deeply(delete $p{idle}{retry_denied}, { max_retries => 0, deadline => 0,
    budget => 0, non_idempotent => 0 }, 'no retry denied');
is_deeply($p{idle}, { name => 'idle', inflight => 0, attempts => 0,
    successes => 0, failures => {}, tripped => 0, breaker => { state => 'closed',
    forced => undef, rejected => 0, opened => 0, closed => 0,
    retry_in_ms => 0 } }, 'a provider that was not called');
is($s->{zone}{cells}, 2, 'two cells');
cmp_ok($s->{zone}{used}, '>=', 2 * 200, 'used bytes');

my ($br) = grep { $_->{provider} eq 'a' } @{ $s->{breakers} };
is($br->{tenant}, '-', 'tenant');
is($br->{state}, 'open', 'state');
is($br->{successes}, 3, 'successes');
is($br->{failures}, 1, 'failures');
is($br->{rejected}, 1, 'rejected');
is($br->{opened}, 1, 'opened');
is($br->{closed}, 0, 'closed');
is($br->{error_rate}, 25, 'error rate');
cmp_ok($br->{retry_in_ms}, '>', 3_000_000, 'retry_in_ms');
cmp_ok($br->{since_ms}, '<', 60_000, 'since_ms');

# in flight

$b->on('/', { hold => 'go', body => 'b' });
my $running = http($n)->start(GET => '/one/');
ok($b->wait_held(1), 'a call runs');
$s = status('?provider=b');
is($s->{providers}[0]{inflight}, 1, 'in flight at the provider');
is($s->{breakers}[0]{inflight}, 1, 'in flight of the tenant');
$b->release('go');
$running->read_until_end;
ok(wait_until(5, sub { status('?provider=b')->{providers}[0]{inflight} == 0 }),
    'over');


# tenants

call('/tenant/', 'X-Tenant' => 'acme');
is(status('?tenant=acme')->{breakers}[0]{tenant}, 'acme', 'a tenant by name');
call('/tenant/');
is(scalar(@{ status('?tenant=-')->{breakers} }), 2, 'no value is "-"');

my $long = 'x' x 64;
call('/tenant/', 'X-Tenant' => $long);
is(status("?tenant=$long")->{breakers}[0]{tenant}, $long, '64 bytes as is');
call('/tenant/', 'X-Tenant' => 'y' x 65);
my ($hashed) = map { $_->{tenant} } grep { $_->{tenant} =~ /^[0-9a-f]{16}$/ }
               @{ status('')->{breakers} };
ok($hashed, '65 bytes are hashed');
call('/tenant/', 'X-Tenant' => 'y' x 65);
ok(wait_until(5, sub {
    return status("?tenant=$hashed")->{breakers}[0]{successes} == 2 }),
    'to the same every time');

call('/hash/', 'X-Api-Key' => 'sk-secret');
call('/hash/', 'X-Api-Key' => 'sk-other');
my $body = $c->get('/status')->body;
unlike($body, qr/sk-/, 'a hashed tenant is not shown');
is(scalar(grep { $_->{tenant} =~ /^[0-9a-f]{16}$/ }
          @{ status('')->{breakers} }), 3, 'but told apart');

is(call('/required/')->status, 401, 'required');
is(call('/required/', 'X-Tenant' => 'z')->status, 200, 'required and given');

my $odd = "a\"\\<b>\xc3\xa9\x01&=";
$r = http($n)->get('/tenant/', headers => { 'X-Tenant' => $odd =~ s/\x01//r });
is($r->status, 200, 'odd characters');
is(scalar(grep { $_->{tenant} eq "a\"\\<b>\x{e9}&=" }
          @{ status('')->{breakers} }), 1, 'are written as JSON wants them');
is(scalar(@{ status('?tenant=a%22%5C%3Cb%3E%C3%A9%26%3D')->{breakers} }), 1,
    'and can be asked for');
call('/tenant/', 'X-Tenant' => "\xff\xfe");
is($c->get('/status')->status, 200, 'no UTF-8');
ok(eval { status(''); 1 }, 'is still JSON');

ok($n->wait_access_log(qr/^acme\|c\|200$/), '$resilience_tenant');
ok($n->wait_access_log(qr/^$hashed\|c\|200$/), 'hashed there, too');
unlike($n->log, qr/sk-/, 'no key is in the log');


# filters and pages

is(join(' ', map { $_->{name} } @{ status('?provider=b')->{providers} }), 'b',
    'by provider');
is(scalar(grep { $_->{provider} ne 'b' }
          @{ status('?provider=b')->{breakers} }), 0, 'breakers by provider');
is_deeply([ map { $_->{tenant} } @{ status('?state=open')->{breakers} } ],
    [ '-' ], 'by state');
is(scalar(@{ status('?state=half_open')->{breakers} }), 0, 'half_open');
is_deeply(status('?tenant=nobody')->{breakers}, [], 'by unknown tenant');
is_deeply(status('?provider=nobody')->{providers}, [], 'by unknown provider');

call('/tenant/', 'X-Tenant' => "page$_") for 1 .. 250;
$s = status('');
is(scalar(@{ $s->{breakers} }), 100, 'a page has 100');
ok($s->{next}, 'and says where the next begins');

my (%seen, $pages);
my $after = 0;
while (defined $after && ++$pages < 100) {
    $s = status("?limit=37&after=$after");
    cmp_ok(scalar(@{ $s->{breakers} }), '<=', 37, 'limit')
        if @{ $s->{breakers} } > 37;
    $seen{"$_->{tenant} $_->{provider}"}++ for @{ $s->{breakers} };
    $after = $s->{next};
}
is(scalar(keys %seen), status('')->{zone}{cells}, 'pages have all');
is(scalar(grep { $_ > 1 } values %seen), 0, 'once each');

for my $bad ('state=x', 'limit=0', 'limit=x', 'limit=100000', 'after=x') {
    $r = $c->get("/status?$bad");
    is($r->status, 400, "$bad is refused");
    ok($r->json->{error}, "$bad: with a reason");
}


# a zone that is full gives up what was used least

my $capacity = status('')->{zone}{capacity};
my $left = $capacity - status('')->{zone}{cells};
my $pipe = http($n);
for (my $i = 0; $i < $left + 50; $i += 50) {
    $pipe->send_raw(join '', map { $pipe->bytes_of(GET => '/tenant/',
        headers => { 'X-Tenant' => "full$_" }) } $i .. $i + 49);
    $pipe->read_response for 1 .. 50;
}
$s = status('?limit=1');
is($s->{zone}{cells}, $capacity, 'full');
cmp_ok($s->{zone}{evictions}, '>', 0, 'evictions');
is(status('?state=open')->{breakers}[0]{tenant}, '-', 'the open one is kept');
is(scalar(@{ status('?tenant=acme')->{breakers} }), 0, 'the oldest is gone');
ok($n->wait_log(qr/\[warn\].*zone "gw" is full/), 'told in the log');

done_testing();
