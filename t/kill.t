#!/usr/bin/env perl

# Tests for workers that are killed: others go on, what was in flight is taken
# back, what was known stays known; also when it happens inside of the lock.

use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/kill";
use Resilience::Test;

use Memory;
use Storm;

plan skip_all => 'valgrind is too slow for its times'
    if $ENV{TEST_NGINX_VALGRIND};

my $a = upstream();

my $http = <<'E';
    resilience_zone zone=kill:1m;
    resilience_tenant $http_x_tenant;

    resilience_policy p {
        timeout attempt=500ms;
        retry 0;
        breaker failures=1 open=1ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy long { retry 0; breaker failures=2 open=1h; }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_chain a { policy p; provider a; }
    resilience_chain b { policy long; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location /a/ { resilience_pass a; }
        location /b/ { resilience_pass b; }
        location = /pid { return 200 $pid; }
        location = /status { resilience_status admin; }
    }
E

my $n = nginx(http => $http, vars => { A => $a->port },
              files => { 'more.conf' => '' },
              main => 'worker_shutdown_timeout 5s;',
              allow => [ qr/worker process \d+ exited on signal 9/,
                         qr/shared memory zone "kill" was locked by \d+/ ]);

sub call {
    my ($where, $tenant) = @_;
    return http($n)->get("/$where/", headers => { 'X-Tenant' => $tenant });
}

sub status { http($n)->get('/status?limit=1000' . ($_[0] // ''))->json }

sub inflight {
    my ($provider) = @_;
    my $s = status("&provider=$provider");
    my $sum = 0;
    $sum += $_->{inflight} for @{ $s->{breakers} };
    return $s->{providers}[0]{inflight} . " $sum";
}

sub breaker {
    my ($provider, $tenant) = @_;
    return status("&provider=$provider&tenant=$tenant")->{breakers}[0];
}

# a connection to a worker that is none of those
sub worker {
    my (@but) = @_;
    for (1 .. 2000) {
        my $c = http($n);
        my $pid = $c->get('/pid')->body;
        return ($c, $pid) unless grep { $_ == $pid } @but;
        $c->close;
    }
    die 'no other worker';
}

sub killed {
    my ($pid) = @_;
    my @others = grep { $_ != $pid } $n->workers;
    kill 'KILL', $pid;
    return wait_until(5, sub {
        my @now = $n->workers;
        return 0 if @now < 2 || grep { $_ == $pid } @now;
        return !grep { Resilience::Nginx::title($_) !~ /worker process$/ } @now;
    });
}


# what was in flight

$a->on('/b/', { hold => 'b', body => 'b' });
my ($one, $first) = worker();
my ($two, $second) = worker($first);
my %of = (headers => { 'X-Tenant' => 'x' });
my @lost = map { (worker($second))[0]->start(GET => '/b/', %of) } 1 .. 3;
my $kept = $two->start(GET => '/b/', %of);
ok($a->wait_held(4), 'four calls run');
is(inflight('b'), '4 4', 'and are counted');
ok(killed($first), 'a worker is killed');
ok(wait_until(3, sub { inflight('b') eq '1 1' }), 'three of them are over')
    or diag(inflight('b'));
ok($n->wait_log(qr/attempts of process $first, which is gone, are over/),
    'told');
ok(!$lost[0]->read_until_end, 'broken');
$a->release('b');
$kept->read_until_end;
is($kept->body, 'b', 'the other goes on');
ok(wait_until(5, sub { inflight('b') eq '0 0' }), 'none is left');

# the process that looks for others is killed, too

$a->rearm('b');
$a->forget;
my ($c, $third) = worker();
my $r = $c->start(GET => '/b/', %of);
ok($a->wait_held(1), 'a call runs');
ok(killed($_), 'all workers are killed') for $n->workers;
ok(wait_until(3, sub { inflight('b') eq '0 0' }), 'it is over');
$a->release('b');

# a probe of it

$a->on('/a/', 500);
call('a', 'probe');
$a->on('/a/', { hold => 'a', body => 'a' });
$a->forget;
my ($probe, $pid) = worker();
$probe->start(GET => '/a/', headers => { 'X-Tenant' => 'probe' });
ok($a->wait_held(1), 'a probe is out');
my $since = now;
is(call('a', 'probe')->status, 503, 'and no other one');
ok(killed($pid), 'its worker is killed');
$a->release('a');
is(breaker('a', 'probe')->{state}, 'half_open', 'half open still');
ok(wait_until(5, sub { call('a', 'probe')->status == 200 }),
    'another one, some time');
cmp_ok(now - $since, '>=', 1.4, 'when the lost one must have ended');
is(breaker('a', 'probe')->{state}, 'closed', 'it closes');


# inside of the lock

my $s = status();
my @zone = (1 << 20, $s->{zone}{capacity});

SKIP: {
    my ($c, $pid) = worker();
    skip 'the memory of a process may not be written', 19
        unless Memory->new($pid, @zone);

    $a->on('/b/', 500);
    call('b', 'lock') for 1 .. 2;
    $a->on('/b/', { hold => 'lock', body => 'b' });
    $a->forget;

    # a worker that works while another one dies with the lock, the table and
    # the counts in disorder
    my ($other, $waits) = worker($pid);
    my @runs = map { (worker($pid))[0]->start(GET => '/b/', %of) } 1 .. 33;
    ok($a->wait_held(33), 'calls run');

    my $m = Memory->new($pid, @zone);
    my $rebuilt = $m->table('rebuilt');
    my ($third) = worker($pid);
    $m->lock($pid);
    $m->table(busy => 1);
    $m->table($_ => 0x7fffffff) for qw(used head0 head1 tail0 tail1);
    is($m->provider('b', 33, 77), 1, 'all is in disorder');
    push @runs, $third->start(GET => '/b/', headers => { 'X-Tenant' => 'y' });
    ok(!$a->wait_held(34, 0.3), 'another one waits for the lock');
    is($m->lock, $pid, 'which is held');
    ok(killed($pid), 'the holder is killed');
    ok($a->wait_held(34), 'the other one goes on');
    $m = Memory->new($waits, @zone);
    is($m->table('rebuilt'), $rebuilt + 1, 'the table was put in order, once');
    $s = status();
    is($s->{zone}{cells}, scalar @{ $s->{breakers} }, 'no cell is lost');
    is(inflight('b'), '34 34', 'what is in flight is counted anew');
    is(breaker('b', 'lock')->{state}, 'open', 'an open breaker is open');
    $a->release('lock');
    $_->read_until_end for @runs;
    ok(wait_until(5, sub { inflight('b') eq '0 0' }), 'none is left');

    # the master wants the lock of one who dies while it cannot be told
    ($c, $pid) = worker();
    $m = Memory->new($pid, @zone);
    POSIX::mkfifo($n->prefix . '/fifo', 0600);
    $n->conf($http =~ s/kill:1m/kill:2m/r
             . "    include %%PREFIX%%/fifo;\n");
    my $mark = $n->mark;
    my @old = grep { $_ != $pid } $n->workers;
    $n->signal('HUP');
    ok($n->wait_log(qr/\] \d+#\d+: reconfiguring$/m, 5, $mark),
        'a reload has begun');
    $m->lock($pid);
    kill 'KILL', $pid;
    # it waits for this to read on
    open my $fifo, '>', $n->prefix . '/fifo' or die "fifo: $!";
    close $fifo;
    ok(wait_until(10, sub { status()->{zone}{size} == 2 << 20 }),
        'and goes on without the one it waits for') or diag($n->log($mark));
    ok($n->wait_gone(@old, 10), 'so do old workers')
        or diag(map { "$_ " . Resilience::Nginx::title($_) . "\n" } @old);
    is(breaker('b', 'lock')->{state}, 'open', 'nothing is lost');

    # a holder of a zone that the master does not know any more
    @zone = (2 << 20, status()->{zone}{capacity});
    $a->on('/b/', { hold => 'old', body => 'b' });
    $a->forget;
    ($c, $pid) = worker();
    my ($d, $other2) = worker($pid);
    my ($x, $y) = map { $_->start(GET => '/b/', %of) } $c, $d;
    ok($a->wait_held(2), 'two workers have calls');
    $m = Memory->new($pid, @zone);
    $n->conf($http);
    ok($n->reload, 'reload with another size');
    $m->lock($pid);
    kill 'KILL', $pid;
    $a->release('old');
    $y->read_until_end(5);
    is($y->body, 'b', 'an old worker ends its call');
    ok($n->wait_gone($other2, 10), 'and itself');
}

undef $n;


# at random

my $storm = Storm->new(clients => 3, pause => 0.002);
$n = $storm->nginx;
my @after;

$storm->kills(20, 0.05, 0.35, sub {
    $r = $storm->call('/call/', 'after');
    # it may have come to the one that was killed
    $r = $storm->call('/call/', 'after') if $r->error;
    push @after, $r->status // $r->error;
});
my $seen = $storm->finish;

is(scalar(grep { $_ eq '200' } @after), 20, 'a call succeeds after each')
    or diag("@after");
is($seen->{kills}, 20, 'so many were killed');
is_deeply($seen->{bad}, [], 'no answer is wrong');
is($seen->{late} // 0, 0, 'no call has to wait');
cmp_ok($seen->{ok}, '>', 200, 'most succeed');
cmp_ok($seen->{broken}, '<=', 20 * 3, 'those of a killed worker break');
note(join ' ', map { "$_=$seen->{$_}" } grep { !ref $seen->{$_} }
     sort keys %$seen);

ok($storm->idle(5), 'nothing is in flight');
$s = $storm->status('limit=1000');
is($s->{zone}{cells}, scalar @{ $s->{breakers} }, 'cells are as many as told');
is($s->{zone}{evictions}, 0, 'none was given up');
my %seen;
$seen{"$_->{tenant} $_->{provider}"}++ for @{ $s->{breakers} };
is(scalar(grep { $_ > 1 } values %seen), 0, 'each is there once');
is($storm->breaker('down', 'open')->{state}, 'open', 'an open one is open');
is($storm->breaker('down', 'firm')->{forced}, 'disabled', 'a word holds');

# also in the file, that workers were writing

ok($n->stop, 'stop');
my @temps = glob $n->prefix . '/state/*.tmp';
is("@temps", '', 'no file is left half-written');
$n->start;
is($storm->breaker('down', 'open')->{state}, 'open', 'known after a restart');
is($storm->breaker('down', 'firm')->{forced}, 'disabled', 'this, too');
unlike($n->log, qr/ignored/, 'the file is sound');

done_testing();
