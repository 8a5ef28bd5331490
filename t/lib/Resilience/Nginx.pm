package Resilience::Nginx;

use strict;
use warnings;

use Carp qw(croak);
use File::Basename qw(basename dirname);
use File::Path ();
use File::Spec;
use File::Temp ();
use IO::Handle;
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Scalar::Util qw(weaken);
use Socket qw(INADDR_LOOPBACK PF_INET SOCK_STREAM SOL_SOCKET SO_REUSEADDR
              pack_sockaddr_in unpack_sockaddr_in);
use Test::Builder;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $root = File::Spec->rel2abs(
    File::Spec->catdir(dirname(__FILE__), ('..') x 3));

our $FACTOR = $ENV{TEST_TIME_FACTOR} || 1;

my $STEP = 0.01;                # seconds between two looks
my $SANITIZER_EXIT = 86;

# what an nginx must never log, with or without an allowance of the test
my $SANITIZER = qr/
    AddressSanitizer | LeakSanitizer | UndefinedBehaviorSanitizer
  | \bruntime\ error: | ^==\d+==\ *ERROR
/x;

my $PROBLEM = qr/
    \[(?:alert|emerg)\]
  | exited\ on\ signal | exited\ with\ (?:fatal\ )?code\ [1-9]
  | $SANITIZER
/x;

my %live;                       # pid => nginx, weak

sub now { clock_gettime(CLOCK_MONOTONIC) }

