#!/usr/bin/env perl

# Tests for an upgrade of the binary as nginx's manual describes it: USR2 starts
# the new one, WINCH ends the old one's workers gracefully, QUIT the old one.
# Streams that run are not cut, every call is answered, and breakers go on.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Fcntl qw(LOCK_EX);
use File::Temp ();

plan skip_all => 'valgrind and its nginx go other ways'
    if $ENV{TEST_NGINX_VALGRIND};

my $a = upstream();
my $b = upstream({ openai => { content => 'still here' } });

my $http = <<'E';
    resilience_zone zone=gw:1m state=state/gw;
    resilience_tenant $http_x_tenant;

    resilience_policy p {
        preset llm_chat;
        retry 0;
        breaker failures=2 error_rate=0 open=1h;
        breaker_provider off;
    }
    resilience_provider a {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider b {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_chain chat  { policy p; provider a; provider b; }
    resilience_chain alone { policy p; provider a; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location /v1/    { resilience_pass chat; }
        location /alone/ { resilience_pass alone; }
        location = /status { resilience_status; }
        location = /pid    { return 200 $pid; }
    }
E

# an nginx is not run by its name: what starts anew is a path
my ($binary) = $ENV{TEST_NGINX_BINARY}
    // grep { -x } map { "$_/nginx" } split /:/, "$ENV{PATH}:/usr/sbin";

my @running;
END { kill 'KILL', map { (Resilience::Nginx::children($_), $_) } @running }

my ($n, $file);

sub start {
    my (%env) = @_;
    $n = nginx(http => $http, start => 0, binary => $binary, env => \%env,
               vars => { A => $a->port, B => $b->port },
               files => { 'state/README' => '' });
    $file = $n->prefix . '/state/gw';
    chdir $n->prefix;

    # WINCH is nothing to an nginx that is no daemon
    my $conf = slurp('nginx.conf') =~ s/daemon off;/daemon on;/r;
    open my $fh, '>', 'nginx.conf' or die $!;
    print {$fh} $conf;
    close $fh;

    my ($pid) = $n->run(@{ $n->command });
    Resilience::Nginx::reap($pid, 20);
    wait_until(10, sub { $pid = pid_of() }) or die $n->log;
    push @running, $pid;
    wait_until(10, sub { runs($pid) }) or die $n->log;
    return $pid;
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<:raw', $path or return '';
    local $/;
    return scalar(<$fh>) // '';
}

sub pid_of { slurp($n->prefix . '/nginx.pid') =~ s/\s//gr }

# who wrote the state file last
sub writer { -s $file ? unpack 'Q', substr slurp($file), 40, 8 : 0 }

sub runs {
    my ($pid) = @_;
    return 2 == grep { Resilience::Nginx::title($_) =~ /worker process$/ }
                Resilience::Nginx::children($pid);
}

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

sub end {
    my ($pid) = @_;
    kill 'QUIT', $pid;
    return $n->wait_gone($pid, 10);
}

sub stream {
    my ($name) = @_;
    $a->on("/v1/$name", { openai => { chunks => [ 'one ', 'two ', 'three' ] },
                          end_hold => $name });
    my $c = http($n);
    my $r = $c->start(POST => "/v1/$name", json => {
        model => 'gpt-5', stream => \1,
        messages => [ { role => 'user', content => 'hi' } ] });
    ok($r->wait_body(qr/three/, 5), "$name runs");
    return $r;
}

sub fail_on {
    my ($tenant) = @_;
    return map { http($n)->get('/alone/', headers => { 'X-Tenant' => $tenant })
                     ->status } 1, 2;
}

sub breaker {
    my ($tenant) = @_;
    my $s = http($n)->get("/status?provider=a&tenant=$tenant")->json;
    return $s->{breakers}[0]{state} // 'none';
}

$a->on('/alone/', 500);
$a->on('/v1/call', 503);


# all of it

my $old = start();
my @old = Resilience::Nginx::children($old);
fail_on('before');
is(breaker('before'), 'open', 'a breaker is open');
ok(wait_until(10, sub { writer() == $old }), 'the state is written');

my $first = stream('first');
my $new = upgrade($old);
is(breaker('before'), 'open', 'it is open for either');

kill 'WINCH', $old;
ok(wait_until(10, sub {
    !grep { Resilience::Nginx::title($_) =~ /worker process$/ } @old;
}), 'the old workers are told to end');
ok(kill(0, $old), 'the old master waits');

my (%pids, $answered);
for (1 .. 20) {
    $pids{ http($n)->get('/pid')->body }++;
    my $r = http($n)->post('/v1/call', { model => 'gpt-5' },
                           headers => { 'X-Tenant' => "t$_" });
    $answered++ if $r->status == 200 && $r->text eq 'still here';
}
is($answered, 20, 'each call is answered');
is(join(' ', grep { my $pid = $_; grep { $pid == $_ } @old } keys %pids), '',
    'by new workers');

my $second = stream('second');
ok(wait_until(10, sub { writer() == $new }), 'the new one writes the state');

kill 'QUIT', $old;
is(scalar(grep { -d "/proc/$_" } @old), 1, 'a stream keeps its worker');
$a->release('first');
ok($first->read_until_end(10) && $first->complete, 'the old stream ends well');
like($first->body, qr/\[DONE\]/, 'and says so');
is($first->text, 'one two three', 'nothing of it is lost');
ok($n->wait_gone($old, 10), 'the old one is gone');
is(writer(), $new, 'and has left the file');

fail_on('after');
$a->release('second');
ok($second->read_until_end(10) && $second->complete, 'the new one ends well');
ok(end($new), 'the new one ends');
is(writer(), $new, 'the file is its');
is(join("\n", $n->problems), '', 'without trouble');
chdir '/';


# back: the new one is no good

$old = start();
fail_on('kept');
$first = stream('third');
$new = upgrade($old);
kill 'WINCH', $old;
ok(wait_until(10, sub { !runs($old) }), 'the old workers end');
kill 'HUP', $old;
ok(wait_until(10, sub { runs($old) }), 'and are started again');
ok(end($new), 'the new one ends');
is(breaker('kept'), 'open', 'the old one knows');
$a->release('third');
ok($first->read_until_end(10) && $first->complete, 'the stream ends well');
ok(wait_until(10, sub { pid_of() == $old }), 'the pid file is back');
ok(end($old), 'the end');
is(join("\n", $n->problems), '', 'without trouble');
chdir '/';


# A disk that is slow while the old one writes: when it has, the new one has
# written, too, and that counts.

SKIP: {
    my $dir = File::Temp::tempdir('resilience.XXXXXXXX', TMPDIR => 1,
                                  CLEANUP => 1);
    open my $c, '>', "$dir/slow.c" or die $!;
    print {$c} <<'E';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int
fsync(int fd)
{
    int  (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");

    while (access(SLOW, F_OK) == 0) {
        usleep(10000);
    }

    return real(fd);
}
E
    close $c;
    my $cc = $ENV{CC} || 'gcc';
    system("$cc -shared -fPIC -DSLOW='\"$dir/slow\"' -o $dir/slow.so "
           . "$dir/slow.c -ldl 2>$dir/log") == 0
        or skip "no slow disk without a compiler: $cc", 5;

    $old = start(LD_PRELOAD => "$dir/slow.so");
    fail_on('slow');
    ok(wait_until(10, sub { writer() == $old }), 'the old one has written');
    open my $slow, '>', "$dir/slow" or die $!;
    fail_on('more');
    my $temp = '';
    ok(wait_until(10, sub { ($temp) = glob "$file.*.tmp" }), 'and writes');

    $new = upgrade($old);           # its environment is clean
    ok(wait_until(10, sub { writer() == $new }), 'the new one is faster');
    unlink "$dir/slow";
    ok(wait_until(10, sub { !-e $temp }), 'the old one is done');
    is(writer(), $new, 'the file is the new one\'s');
    end($_) for $old, $new;
    chdir '/';
}


# both write at once: while neither may give it its name, both are about to

$old = start();
fail_on('first');
ok(wait_until(10, sub { writer() == $old }), 'the old one has written');
open my $directory, '<', $n->prefix . '/state' or die $!;
flock $directory, LOCK_EX or die $!;
fail_on('more');
ok(wait_until(10, sub { 1 == (() = glob "$file.*.tmp") }), 'and writes');
$new = upgrade($old);
ok(wait_until(10, sub { 2 == (() = glob "$file.*.tmp") }), 'and so do both');
close $directory;
ok(wait_until(10, sub { !glob "$file.*.tmp" }), 'both are done');
is(writer(), $new, 'the file is the new one\'s');
end($_) for $old, $new;
chdir '/';

done_testing();
