#!/usr/bin/env perl

# Tests for the state file: breakers outlive a restart, an upgrade of the
# binary and a crash; a file that is of no use is not used; nginx -t writes
# nothing.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Digest::SHA qw(sha256);

my $HEAD = 232;                 # bytes; see ngx_http_resilience_state.h
my $MOVE = 32;
my $CELL = 88;                  # of a cell before its breaker

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $http = <<'E';
    resilience_zone zone=gw:1m state=state/gw;
    resilience_tenant $http_x_tenant;

    resilience_policy slow {
        retry 0;
        breaker failures=2 error_rate=0 open=1h;
        breaker_provider off;
    }
    resilience_policy quick {
        retry 0;
        breaker failures=1 open=1ms probes=1 successes=1;
        breaker_provider off;
    }
    resilience_policy all {
        retry 0;
        breaker failures=100 error_rate=0 open=1h;
        breaker_provider tenants=2 open=1h;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider q { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider c { resilience_endpoint http://127.0.0.1:%%A%%; }

    resilience_chain a { policy slow; provider a; }
    resilience_chain b { policy slow; provider b; }
    resilience_chain q { policy quick; provider q; }
    resilience_chain c { policy all; provider c; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location /a/ { resilience_pass a; }
        location /b/ { resilience_pass b; }
        location /q/ { resilience_pass q; }
        location /c/ { resilience_pass c; }
        location /hash/ {
            resilience_tenant $http_x_tenant hash;
            resilience_pass a;
        }
        location = /status { resilience_status admin; }
    }
E

my %nginx = (vars => { A => $a->port, B => $b->port },
             files => { 'state/README' => "not a state\n" });

my $n = nginx(http => $http, %nginx);
my $dir = $n->prefix . '/state';
my $file = "$dir/gw";

sub call {
    my ($where, $tenant) = @_;
    return http($n)->get("/$where/", headers => { 'X-Tenant' => $tenant });
}

sub fail_on {
    my ($times, $where, $tenant) = @_;
    my $provider = $where eq 'b' ? $b : $a;
    $provider->on('/', 500);
    call($where, $tenant) for 1 .. $times;
    $provider->on('/', { body => $where });
}

sub status { http($n)->get('/status?limit=1000' . ($_[0] // ''))->json }

sub provider { status("&provider=$_[0]")->{providers}[0] }

sub breaker {
    my ($provider, $tenant) = @_;
    return status("&provider=$provider&tenant=$tenant")->{breakers}[0]
           // { state => 'none' };
}

sub say_to {
    my ($action, $provider, $tenant) = @_;
    my $of = defined $tenant ? "&tenant=$tenant" : '';
    return http($n)->post("/status?action=$action&provider=$provider$of")
                   ->status == 200;
}

sub slurp { Resilience::Nginx::slurp($_[0] // $file) }
sub spew  { Resilience::Nginx::spew($_[1] // $file, $_[0]) }

# ms of the clock that nginx has, too, and of the start of writing the file
sub clock { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) * 1000 }
sub begun { -s $file ? unpack 'Q', substr slurp(), 56, 8 : 0 }

# true when a file is there that was begun after this was called
sub written {
    my $called = clock();
    return wait_until(5, sub { begun() >= $called });
}

sub temps { join ' ', map { s{.*/}{}r } glob "$dir/*.tmp" }

# ends all of it without a word to any
sub crash {
    my @workers = $n->workers;
    kill 'KILL', $n->pid;
    wait_until(5, sub { !$n->alive });
    kill 'KILL', @workers;
    $n->wait_gone(@workers, 5);
    $n->kill_now;
    delete $n->{pid};
}

my @fields = qw(state forced failures successes rejected opened closed
                consecutive error_rate);

sub known {
    my %known;
    for my $br (@{ status()->{breakers} }) {
        $known{"$br->{tenant} $br->{provider}"}
            = join ' ', map { $_ // 'null' } @$br{@fields};
    }
    return \%known;
}


# a restart

my $long = 'x' x 65;

call('a', 'fine') for 1 .. 3;
fail_on(1, 'a', 'one');
fail_on(2, 'a', 'two');
fail_on(2, 'b', 'two');
fail_on(2, 'hash', 'sk-secret');
fail_on(2, 'a', $long);
call('b', 'two') for 1 .. 5;
call('a', $_) for qw(open close disable);
ok(say_to($_, 'a', $_), $_) for qw(open close disable);

my $before = known();
is(scalar keys %$before, 9, 'nine breakers');
my $wait = breaker('a', 'two')->{retry_in_ms};
my %was = map { $_->{name} => $_ } @{ status()->{providers} };

ok($n->stop, 'stop');
ok(-f $file, 'the file is there');
is((stat $file)[2] & 07777, 0600, 'for its owner alone');
is(temps(), '', 'nothing else is left');
unlike(slurp(), qr/sk-secret|$long/, 'hashed tenants are not in it');

$n->start;
my $after = known();
ok(delete $before->{'fine a'}, 'a breaker that has seen no failure');
is_deeply($after, $before, 'is left out, all others are back');
my $left = breaker('a', 'two')->{retry_in_ms};
cmp_ok($left, '<', $wait, 'an open one has less time left');
cmp_ok($left, '>', $wait - 60_000, 'but not much');
ok($n->wait_log(qr/\[notice\].*state file.* has 8 breakers/), 'told');

for my $is (@{ status()->{providers} }) {
    is_deeply([ @$is{qw(attempts successes inflight)}, $is->{failures} ],
        [ @{ $was{ $is->{name} } }{qw(attempts successes inflight)},
          $was{ $is->{name} }{failures} ], "counts of provider $is->{name}");
}

is(call('a', 'two')->status, 503, 'an open one refuses');
is(call('a', 'one')->status, 200, 'a closed one does not');
fail_on(2, 'hash', 'sk-other');
my $rejected = sub { scalar grep { /^[0-9a-f]{16} a:open null \S+ \S+ 1 / }
                     map { "$_:" . known()->{$_} } keys %{ known() } };
is($rejected->(), 0, 'two hashed tenants');
call('hash', 'sk-secret');
is($rejected->(), 1, 'one has its hash still');

fail_on(1, 'a', 'close');
is(breaker('a', 'close')->{state}, 'closed', 'forced to be closed');
fail_on(1, 'b', 'one');
$n->restart;
fail_on(1, 'b', 'one');
is(breaker('b', 'one')->{state}, 'open', 'failures before and after it');


# what is said of all tenants, and the breaker of all tenants

fail_on(1, 'c', $_) for qw(x y);
is(provider('c')->{breaker}{state}, 'open', 'breaker of all tenants');
ok(say_to('disable', 'b'), 'disable all');
$n->restart;
is(provider('c')->{breaker}{state}, 'open', 'is open after a restart');
is(call('c', 'z')->status, 503, 'and refuses');
is(provider('b')->{breaker}{forced}, 'disabled', 'a word on all tenants');
is(breaker('b', 'two')->{state}, 'none', 'has ended what each of them had');
is(call('b', 'new')->status, 200, 'a later tenant');
is(breaker('b', 'new')->{forced}, 'disabled', 'has it, too');
ok(say_to('reset', 'b'), 'reset all');
$n->restart;
is(provider('b')->{breaker}{forced}, undef, 'all is as ever');
call('b', 'new');
is(breaker('b', 'new')->{forced}, undef, 'for each tenant');


# no restart at all

ok(written(), 'a new worker writes at once');
fail_on(2, 'a', 'crash');
is(breaker('a', 'crash')->{state}, 'open', 'opened');
ok(written(), 'written soon after');
crash();
$n->start;
is(breaker('a', 'crash')->{state}, 'open', 'known after a crash');

ok(written(), 'written');
ok(say_to('reset', 'a', 'crash'), 'reset');
ok(written(), 'so is the word of an administrator');
crash();
$n->start;
is(breaker('a', 'crash')->{state}, 'none', 'known after a crash');

ok(written(), 'written');
my $begun = begun();
call('a', 'quiet') for 1 .. 20;
ok(!wait_until(2.5 / factor(), sub { begun() != $begun }),
    'without a change it is not written again');

# a probe that was out when all ended is out no more

fail_on(1, 'q', 'probe');
$a->on('/', { hold => 'probe', body => 'a' });
my $probe = http($n)->start(GET => '/q/', headers => { 'X-Tenant' => 'probe' });
ok($a->wait_held(1), 'a probe is out');
is(breaker('q', 'probe')->{state}, 'half_open', 'half open');
is(call('q', 'probe')->status, 503, 'no other one is let out');
ok(written(), 'written');
crash();
$a->release('probe')->on('/', { body => 'a' });
$n->start;
is(breaker('q', 'probe')->{state}, 'half_open', 'half open still');
is(breaker('q', 'probe')->{inflight}, 0, 'with nothing in flight');
is(call('q', 'probe')->status, 200, 'another probe');
is(breaker('q', 'probe')->{state}, 'closed', 'closes it');


# times: of the clock on the wall, and of one that the machine's start sets

# changes the file, its digest is right again
sub forge {
    my ($change) = @_;
    my $data = substr slurp(), 0, -32;
    $change->() for $data;
    spew($data . sha256($data));
}

sub left_after {
    my ($change) = @_;
    $n->stop;
    forge($change);
    $n->start;
    return breaker('b', 'one')->{retry_in_ms};
}

sub add {
    my ($at, $n) = @_;
    substr($_, $at, 8) = pack 'Q', $n + unpack 'Q', substr $_, $at, 8;
}

fail_on(2, 'b', 'one');
$wait = breaker('b', 'one')->{retry_in_ms};
$left = left_after(sub { add(48, -600_000) });
cmp_ok($left, '<=', $wait - 600_000, 'ten minutes have passed');
cmp_ok($left, '>', $wait - 660_000, 'and not much more');
cmp_ok(breaker('b', 'one')->{since_ms}, '>=', 600_000, 'since it opened, too')
    if clock() > 700_000;
$wait = $left;
$left = left_after(sub { add(48, 600_000) });
cmp_ok($left, '<=', $wait, 'a clock that was set back');
cmp_ok($left, '>', $wait - 60_000, 'does not tell of any time');
$wait = $left;

my @four = qw(a b q c);         # providers, and chains

# the size of records that begin with these names
sub record {
    my ($data, $from) = @_;
    for (my $size = 64; $size < 8192; $size += 8) {
        return $size if !grep {
            substr($data, $from + $_ * $size, 2) ne "$four[$_]\0"
        } 0 .. $#four;
    }
    return;
}

# (bytes of a provider, of a cell, where the cells begin)
sub sizes {
    my ($data) = @_;
    my $p = record($data, $HEAD) or return;
    my $from = $HEAD + @four * $p;
    my $chain = record($data, $from) or return;
    my ($chains, $moves) = unpack 'QQ', substr $data, 104, 16;
    return if $chains != @four;
    $from += $chains * $chain + $moves * $MOVE;
    for (my $c = $CELL + 8; $c < 1024; $c += 8) {
        next if (length($data) - $from) % $c;
        my @bad = grep { my ($len, $number) = unpack 'LL',
                             substr $data, $from + $_ * $c + 64, 8;
                         $len == 0 || $len > 64 || $number >= @four }
                  0 .. (length($data) - $from) / $c - 1;
        return ($p, $c, $from) if !@bad;
    }
    return;
}

# all times are of a clock that is so far from today's
sub reboot {
    my ($by) = @_;
    my (undef, $cell, $from) = sizes($_) or die 'no sizes';
    add(56, $by);
    for (my $at = $from; $at < length; $at += $cell) {
        # used_at, and of the breaker until, since and rest
        for my $field ($CELL - 8, $CELL, $CELL + 8, $CELL + 16) {
            add($at + $field, $by);
        }
    }
}

for my $by (1e12, 86_400_000) {
    $left = left_after(sub { reboot($by) });
    cmp_ok($left, '<=', $wait, "a clock of $by ms more");
    cmp_ok($left, '>', $wait - 60_000, 'is told apart from today\'s');
    cmp_ok(breaker('b', 'one')->{since_ms}, '<=', clock(), 'since');
}

# an open time that was over before the restart, or has run out meanwhile

$left = left_after(sub { add(48, -7_200_000) });
is($left, 0, 'its time is over');
is(breaker('b', 'one')->{state}, 'open', 'it says open');
is(call('b', 'one')->status, 200, 'and lets a probe out');
is(breaker('b', 'one')->{state}, 'half_open', 'half open');



# files that are of no use

sub flip { my ($at) = @_; substr($_, $at, 1) ^= "\1" }

# a change without a new digest
sub damage {
    my ($change) = @_;
    my $data = slurp();
    $change->() for $data;
    spew($data);
}

fail_on(2, 'b', 'one');
$n->stop;
my $whole = slurp();
my ($of_provider, $of_cell, $cells) = sizes(substr $whole, 0, -32);

my @damaged = (
    [ 'empty', qr/truncated/, sub { $_ = '' } ],
    [ 'of another kind', qr/no state file/, sub { $_ = "#!/bin/sh\n" x 100 } ],
    [ 'a few bytes', qr/truncated/, sub { $_ = substr $_, 0, 10 } ],
    [ 'a head alone', qr/truncated/, sub { $_ = substr $_, 0, $HEAD } ],
    [ 'without its end', qr/truncated/, sub { chop } ],
    [ 'with more than its end', qr/truncated/, sub { $_ .= "\0" } ],
    [ 'without a cell', qr/checksum/,
      sub { substr($_, -32 - $of_cell, $of_cell) = '' } ],
    [ 'with another key', qr/checksum/, sub { flip(80) } ],
    [ 'with another count', qr/checksum/,
      sub { flip($HEAD + $of_provider + 80) } ],
    [ 'with another tenant', qr/checksum/,
      sub { flip($cells) } ],
    [ 'with another count of a chain', qr/checksum/,
      sub { flip($HEAD + 4 * $of_provider + 80) } ],
    [ 'with another digest', qr/checksum/, sub { flip(-1) } ],
    [ 'zeroes at the end', qr/checksum/,
      sub { substr($_, -40) = "\0" x 40 } ],
);

my @forged = (
    [ 'of a newer version', qr/another version/,
      sub { substr($_, 16, 4) = pack 'L', 1 + unpack 'L', substr $_, 16, 4 } ],
    [ 'of an older version', qr/another version/,
      sub { substr($_, 16, 4) = pack 'L', 0 } ],
    [ 'of another machine', qr/another version or machine/,
      sub { flip(20) } ],
    [ 'with too many providers', qr/truncated|checksum/,
      sub { substr($_, 64, 8) = pack 'Q', 1 << 40 } ],
    [ 'with too many chains', qr/truncated|checksum/,
      sub { substr($_, 104, 8) = pack 'Q', 1 << 40 } ],
    [ 'with too many moves', qr/truncated/,
      sub { substr($_, 112, 8) = pack 'Q', 1 << 60 } ],
);

for my $case (map({ [ \&damage, @$_ ] } @damaged),
              map({ [ \&forge, @$_ ] } @forged))
{
    my ($how, $name, $why, $change) = @$case;
    spew($whole);
    $how->($change);
    my $damaged = slurp();
    my $mark = $n->mark;
    $n->start;
    like($n->log($mark), qr/\[warn\].*state file.* is ignored.*$why/,
        "$name: said why");
    is_deeply(status()->{breakers}, [], "$name: nothing is known");
    is(slurp("$file.ignored"), $damaged, "$name: it is kept");
    $n->stop;
}

unlink $file;
symlink 'gw', $file;
my $mark = $n->mark;
$n->start;
like($n->log($mark), qr/\[warn\].*state file.* is ignored.*open\(\) failed \(/,
    'a file that cannot be opened');
fail_on(2, 'b', 'one');
$n->restart;
is(breaker('b', 'one')->{state}, 'open', 'the next one is used');

$n->stop;
unlink $file;
$mark = $n->mark;
$n->start;
unlike($n->log($mark), qr/state file/, 'no file is no news');


# what killed processes have left is removed

my ($dead) = map { my $pid = fork // die; exit if !$pid; waitpid $pid, 0; $pid }
             1;
my @names = map { "gw.$_.tmp" } $dead, $$, 'x', "$dead.x";
$n->stop;
spew('left', "$dir/$_") for @names;
$n->start;
ok(wait_until(5, sub { !-f "$dir/$names[0]" }), 'of one that is gone');
is(temps(), join(' ', sort @names[1 .. 3]), 'and nothing else');
unlink "$dir/$_" for @names;


# the directory goes away

$mark = $n->mark;
fail_on(2, 'a', 'first');
ok(written(), 'written');
rename $dir, "$dir.away";
fail_on(2, 'a', 'gone');
ok($n->wait_log(qr/\[error\].*state file "\Q$file\E" could not be written/,
    5, $mark), 'an error is told');
like($n->log($mark), qr{open\(\) "\Q$file\E\.\d+\.tmp" failed \(2: No such},
    'with what and why');
fail_on(2, 'a', 'still');
ok(!wait_until(2.5 / factor(), sub {
    $n->log_lines(qr/could not be written/, $mark) > 1 }), 'once');
is(breaker('a', 'still')->{state}, 'open', 'all goes on');
rename "$dir.away", $dir;
$n->restart;
is(breaker('a', 'gone')->{state}, 'open', 'it is written at the end');


# other providers, another size of the zone

my @more = map { "more$_" } 1 .. 400;
fail_on(1, 'a', $_) for @more;
fail_on(2, 'b', 'one');
my $other = $http =~ s/zone=gw:1m/zone=gw:128k/r
                  =~ s/resilience_provider a \{.*?\}\n//r
                  =~ s/resilience_chain a .*?\n//r
                  =~ s/location .(?:a|hash). \{.*?\}\n//grs;
$n->stop;
$n->conf($other);
$n->start;
is(breaker('b', 'one')->{state}, 'open', 'known by the provider\'s name');
is(scalar(grep { $_->{provider} !~ /^[bqc]$/ } @{ status()->{breakers} }), 0,
    'nothing of one that is no more');
cmp_ok(status()->{zone}{capacity}, '<', 400, 'a smaller zone');
$n->stop;
$n->conf($http);
$n->start;
is(breaker('b', 'one')->{state}, 'open', 'there and back');
is(breaker('a', 'one')->{state}, 'none', 'what was dropped is gone');

fail_on(2, 'a', $_) for 'early', 'earlier';
fail_on(1, 'a', $_) for @more;
$n->stop;
$n->conf($http =~ s/zone=gw:1m/zone=gw:128k/r);
$n->start;
my $s = status();
is($s->{zone}{cells}, $s->{zone}{capacity}, 'a zone too small for all');
is($s->{zone}{evictions}, 0, 'is filled');
is(breaker('a', $_)->{state}, 'open', "$_: an open one is kept")
    for 'early', 'earlier';
is(breaker('a', $more[0])->{state}, 'none', 'the closed one not used longest');
is(breaker('a', $more[-1])->{state}, 'closed', 'makes place for later ones');


# a reload keeps what is known, whatever the file says

fail_on(2, 'b', 'reload');
ok(written(), 'written');
spew($whole);
ok($n->reload(gone => 1), 'reload');
is(breaker('b', 'reload')->{state}, 'open', 'the zone is kept');
spew($whole);
$n->conf($http);
ok($n->reload(gone => 1), 'reload with another size');
is(breaker('b', 'reload')->{state}, 'open', 'the zone is copied');
unlike($n->log($n->mark), qr/ignored/, 'the file is not looked at');
$n->conf($http =~ s{state/gw}{state/new}r);
ok($n->reload(gone => 1), 'reload with another file');
ok(wait_until(5, sub { -f "$dir/new" }), 'it is written');
$n->conf($http =~ s{ state=state/gw}{}r);
ok($n->reload(gone => 1), 'reload without a file');
unlink $file;
$n->stop;
ok(!-f $file, 'none is written');


# upgrades of the binary: for an nginx that is not its starter's child any more

my @running;
END { kill 'KILL', map { (Resilience::Nginx::children($_), $_) } @running }

sub pid_of { my $pid = slurp($n->prefix . '/nginx.pid'); $pid =~ s/\s//gr }
sub writer { -s $file ? unpack 'Q', substr slurp(), 40, 8 : 0 }

# its workers are initialised
sub runs {
    my ($pid) = @_;
    return 2 == grep { Resilience::Nginx::title($_) =~ /worker process$/ }
                Resilience::Nginx::children($pid);
}

sub orphan {
    my $prefix = $n->prefix;
    my ($pid) = $n->run('/bin/sh', '-c',
        '"$@" & while ! test -s nginx.pid; do sleep 0.02; done', 'sh',
        @{ $n->command });
    Resilience::Nginx::reap($pid, 20);
    $pid = pid_of();
    push @running, $pid;
    wait_until(10, sub { runs($pid) }) or die $n->log;
    return $pid;
}

# the pid of the new master
sub upgrade {
    my ($old) = @_;
    kill 'USR2', $old;
    my $new = 0;
    wait_until(10, sub {
        $new = pid_of();
        return $new && $new != $old && runs($new);
    }) or die 'no new binary: ' . $n->log;
    push @running, $new;
    return $new;
}

sub quit {
    my ($pid) = @_;
    kill 'QUIT', $pid;
    return $n->wait_gone($pid, 10);
}

SKIP: {
    skip 'valgrind and its nginx go other ways', 15
        if $ENV{TEST_NGINX_VALGRIND};

    my ($binary) = grep { -x } map { "$_/nginx" } split /:/, $ENV{PATH};

    $n = nginx(http => $http, %nginx, start => 0,
               binary => $ENV{TEST_NGINX_BINARY} // $binary);
    chdir $n->prefix;
    $dir = $n->prefix . '/state';
    $file = "$dir/gw";

    my $old = orphan();
    fail_on(2, 'a', 'upgrade') for 1, 2;
    ok(written(), 'written');
    is(writer(), $old, 'by the only one');

    my $new = upgrade($old);
    ok(wait_until(5, sub { writer() == $new }), 'the new one writes');
    my $i = 0;
    ok(wait_until(20, sub {
        fail_on(8, 'b', 'both' . $i++);
        $n->log =~ /\[notice\].*state file.* by the nginx of process $new/;
    }), 'the old one does not');

    ok(quit($new), 'back to the old one');
    ok(wait_until(20, sub {
        fail_on(8, 'b', 'back' . $i++);
        writer() == $old;
    }), 'which writes again');

    $new = upgrade($old);
    ok(wait_until(5, sub { writer() == $new }), 'once more');
    ok(quit($old), 'the old one ends');
    is(writer(), $new, 'and leaves the file');
    is(breaker('a', 'upgrade')->{state}, 'open', 'kept over the upgrade');
    fail_on(2, 'a', 'new');
    ok(quit($new), 'the new one ends');
    is(writer(), $new, 'the file is its');

    $old = orphan();
    is(breaker('a', $_)->{state}, 'open', $_) for qw(upgrade new);
    ok(quit($old), 'the end');
    is(join("\n", $n->problems), '', 'without trouble');
    chdir '/';
}


# without a master

$n = nginx(http => $http, %nginx, master => 0);
$dir = $n->prefix . '/state';
$file = "$dir/gw";
fail_on(2, 'a', 'single');
ok(written(), 'a process alone writes');
$n->restart;
is(breaker('a', 'single')->{state}, 'open', 'and reads');
$n->stop;


# another user

SKIP: {
    skip 'not as root', 7 if $> != 0;

    my $uid = getpwnam 'nobody';
    my $group = getgrgid((getpwnam 'nobody')[3]);
    $n = nginx(http => $http, %nginx, main => "user nobody $group;");
    $dir = $n->prefix . '/state';
    $file = "$dir/gw";
    like($n->log, qr/\[warn\].*worker processes cannot write to directory/,
        'a directory of root alone');
    fail_on(2, 'a', 'user');
    $n->expect_log(qr/could not be written/);
    $n->restart;
    is(breaker('a', 'user')->{state}, 'open', 'the master writes at its end');
    is((stat $file)[4], $uid, 'for workers to read');
    $n->stop;
    chown $uid, -1, $dir;
    $mark = $n->mark;
    $n->start;
    unlike($n->log($mark), qr/cannot write/, 'a directory of theirs');
    fail_on(2, 'a', 'later');
    ok(written(), 'workers write');
    is((stat $file)[2] & 07777, 0600, 'for themselves alone');
    $n->restart;
    is(breaker('a', 'later')->{state}, 'open', 'the master reads that');
    $n->stop;
}


# mistakes; nginx -t writes nothing

for my $case (
    [ 'state=', qr/"state=" of "resilience_zone" wants a path/ ],
    [ 'state=/none/gw', qr{directory "/none" of state file "/none/gw".*No such} ],
    [ 'state=none/gw', qr{directory "\S+/none" of state file.*No such} ],
    [ 'state=tmp', qr/state file "\S+tmp" is not a regular file/ ],
    [ 'state=/dev/null', qr{state file "/dev/null" is not a regular file} ],
    [ 'state=' . 'x' x 5000, qr/too long|parameter/ ],
    [ 'x=1', qr/invalid parameter "x=1"/ ])
{
    my ($parameter, $why) = @$case;
    config_error("resilience_zone zone=gw:1m $parameter;", $why,
        substr $parameter, 0, 40);
}
config_error('resilience_zone state=gw;', qr/wants "zone=name:size"/,
    'no zone');

my $here = File::Temp::tempdir(CLEANUP => 1);
for my $text (undef, 'damaged') {
    spew($text, "$here/gw") if defined $text;
    config_ok("resilience_zone zone=gw:1m state=$here/gw;", undef, 'nginx -t');
    is(join(' ', map { slurp($_) } glob "$here/*"), $text // '',
        'writes nothing');
}

done_testing();