sub pause { select undef, undef, undef, $_[0] // $STEP }


# true as soon as $met->() is
sub wait_until {
    my ($seconds, $met) = @_;
    my $end = now() + $seconds * $FACTOR;
    while (1) {
        my $result = $met->();
        return $result if $result;
        return 0 if now() >= $end;
        pause();
    }
}

sub slurp {
    my ($path, $from) = @_;
    open my $fh, '<:raw', $path or return '';
    seek $fh, $from, 0 if $from;
    local $/;
    return scalar(<$fh>) // '';
}

sub spew {
    my ($path, $text) = @_;
    open my $fh, '>:raw', $path or croak "$path: $!";
    print {$fh} $text;
    close $fh or croak "$path: $!";
}


# making

sub new {
    my ($class, %opt) = @_;
    my $self = $class->prepare(%opt);
    $self->start unless exists $opt{start} && !$opt{start};
    return $self;
}

# (did nginx -t accept it, what it said)
sub check {
    my ($class, %opt) = @_;
    my $self = $class->prepare(%opt);
    # nginx -t frees nothing at its end
    local $self->{leaks} = 0;
    my ($pid, $out) = $self->run(@{ $self->command(valgrind => 0) }, '-t');
    my $status = reap($pid, 30);
    my $text = slurp($out);

    if (!defined $status || $status & 127 || $text =~ $SANITIZER) {
        $self->fail('nginx -t ended well', defined $status
            ? "status $status\n$text" : "no end in time\n$text");
    }
    $self->remove(keep => $self->{keep});
    return (defined $status && $status == 0, $text);
}

sub prepare {
    my ($class, %opt) = @_;
    my $self = bless {
        owner => $$, ports => [], opt => \%opt, started => 0,
        workers => $opt{workers} // 2, allow => [ @{ $opt{allow} || [] } ],
        master => exists $opt{master} ? $opt{master} : 1,
        binary => $opt{binary} // $ENV{TEST_NGINX_BINARY} // 'nginx',
    }, $class;

    my $module = exists $opt{module} ? $opt{module}
               : $ENV{TEST_NGINX_MODULE}
                 // "$root/build/ngx_http_resilience_module.so";
    if ($module) {
        $module = File::Spec->rel2abs($module);
        -f $module or croak "$module is not there: run \"make\"";
        $self->{module} = $module;
    }

    # short and without surprises: the name goes into the configuration
    $self->{prefix} = File::Temp::tempdir('resilience.XXXXXXXX', TMPDIR => 1);
    chmod 0755, $self->{prefix};
    mkdir "$self->{prefix}/tmp" or croak "mkdir: $!";

    my $files = $opt{files} || {};
    for my $name (sort keys %$files) {
        my $path = "$self->{prefix}/$name";
        File::Path::make_path(dirname($path));
        spew($path, $files->{$name});
    }
    $self->conf($opt{http} // '', main => $opt{main});
    return $self;
}

# a bound socket that does not listen keeps the port ours, while nginx, which
# asks for SO_REUSEADDR too, can still listen on it
sub reserve_port {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or croak "socket: $!";
    bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or croak "bind: $!";
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or croak "SO_REUSEADDR: $!";
    return [ (unpack_sockaddr_in(getsockname $s))[0], $s ];
}

sub port {
    my ($self, $n) = @_;
    $n //= 1;
    return ($self->{ports}[$n - 1] //= reserve_port())->[0];
}

sub fill {
    my ($self, $text) = @_;
    my $vars = $self->{opt}{vars} || {};
    $text =~ s/%%PREFIX%%/$self->{prefix}/g;
    $text =~ s/%%PORT(\d*)%%/$self->port($1 || 1)/ge;
    $text =~ s/%%(\w+)%%/$vars->{$1} \/\/ croak "no value for %%$1%%"/ge;
    return $text;
}

# rewrites the configuration, for the next start or reload
sub conf {
    my ($self, $http, %more) = @_;
    my $prefix = $self->{prefix};
    my $opt = $self->{opt};
    $self->{http} = $http if defined $http;
    $self->{main} = $more{main} if exists $more{main};
    $self->{workers} = $more{workers} if $more{workers};

    my $main = $self->fill($self->{main} // '');
    my $text = $self->fill($self->{http});
    spew("$prefix/main.conf", $main);
    spew("$prefix/http.conf", $text);

    my @main;
    push @main, "load_module $self->{module}" if $self->{module};
    push @main, 'user root' if $> == 0 && $main !~ /^\s*user\s/m;
    push @main, 'daemon off',
        'master_process ' . ($self->{master} ? 'on' : 'off'),
        "worker_processes $self->{workers}",
        "pid $prefix/nginx.pid", "lock_file $prefix/nginx.lock",
        "error_log $prefix/error.log " . ($opt->{log_level} // 'info'),
        "include $prefix/main.conf";

    my $connections = $opt->{connections} // 1024;
    my @http;
    push @http, "access_log $prefix/access.log" if $text !~ /\baccess_log\s/;
    for my $name (qw(client_body proxy fastcgi uwsgi scgi)) {
        next if $self->version =~ /--without-http_${name}_module/;
        next if $text =~ /\b${name}_temp_path\s/;
        push @http, "${name}_temp_path $prefix/tmp/$name";
    }

    spew("$prefix/nginx.conf", join '', map({ "$_;\n" } @main),
        "events {\n    worker_connections $connections;\n    ",
        $self->fill($opt->{events} // ''), "\n}\n",
        "http {\n", map({ "    $_;\n" } @http),
        "    include $prefix/http.conf;\n}\n");
    return $self;
}

my %version;

# what nginx -V says
sub version {
    my ($self) = @_;
    my $binary = ref $self ? $self->{binary}
                           : $ENV{TEST_NGINX_BINARY} // 'nginx';
    return $version{$binary} //= do {
        my $said = `\Q$binary\E -V 2>&1` // '';
        $said =~ /nginx version/ or croak "no nginx: $binary: $said";
        $said;
    };
}


# running

sub command {
    my ($self, %opt) = @_;
    my @command = ($self->{binary}, '-p', "$self->{prefix}/",
        '-e', "$self->{prefix}/error.log",
        '-c', "$self->{prefix}/nginx.conf");
    unshift @command, 'valgrind', '-q', "--error-exitcode=$SANITIZER_EXIT",
        "--log-file=$self->{prefix}/valgrind.%p",
        "--suppressions=$root/t/lib/valgrind.supp",
        '--leak-check=full', '--show-leak-kinds=definite',
        '--errors-for-leak-kinds=definite', '--child-silent-after-fork=no'
        if $ENV{TEST_NGINX_VALGRIND} && ($opt{valgrind} // 1);
    return \@command;
}

# what the caller's environment says comes last, and wins
sub environment {
    my ($self) = @_;
    my %more = map { $_ => defined $ENV{$_} ? ":$ENV{$_}" : '' }
               qw(ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS);
    my $leaks = defined $self->{leaks} ? ":detect_leaks=$self->{leaks}" : '';

    # libraries have no frame pointers: whole stacks for the suppressions
    return (
        ASAN_OPTIONS => "detect_leaks=1:exitcode=$SANITIZER_EXIT:"
            . 'fast_unwind_on_malloc=0:strict_string_checks=1:'
            . 'detect_stack_use_after_return=1'
            . $more{ASAN_OPTIONS} . $leaks,
        UBSAN_OPTIONS => "halt_on_error=1:print_stacktrace=1:"
            . "exitcode=$SANITIZER_EXIT" . $more{UBSAN_OPTIONS},
        LSAN_OPTIONS => 'print_suppressions=0:'
            . "suppressions=$root/t/lib/lsan.supp" . $more{LSAN_OPTIONS},
        %{ $self->{opt}{env} || {} });
}

# (pid, file with its output)
sub run {
    my ($self, @command) = @_;
    my $out = "$self->{prefix}/stderr";
    open my $log, '>>', $out or croak "$out: $!";
    my %env = $self->environment;

    my $pid = fork // croak "fork: $!";
    if ($pid == 0) {
        die_with_parent();
        @ENV{keys %env} = values %env;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP QUIT PIPE CHLD);
        open STDIN, '<', File::Spec->devnull;
        open STDOUT, '>&', $log;
        open STDERR, '>&', $log;
        { no warnings 'exec'; exec { $command[0] } @command }
        print STDERR "cannot run $command[0]: $!\n";
        POSIX::_exit(127);
    }
    return ($pid, $out);
}

# a test killed by SIGKILL must not leave its nginx behind
sub die_with_parent {
    my $machine = (POSIX::uname())[4];
    my $prctl = { x86_64 => 157, aarch64 => 167 }->{$machine} or return;
    syscall($prctl, 1, POSIX::SIGTERM(), 0, 0, 0);
}

# its status, undef when it does not end in time
sub reap {
    my ($pid, $seconds) = @_;
    local ($?, $!);
    my $status;
    wait_until($seconds, sub {
        my $got = waitpid $pid, WNOHANG;
        return 0 if $got == 0;
        $status = $got == $pid ? $? : 0;
        return 1;
    });
    return $status;
}

sub start {
    my ($self) = @_;
    croak 'nginx is running already' if $self->{pid};

    my $mark = $self->mark;
    ($self->{pid}) = $self->run(@{ $self->command });
    $live{ $self->{pid} } = $self;
    weaken $live{ $self->{pid} };
    delete @$self{qw(status gone)};
    $self->{started}++;

    my $ready = wait_until($ENV{TEST_NGINX_VALGRIND} ? 60 : 20, sub {
        return -1 unless $self->alive;
        return $self->ready;
    });
    return $self if $ready > 0;

    my $why = $ready < 0 ? 'nginx ended at once' : 'nginx is not ready';
    my $said = $self->log($mark) . $self->stderr;
    $self->kill_now;
    delete $self->{pid};
    $self->remove;
    croak "$why:\n$said";
}

# workers change their title when they are initialised
sub ready {
    my ($self) = @_;
    return $self->answers if $ENV{TEST_NGINX_VALGRIND} || !$self->{master};
    my @up = grep { title($_) =~ /nginx: worker process$/ } $self->workers;
    return @up >= $self->{workers};
}

sub answers {
    my ($self) = @_;
    my @ports = $self->{http} =~ /^\s*listen\s+\S*%%PORT(\d*)%%/mg;
    for (@ports) {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', Timeout => 1,
            PeerPort => $self->port($_ || 1)) or return 0;
        close $s;
    }
    return !$self->{master} || $self->workers >= $self->{workers};
}

sub alive {
    my ($self) = @_;
    return 0 unless $self->{pid};
    return 0 if $self->{gone};
    local ($?, $!);
    my $got = waitpid $self->{pid}, WNOHANG;
    return 1 if $got == 0;
    $self->{status} = $got == $self->{pid} ? $? : 0;
    $self->{gone} = 1;
    return 0;
}

sub pid { $_[0]{pid} }

# the pids of the worker processes, also of those shutting down
sub workers {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    return ($pid) unless $self->{master};
    return children($pid);
}

sub children {
    my ($pid) = @_;
    if (open my $fh, '<', "/proc/$pid/task/$pid/children") {
        my $list = <$fh> // '';
        return grep { parent($_) == $pid } split ' ', $list;
    }
    opendir my $proc, '/proc' or return;
    return sort { $a <=> $b } grep { /^\d+$/ && parent($_) == $pid }
        readdir $proc;
}

# of a process that is no zombie
sub parent {
    my ($pid) = @_;
    my $stat = slurp("/proc/$pid/stat");
    $stat =~ /^.*\) (\S) (\d+) /s or return 0;
    return $1 eq 'Z' ? 0 : $2;
}

sub title {
    my ($pid) = @_;
    my $title = slurp("/proc/$pid/cmdline");
    $title =~ s/\0+$//;
    $title =~ tr/\0/ /;
    $title =~ s/ +$//;
    return $title;
}

sub signal {
    my ($self, $name) = @_;
    return $self->alive && kill $name, $self->{pid};
}

# true when new workers have taken over; gone => 1 (or seconds) waits also
# until the old ones are gone
sub reload {
    my ($self, %opt) = @_;
    my %old = map { $_ => 1 } $self->workers;
    my $mark = $self->mark;
    $self->signal('HUP') or croak 'nginx is not running';

    my $done = wait_until($opt{timeout} // 20, sub {
        return -1 if !$self->alive;
        return -1 if $self->log($mark) =~ /\[emerg\]/;
        my @now = $self->workers;
        my @new = grep { !$old{$_} } @now;
        return 0 if @new < $self->{workers};
        return 1 if $ENV{TEST_NGINX_VALGRIND};
        return 0 if grep { title($_) !~ /nginx: worker process$/ } @new;
        return !grep { $old{$_} && title($_) !~ /shutting down$/ } @now;
    });
    return 0 unless $done > 0;
    return 1 unless $opt{gone};
    return $self->wait_gone(keys %old, $opt{gone} > 1 ? $opt{gone} : 20);
}

# wait_gone(pids, seconds): true when none of them runs any more
sub wait_gone {
    my ($self, @pids) = @_;
    my $seconds = pop @pids;
    return wait_until($seconds, sub {
        return !grep { -d "/proc/$_" && parent($_) } @pids;
    });
}

# asks nginx to end gracefully and does not wait
sub quit { $_[0]->signal('QUIT') }

# ends nginx gracefully; the test fails if that takes too long, or if nginx
# logged what it must not
sub stop {
    my ($self, %opt) = @_;
    my $pid = $self->{pid} or return 1;

    if (!$self->alive) {
        $self->problem('nginx was gone before it was stopped');
    }
    else {
        $self->quit;
        my $seconds = $opt{timeout} // 10;
        if (!wait_until($seconds, sub { !$self->alive })) {
            $self->problem("nginx did not end within $seconds s of QUIT: "
                . join '; ', map { "$_ " . title($_) } $self->workers);
            $self->kill_now;
        }
    }
    my $status = $self->{status} // 0;
    $self->problem("nginx ended with status $status") if $status;

    delete $live{$pid};
    delete $self->{pid};
    return $self->judge;
}

# ends it without grace and without a judgement
sub kill_now {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    my @workers = $self->workers;
    if ($self->alive) {
        $self->signal('TERM');
        wait_until(2, sub { !$self->alive }) or kill 'KILL', $pid;
        wait_until(5, sub { !$self->alive });
    }
    # orphans, if the master could not end them
    kill 'KILL', grep { title($_) =~ /nginx: worker/ } @workers;
    delete $live{$pid};
}

sub restart {
    my ($self) = @_;
    $self->stop;
    return $self->start;
}


# logs

sub prefix { $_[0]{prefix} }

# a place in the log to look from
sub mark { -s "$_[0]{prefix}/error.log" || 0 }

sub log       { slurp("$_[0]{prefix}/error.log", $_[1]) }
sub stderr    { slurp("$_[0]{prefix}/stderr") }
sub log_lines {
    my ($self, $re, $from) = @_;
    return grep { !$re || /$re/ } split /\n/, $self->log($from);
}

sub access_log {
    my ($self, $re) = @_;
    return grep { !$re || /$re/ }
           split /\n/, slurp("$self->{prefix}/access.log");
}

sub wait_log {
    my ($self, $re, $seconds, $from) = @_;
    return wait_until($seconds // 5, sub { $self->log($from) =~ /$re/ });
}

sub wait_access_log {
    my ($self, $re, $seconds) = @_;
    return wait_until($seconds // 5, sub {
        return scalar grep { /$re/ } $self->access_log });
}

# lines that are no problem in this test
sub expect_log {
    my ($self, @allow) = @_;
    push @{ $self->{allow} }, @allow;
    return $self;
}

# the lines for which stop() would fail the test
sub problems {
    my ($self) = @_;
    my @lines = split /\n/, $self->log . $self->stderr;
    if ($ENV{TEST_NGINX_VALGRIND}) {
        for my $path (glob "$self->{prefix}/valgrind.*") {
            push @lines, map { "valgrind: [alert] $_" }
                         split /\n/, slurp($path);
        }
    }
    my %seen;
    return @{ $self->{problem} || [] }, grep {
        my $line = $_;
        $line =~ $PROBLEM && !$seen{$line}++
            && !grep { $line =~ $_ } @{ $self->{allow} }
    } @lines;
}

sub problem {
    my ($self, $what) = @_;
    push @{ $self->{problem} }, $what;
}

sub judge {
    my ($self) = @_;
    my @problems = $self->problems;
    return 1 unless @problems;

    # a report of a sanitizer is more than the lines that give it away
    my $why = join "\n", @problems;
    if ($why =~ $SANITIZER) {
        ($why) = ($self->stderr . $self->log) =~ /^([^\n]*$SANITIZER.*)/sm;
    }
    $self->fail('nginx ran without trouble', $why);
    delete $self->{problem};
    # once is enough
    $self->expect_log(map { qr/^\Q$_\E$/ } @problems);
    return 0;
}

sub fail {
    my ($self, $name, $why) = @_;
    my $test = Test::Builder->new;
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    $test->ok(0, $name);
    my @lines = split /\n/, $why // '';
    splice @lines, 60, @lines, '...' if @lines > 60;
    $test->diag(join "\n", @lines);
    $self->{keep} = 1;
}

sub remove {
    my ($self, %opt) = @_;
    my $prefix = delete $self->{prefix} or return;
    my $test = Test::Builder->new;
    my $keep = exists $opt{keep} ? $opt{keep}
             : $self->{keep} || !$test->is_passing;
    if ($keep || $ENV{TEST_KEEP}) {
        $test->diag("nginx's files are kept in $prefix");
    }
    else {
        File::Path::remove_tree($prefix);
    }
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!, $@);
    $self->end;
}

# connections that the test still holds would keep nginx from ending
sub end {
    my ($self) = @_;
    if ($self->{pid}) {
        if (my $close = Resilience::Http->can('close_all')) {
            $close->(map { $_ ? $_->[0] : () } @{ $self->{ports} });
        }
        $self->stop;
    }
    $self->remove;
}

END {
    my $status = $?;
    for my $nginx (values %live) {
        $nginx->end if $nginx && $nginx->{owner} == $$;
    }
    $? = $status;
}

for my $name (qw(INT TERM HUP)) {
    $SIG{$name} = sub { exit 130 }
        if !$SIG{$name} || $SIG{$name} eq 'DEFAULT';
}

1;

__END__

=head1 NAME

Resilience::Nginx - an nginx with the module, in a directory of its own

=head1 SYNOPSIS

    my $n = Resilience::Nginx->new(vars => { A => $a->port }, http => <<'E');
        resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location / { resilience_pass a; }
        }
    E
    my $r = Resilience::Http->new($n->port)->get('/');
    $n->stop;

