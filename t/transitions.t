#!/usr/bin/env perl

# Tests for what the status tells people: chains, the last transitions, and
# breakers in the order of their states.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $http = <<'E';
    keepalive_requests 100000;
    resilience_zone zone=gateway:1m;
    resilience_tenant $http_x_tenant;
    resilience_policy p { retry 0; breaker failures=1 open=1h; }
    resilience_policy quick {
        retry 0;
        breaker failures=1 open=%%OPEN%%ms successes=1;
    }
    resilience_policy shared {
        retry 0;
        breaker failures=1 open=1h;
        breaker_provider tenants=2 open=1h;
    }
    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider alone { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider all { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_chain c { policy p; provider a; provider b; }
    resilience_chain quick { policy quick; provider a; }
    resilience_chain all { policy shared; balance weighted;
                           provider all weight=3; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass c; }
        location /quick { resilience_pass quick; }
        location /all { resilience_pass all; }
        location = /status { resilience_status; }
        location = /admin { resilience_status json admin; }
    }
E

my $n = nginx($http, vars => { A => $a->port, B => $b->port, OPEN => 100 });

sub call {
    my ($tenant, $path) = @_;
    return http($n)->get($path // '/', headers => { 'X-Tenant' => $tenant });
}

sub fails {
    my (@call) = @_;
    $a->on('/', 500);
    call(@call);
    $a->on('/', { body => 'a' });
}

sub status { http($n)->get('/status' . ($_[0] // ''))->json }

sub told {
    return map { join ' ', $_->{tenant} // '(all)',
                 @$_{qw(provider from to reason)} }
           @{ status($_[0])->{transitions} };
}

# what the configuration says

is_deeply(status()->{chains}, [
    { name => 'c', balance => 'order', providers => [ 'a', 'b' ] },
    { name => 'quick', balance => 'order', providers => [ 'a' ] },
    { name => 'all', balance => 'weighted', providers => [ 'all' ] },
], 'chains, without those that are a provider');
ok(!status()->{admin}, 'no admin');
ok(http($n)->get('/admin')->json->{admin}, 'admin');
is_deeply(status()->{transitions}, [], 'nothing has happened');

# transitions, the latest first

fails('x', '/quick');
is_deeply([ told() ], [ 'x a closed open failures' ], 'opened');
ok(wait_until(5, sub { call('x', '/quick')->body eq 'a' }), 'is asked again');
ok(wait_until(5, sub { told() == 3 }), 'and closes');
is_deeply([ told() ], [
    'x a half_open closed probes_succeeded',
    'x a open half_open open_elapsed',
    'x a closed open failures',
], 'the latest first');
my $t = status()->{transitions};
is(join(' ', map { $_->{id} } @$t), '3 2 1', 'numbered');
cmp_ok($t->[0]{ago_ms}, '<=', $t->[2]{ago_ms}, 'with their time');
cmp_ok($t->[2]{ago_ms}, '>=', 100, 'in ms');
cmp_ok($t->[2]{ago_ms}, '<', 60_000 * factor, 'of before');

# of all tenants

$a->on('/', 500);
call($_, '/all') for qw(y z);
$a->on('/', { body => 'a' });
ok(wait_until(5, sub { (told())[0] eq '(all) all closed open tenants' }),
    'the breaker of all tenants');
is_deeply([ told('?tenant=y') ], [ 'y all closed open failures' ],
    'those of one tenant');
is_deeply([ told('?provider=all') ], [ '(all) all closed open tenants',
    'z all closed open failures', 'y all closed open failures' ],
    'those of one provider');
is_deeply([ told('?tenant=y&provider=a') ], [], 'of both');

# what an administrator says

sub say_to {
    is(http($n)->post("/admin?$_[0]", body => '')->status, 200, $_[0]);
}

say_to('provider=a&tenant=x&action=open');
is((told())[0], 'x a closed open admin', 'forced open');
say_to('provider=a&tenant=x&action=open');
is(scalar(grep { /admin/ } told()), 1, 'once');
say_to('provider=a&tenant=x&action=disable');
is((told())[0], 'x a open closed admin', 'not open any more');
say_to('provider=a&tenant=x&action=auto');
is(scalar(grep { /admin/ } told()), 2, 'closed before, closed now');
say_to('provider=b&action=open');
is((told())[0], '(all) b closed open admin', 'for all');
say_to('provider=b&action=auto');
is((told())[0], '(all) b open closed admin', 'and not any more');

# a reload, also with another size

my @before = told();
ok($n->reload(gone => 1), 'reload');
is_deeply([ told() ], \@before, 'is kept over a reload');
$n->conf($http =~ s/gateway:1m/gateway:2m/r);
ok($n->reload(gone => 1), 'reload with a larger zone');
is(status()->{zone}{size}, 2 << 20, 'it is larger');
is_deeply([ told() ], \@before, 'is kept there, too');

# no more than 64

fails("t$_") for 1 .. 70;
$t = status()->{transitions};
is(scalar(@$t), 64, '64 are kept');
is($t->[0]{tenant}, 't70', 'the last');
is($t->[63]{tenant}, 't7', 'to the 64th before it');


# by state

call("u$_") for 1 .. 300;

sub walk {
    my ($arguments) = @_;
    my ($after, @found, $pages) = (0);
    while (defined $after && ++$pages < 500) {
        my $s = status("?$arguments&after=$after");
        push @found, @{ $s->{breakers} };
        $after = $s->{next};
    }
    return @found;
}

sub names { join ' ', map { "$_->{tenant}/$_->{provider}" } @_ }

my @plain = walk('limit=1000');
my @ordered = walk('limit=1000&order=state');
is(scalar(@ordered), scalar(@plain), 'in order, all are there');
is(join(' ', sort split ' ', names(@ordered)),
    join(' ', sort split ' ', names(@plain)), 'each once');
my $states = join '', map { substr $_->{state}, 0, 1 } @ordered;
like($states, qr/^o{60,}c+$/, 'the open ones first');
is(names(walk("limit=$_&order=state")), names(@ordered), "pages of $_")
    for 1, 7, 71, 72, 100;
is(names(walk("limit=$_&state=open")), names(grep { $_->{state} eq 'open' }
    @plain), "open ones alone, pages of $_") for 1, 9, 1000;
is(names(walk('state=half_open')), '', 'none is half-open');
is(names(walk('limit=3&order=state&provider=a')), names(grep {
    $_->{provider} eq 'a' } @ordered), 'of a provider');
is(names(walk('limit=1&order=state&tenant=t20')), 't20/a t20/b',
    'of a tenant, pages of 1');
is(names(walk('limit=1&tenant=t20&provider=b')), 't20/b', 'of both');
is(names(walk('tenant=' . 'x' x 65)), '', 'no tenant of 65 bytes');
is(names(walk('tenant=')), '', 'nor of none');

my %tripped = map { $_->{name} => $_->{tripped} } @{ status()->{providers} };
is($tripped{a}, scalar(grep { $_->{provider} eq 'a'
    && $_->{state} eq 'open' } @plain), 'the tripped are counted');
is($tripped{b}, 0, 'of each');

# those that have yet to hear of it are found, too

say_to('provider=a&action=open');
my $of_a = grep { $_->{provider} eq 'a' } @plain;
is(scalar(walk('state=open&provider=a&limit=11')), $of_a,
    'all of a provider that is forced open');
say_to('provider=a&action=auto');
is(scalar(walk('state=open&provider=a&limit=11')), 0, 'and not any more');

for my $bad ('order=x', 'order=', 'format=html', 'after=4294967296',
             'order=state&after=12884901888', 'after=-1',
             'order=state&after=99999999999999999999') {
    my $r = http($n)->get("/status?$bad");
    is($r->status, 400, "$bad is refused");
    ok($r->json->{error}, "$bad: with a reason");
}

done_testing();
