#!/usr/bin/env perl

# The demo's driver; examples/demo.sh runs it and says what it is.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Spec;
use File::Temp qw(tempdir);
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(WNOHANG);
use Socket qw(:DEFAULT);
use Time::HiRes qw(sleep clock_gettime CLOCK_MONOTONIC);

use Resilience::Upstream;

use constant {
    GAP     => 150,             # ms between two words of a stream
    PATIENT => 30,              # seconds for what should take none
};

my $root = File::Spec->rel2abs(dirname(dirname(__FILE__)));
my $module = File::Spec->rel2abs($ENV{MODULE}
                       // "$root/build/ngx_http_resilience_module.so");
my $binary = $ENV{NGINX_BINARY} // 'nginx';
my $keep = grep { $_ eq '--keep' } @ARGV;
my $owner = $$;

my ($dir, $nginx, $port, $primary, $backup);
my ($calls, $failed) = (0, 0);

STDOUT->autoflush(1);


# what is printed

my %colour = -t STDOUT && !$ENV{NO_COLOR}
    ? (act => "\e[1;36m", ok => "\e[32m", bad => "\e[1;31m", dim => "\e[2m",
       cmd => "\e[1m", off => "\e[0m")
    : map { $_ => '' } qw(act ok bad dim cmd off);

sub paint { "$colour{$_[0]}$_[1]$colour{off}" }

sub put { print map { /\n\z/ ? $_ : "$_\n" } @_ }

sub act {
    my ($title) = @_;
    my $line = "-- $title ";
    put '', paint(act => $line . '-' x (78 - length $line)), '';
}

sub check {
    my ($true, $what) = @_;
    put '   ' . ($true ? paint(ok => 'ok') : paint(bad => 'FAILED'))
        . "  $what";
    $failed++ unless $true;
    return $true;
}


# what runs

sub now { clock_gettime(CLOCK_MONOTONIC) }

# bound but not listening, so that the port stays ours until nginx has it
sub reserve_port {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
    bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!\n";
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!\n";
    return ($s, (unpack_sockaddr_in(getsockname $s))[0]);
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<:raw', $path or return '';
    local $/;
    return scalar(<$fh>) // '';
}

# demo.conf with this run's ports and module, and temporary files in $dir
sub write_conf {
    my $conf = slurp("$root/examples/demo.conf");
    my %port = (8080 => $port, 9001 => $primary->port, 9002 => $backup->port);

    $conf =~ s/127\.0\.0\.1:(8080|9001|9002)\b/127.0.0.1:$port{$1}/g;
    $conf =~ s/^load_module .*;/load_module $module;/m;

    my $paths = join '', map { "    ${_}_temp_path $dir/tmp/$_;\n" }
                qw(client_body proxy fastcgi uwsgi scgi);
    $conf =~ s/^http \{\n/http {\n$paths/m;

    open my $fh, '>', "$dir/nginx.conf" or die "$dir/nginx.conf: $!\n";
    print {$fh} $conf;
    close $fh or die "$dir/nginx.conf: $!\n";
}

sub start {
    $primary = Resilience::Upstream->new;
    $backup = Resilience::Upstream->new;

    answers($primary, 'I am the primary provider.');
    answers($backup, 'I am the backup and at your service.');

    # for --keep: a client can have the primary fail
    $primary->on({ path => '/', headers => { 'x-demo-primary' => $_ } }, $_)
        for 429, 500, 503;

    $dir = tempdir('resilience-demo.XXXXXXXX', TMPDIR => 1);
    chmod 0755, $dir;
    mkdir "$dir/tmp" or die "mkdir: $!\n";

    (my $reserved, $port) = reserve_port();
    write_conf();

    $nginx = fork // die "fork: $!\n";

    if ($nginx == 0) {
        open STDIN, '<', File::Spec->devnull;
        open STDERR, '>>', "$dir/stderr";
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        exec { $binary } $binary, '-p', "$dir/", '-c', "$dir/nginx.conf",
            '-e', "$dir/error.log",
            '-g', "daemon off; pid $dir/nginx.pid;"
                . " error_log $dir/error.log info;"
            or do { print STDERR "$binary: $!\n"; POSIX::_exit(127) };
    }

    my $end = now() + PATIENT;

    until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)) {
        if (waitpid($nginx, WNOHANG) != 0 || now() > $end) {
            undef $nginx;
            die "nginx did not start:\n", slurp("$dir/stderr"),
                slurp("$dir/error.log");
        }
        sleep 0.02;
    }
}

sub answers {
    my ($upstream, $text) = @_;
    $upstream->on('/v1/chat/completions',
                  { openai => { content => $text }, gap_ms => GAP });
    $upstream->on('/v1/messages',
                  { anthropic => { content => $text }, gap_ms => GAP });
}

sub fails {
    my ($upstream) = @_;
    $upstream->on('/v1/chat/completions', { openai_error => {
        status => 503, message => 'The server is overloaded' } });
}

sub stop {
    if ($nginx) {
        kill 'TERM', $nginx;

        my $end = now() + PATIENT;
        until (waitpid($nginx, WNOHANG)) {
            kill 'KILL', $nginx if now() > $end;
            sleep 0.01;
        }
        undef $nginx;
    }

    $_ && $_->stop for $primary, $backup;

    remove_tree($dir) if defined $dir;
    undef $dir;
}

END {
    if ($$ == $owner) {
        local ($?, $!);
        stop();
    }
}

$SIG{$_} = sub { exit($keep ? 0 : 130) } for qw(INT TERM HUP);


# the client: curl -i -N; what it prints is looked at line by line

sub call {
    my ($path, $request, %opt) = @_;
    my $url = "http://127.0.0.1:$port$path";
    my @command = ('curl', '-isSN', '--max-time', PATIENT,
                   map({ ('-H', $_) } @{ $opt{headers} || [] }),
                   $url, '--json', $request);

    $request =~ s/,"messages"/,\n               "messages"/;

    put paint(cmd => "   \$ curl -iN $url \\"),
        paint(cmd => "       --json '$request'")
        unless $opt{quiet};

    my $json = JSON::PP->new;
    my %got = (status => 0, header => {}, text => '', at => []);
    my $start = now();
    my $in_header = 1;

    open my $curl, '-|', @command or die "curl: $!\n";

    while (my $line = <$curl>) {
        my $at = now() - $start;
        $line =~ s/\r?\n\z//;

        if ($in_header) {
            $got{status} = $1 if $line =~ m{^HTTP/\S+ (\d+)};
            $got{header}{lc $1} = $2 if $line =~ /^([^:]+): *(.*)/;
            $in_header = 0 if $line eq '';
            print_line($at, $line)
                if !$opt{quiet} && $line =~ /^(?:HTTP|X-Resilience)/i;
            next;
        }

        next if $line eq '';

        print_line($at, $line) unless $opt{quiet};

        if ($line =~ /^data: (\{.*)/) {
            my $event = $json->decode($1);
            my $word = $event->{choices} ? $event->{choices}[0]{delta}{content}
                                         : $event->{delta}{text};
            next unless defined $word && length $word;
            $got{text} .= $word;
            push @{ $got{at} }, $at;
        }
        elsif ($line =~ /^\{/) {
            my $body = $json->decode($line);
            $got{text} = $body->{choices}[0]{message}{content} // '';
        }
    }

    close $curl;
    $calls++;
    put '' unless $opt{quiet};

    $got{provider} = $got{header}{'x-resilience-provider'} // '';
    $got{attempts} = $got{header}{'x-resilience-attempts'} // 0;
    return \%got;
}

sub print_line {
    my ($at, $line) = @_;
    $line = substr($line, 0, 61) . '...' if length $line > 64;
    put sprintf '   %s  %s', paint(dim => sprintf '%6.3fs', $at), $line;
}

# did the words come one by one, and not at the end in one piece?
sub streamed {
    my ($got) = @_;
    my @at = @{ $got->{at} };
    return @at > 2 && $at[-1] - $at[0] > (@at - 1) * GAP / 1000 * 0.7;
}

my $who = '"messages":[{"role":"user","content":"Who are you?"}]';

sub chat {
    return call('/v1/chat/completions',
                qq({"model":"gpt-5","stream":true,$who}));
}

sub message {
    return call('/v1/messages', qq({"model":"claude-x","max_tokens":64,)
                                . qq("stream":true,$who}));
}

sub quiet_chat {
    return call('/v1/chat/completions', qq({"model":"gpt-5",$who}),
                quiet => 1, headers => [ @_ ]);
}


# what nginx says of itself

sub status {
    my $curl = `curl -sS --max-time 10 http://127.0.0.1:$port/status`;
    return JSON::PP->new->decode($curl);
}

sub breaker {
    my ($provider, $tenant) = @_;
    my ($found) = grep { $_->{provider} eq $provider
                         && $_->{tenant} eq ($tenant // '-') }
                  @{ status()->{breakers} };
    return $found // { state => 'none' };
}

sub print_status {
    my @columns = qw(tenant provider state failures successes rejected
                     retry_in_ms);
    my $format = '   %-7s %-15s %-9s %8s %9s %8s %11s';

    put '', paint(dim => '   GET /status: breakers'),
        paint(dim => sprintf $format, @columns);
    put map { sprintf $format, @$_{@columns} } @{ status()->{breakers} };
}

# the access log's line of a call, counted back from the last; it is written
# a little later than the client has its answer
sub logged {
    my ($back) = @_;
    my $end = now() + PATIENT;

    while (1) {
        my @lines = split /\n/, slurp("$dir/calls.log");
        if (@lines >= $calls) {
            my $line = $lines[-1 - $back];
            my $indent = ' ' x (4 + index $line, '"');
            $line =~ s/, /,\n$indent/g;
            return "   $line";
        }
        return '   (it did not come)' if now() > $end;
        sleep 0.02;
    }
}


# the story

sub prologue {
    put sprintf(<<'E', $port, $primary->port, $backup->port);
Clients call nginx on port %d. It knows two providers, both scripted:
the primary on port %d and the backup on port %d.
E
}

sub all_is_well {
    act 'Act 1: all is well';

    my $got = chat();

    check $got->{status} == 200 && $got->{provider} eq 'primary',
          'the primary answered';
    check $got->{text} eq 'I am the primary provider.' && streamed($got),
          'word by word, as it was said';
    check $primary->last_request->{header}{authorization}
              eq 'Bearer key-of-the-primary',
          'with a key that the client does not know';

    put '', '   The same in Anthropic\'s wire format:', '';

    $got = message();

    check $got->{provider} eq 'primary-claude'
          && $got->{text} eq 'I am the primary provider.' && streamed($got),
          'the primary answered, word by word';

    print_status();
}

sub primary_fails {
    act 'Act 2: the primary starts to answer 503';

    fails($primary);

    my $got = chat();

    check $got->{status} == 200 && $got->{provider} eq 'backup',
          'the same call was answered by the backup';
    check $got->{text} eq 'I am the backup and at your service.'
          && streamed($got), 'the client saw nothing else of it';
    check $got->{attempts} == 3,
          'after two attempts on the primary: 3 attempts in all';
    check $backup->last_request->{body} =~ /"model":"llama3"/,
          'the backup was asked for its own model';
    put '', '   The access log says, with $resilience_trace:', logged(0);

    print_status();
}

sub breaker_opens {
    act 'Act 3: the breaker opens';

    my $more = 0;

    while (breaker('primary')->{state} ne 'open' && $more < 10) {
        quiet_chat();
        $more++;
    }

    check breaker('primary')->{state} eq 'open' && $more == 2,
          "open after $more more calls: 3 failed in a row";

    my $asked = $primary->count;
    my @got = map { quiet_chat() } 1 .. 5;

    check 5 == (grep { $_->{status} == 200 && $_->{provider} eq 'backup'
                       && $_->{attempts} == 1 } @got),
          '5 more calls were answered by the backup at the first attempt';
    check $primary->count == $asked,
          "the primary saw none of them: $asked requests before, "
          . $primary->count . ' after';

    quiet_chat('X-Tenant-Id: blue');

    check $primary->count == $asked + 2 && breaker('primary', 'blue')->{state}
              eq 'closed',
          'another tenant has a breaker of its own: it asked the primary';

    put '', '   The access log says of one of the five:', logged(1);

    print_status();
}

sub primary_recovers {
    act 'Act 4: the primary recovers';

    answers($primary, 'I am back.');

    my ($asked, $polls, $end) = ($primary->count, 0, now() + PATIENT);

    while (breaker('primary')->{retry_in_ms} > 0 && now() < $end) {
        $polls++;
        sleep 0.05;
    }

    check $primary->count == $asked,
          "nothing was sent to it until retry_in_ms was 0 ($polls looks)";

    my $got = quiet_chat();
    my $state = breaker('primary')->{state};

    check $got->{provider} eq 'primary' && $got->{text} eq 'I am back.'
          && $state eq 'half_open', "the next call is a probe: $state";

    $got = quiet_chat();
    $state = breaker('primary')->{state};

    check $got->{provider} eq 'primary' && $state eq 'closed',
          "a second good one closes the breaker: $state";

    print_status();
}

sub epilogue {
    my @alerts = grep { /\[(?:alert|emerg)\]/ }
                 split /\n/, slurp("$dir/error.log");

    put '';
    check !@alerts, 'nginx logged no alert';
    put @alerts if @alerts;

    put '', $failed ? paint(bad => 'Not all of it came out as told.')
                    : 'All of it came out as told.';
}

sub leave_running {
    my $url = "http://127.0.0.1:$port";

    put sprintf(<<'E', $port, $primary->port, $backup->port);
nginx listens on port %d, the primary provider on %d, the backup on %d.

E

    my $text = <<"E";
# a chat, streamed
curl -iN $url/v1/chat/completions \\
     --json '{"model":"gpt-5","stream":true,"messages":[]}'

# Anthropic's wire format
curl -iN $url/v1/messages \\
     --json '{"model":"claude-x","stream":true,"messages":[]}'

# the primary answers 503 (or 429, 500) to this one;
# after three of them its breaker opens
curl -iN $url/v1/chat/completions \\
     -H 'X-Demo-Primary: 503' --json '{"model":"gpt-5","messages":[]}'

# breakers and counters
curl -s $url/status | json_pp

# what each call came to, and why
tail -f $dir/*.log

# in an nginx of one's own, at the top of its nginx.conf
load_module $module;

# Ctrl-C stops all of it
E

    $text =~ s/^(#.*)/paint(dim => $1)/gme;
    print $text;

    waitpid $nginx, 0;
    undef $nginx;
    die "nginx has ended\n";
}


start();

leave_running() if $keep;

prologue();
all_is_well();
primary_fails();
breaker_opens();
primary_recovers();
epilogue();

exit($failed ? 1 : 0);