=head1 OPTIONS OF new AND check

    http            text inside http {}; %%PORT%%, %%PORT2%%, ... are free ports
                    on 127.0.0.1, %%PREFIX%% the directory, %%X%% vars' X.
                    Errors are said as of http.conf, with lines counted in it
    main            text of the main context (main.conf)
    events          text inside events {}
    vars            { NAME => value } for %%NAME%%
    files           { name => content }, written below the prefix
    workers         2
    connections     worker_connections, 1024
    log_level       info
    allow           [ qr/.../ ]: log lines that are no problem
    module          path of the module; 0: none. Default: TEST_NGINX_MODULE,
                    or build/ngx_http_resilience_module.so
    binary          default: TEST_NGINX_BINARY, or nginx
    env             { NAME => value } for nginx
    master          0: master_process off
    start           0: do not start yet

C<new> croaks, with the error log, when nginx does not start. C<check> runs
C<nginx -t> and returns whether it was content, and what it said.

=head1 METHODS

C<port>, C<port(2)>, C<prefix>, C<pid>, C<workers> (pids), C<alive>,
C<version> (what C<nginx -V> says). A port token that is in no C<listen>
refuses connections.

C<start>, C<stop> (gracefully; C<< timeout => s >>), C<restart>, C<quit>
(gracefully, without waiting), C<signal(NAME)>, C<conf($http, main => ..,
workers => n)> (rewrites the configuration), C<reload> (true when new workers
have taken over and old ones do not accept any more; C<< gone => 1 >>: when
those are gone; false when nginx refused the configuration), C<wait_gone(pids,
seconds)>.

C<log>, C<log_lines(qr//)>, C<wait_log(qr//, seconds)>, C<mark> (a place in
the log; last argument of the former), C<access_log(qr//)>,
C<wait_access_log(qr//, seconds)>, C<stderr>, C<expect_log(qr//)> (more
allowed lines), C<problems> (lines for which C<stop> would fail).

=head1 FAILURES

C<stop>, which also happens when the object or the test ends, fails the test
when nginx logged at alert or emerg (a leaked connection is an alert), when a
process of it crashed, when a sanitizer or valgrind has something to say, and
when it did not end in time (10 s). The directory is kept then.

=head1 ENVIRONMENT

TEST_NGINX_BINARY, TEST_NGINX_MODULE, TEST_NGINX_VALGRIND (run in valgrind),
TEST_TIME_FACTOR (multiplies every wait), TEST_KEEP (keep directories).

=cut
