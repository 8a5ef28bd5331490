package Resilience::Wire;

# A scripted server of another protocol than HTTP, in a process of its own:
# fastcgi, uwsgi, scgi or memcached. One request a connection.
#
#     my $u = Resilience::Wire->new('fastcgi');
#     $u->on({ status => 500 }, { body => 'ok' });  # in turn, the last repeats
#     $u->count; $u->last_request;                  # { name => value, body }
#     $u->refuse; $u->accept; $u->forget;
#
# An answer: { status, body, redirect }, { close => 1 } or { silent => 1 }; memcached has
# { body }, { miss => 1 } and { error => 1 }.

use strict;
use warnings;

use Carp qw(croak);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);

my $json = JSON::PP->new->latin1;

my %serve = (fastcgi => \&fastcgi, uwsgi => \&uwsgi, scgi => \&scgi,
             memcached => \&memcached);

sub new {
    my ($class, $protocol) = @_;
    my $listener = listener(0);
    socketpair(my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or croak "socketpair: $!";
    my $port = $listener->sockport;

    my $pid = fork // croak "fork: $!";
    if ($pid == 0) {
        close $ours;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        $SIG{PIPE} = 'IGNORE';
        eval { serve($serve{$protocol}, $listener, $port, $theirs) };
        print STDERR "wire: $@" if $@;
        POSIX::_exit(0);
    }
    close $theirs;
    $ours->autoflush(1);
    return bless { port => $port, control => $ours, pid => $pid,
                   owner => $$ }, $class;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    return if $self->{owner} != $$;
    close $self->{control};
    waitpid $self->{pid}, 0;
}

sub port { $_[0]{port} }

sub on           { my $s = shift; $s->command(on => [ @_ ]); $s }
sub count        { $_[0]->command('seen')->{count} }
sub last_request { $_[0]->command('seen')->{last} }
sub forget       { $_[0]->command('forget'); $_[0] }
sub refuse       { $_[0]->command('refuse'); $_[0] }
sub accept       { $_[0]->command('accept'); $_[0] }

sub command {
    my ($self, @command) = @_;
    print { $self->{control} } $json->encode(\@command), "\n";
    my $line = readline $self->{control};
    return $json->decode($line // croak 'wire: the server is gone');
}


# its process

sub listener {
    my ($port) = @_;
    return IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64,
        LocalPort => $port, ReuseAddr => 1) // croak "listen: $@";
}

sub serve {
    my ($talk, $listener, $port, $control) = @_;
    my $select = IO::Select->new($listener, $control);
    my @answers = ({});
    my %seen = (count => 0, last => undef);
    my @silent;
    $control->autoflush(1);

    while (1) {
        for my $ready ($select->can_read) {
            if ($ready == $control) {
                my $line = readline $control // return;
                my ($name, $value) = @{ $json->decode($line) };
                @answers = @$value if $name eq 'on';
                %seen = (count => 0, last => undef)
                    if $name eq 'on' || $name eq 'forget';
                if ($name eq 'refuse' && $listener) {
                    $select->remove($listener);
                    close $listener;
                    undef $listener;
                }
                if ($name eq 'accept' && !$listener) {
                    $select->add($listener = listener($port));
                }
                print {$control} $json->encode(\%seen), "\n";
                next;
            }
            my $c = $listener->accept or next;
            my $answer = @answers > 1 ? shift @answers : $answers[0];
            my ($request, $bytes) = $talk->($c, $answer);
            next unless $request;
            $seen{count}++;
            $seen{last} = $request;
            push @silent, $c if $answer->{silent};
            next if $answer->{silent} || $answer->{close};
            syswrite $c, $bytes;
            close $c;
        }
    }
}

sub take {
    my ($c, $n) = @_;
    my $in = '';
    while (length $in < $n) {
        sysread $c, $in, $n - length $in, length $in or die "cut\n";
    }
    return $in;
}

sub cgi {
    my ($answer, $first) = @_;
    my $status = $answer->{status} // 200;
    my $body = $answer->{body} // '';
    $first .= "$status X\r\n";
    $first .= "X-Accel-Redirect: $answer->{redirect}\r\n"
        if $answer->{redirect};
    return "${first}Content-Type: text/plain\r\nContent-Length: "
        . length($body) . "\r\n\r\n$body";
}

sub fastcgi {
    my ($c, $answer) = @_;
    my ($params, $body, %done) = ('', '');
    until ($done{4} && $done{5}) {
        my (undef, $type, $id, $length, $padding)
            = unpack 'CCnnC', take($c, 8);
        my $text = take($c, $length);
        take($c, $padding);
        $params .= $text if $type == 4;
        $body .= $text if $type == 5;
        $done{$type} = 1 if !$length;
    }
    my %request = (body => $body);
    while (length $params) {
        my @length;
        for (0, 1) {
            my $n = unpack 'C', $params;
            my $long = $n > 127;
            push @length, $long ? unpack('N', $params) & 0x7fffffff : $n;
            substr $params, 0, $long ? 4 : 1, '';
        }
        my $name = substr $params, 0, $length[0], '';
        $request{$name} = substr $params, 0, $length[1], '';
    }
    my $out = cgi($answer, 'Status: ');
    return \%request, pack('CCnnCC', 1, 6, 1, length $out, 0, 0) . $out
        . pack('CCnnCC', 1, 6, 1, 0, 0, 0)
        . pack('CCnnCC', 1, 3, 1, 8, 0, 0) . "\0" x 8;
}

sub uwsgi {
    my ($c, $answer) = @_;
    my (undef, $size) = unpack 'Cv', take($c, 4);
    my $params = take($c, $size);
    my %request = unpack '(v/a)*', $params;
    $request{body} = take($c, $request{CONTENT_LENGTH} || 0);
    return \%request, cgi($answer, 'HTTP/1.1 ');
}

sub scgi {
    my ($c, $answer) = @_;
    my $size = '';
    while ((my $ch = take($c, 1)) ne ':') { $size .= $ch }
    my @params = split /\0/, take($c, $size), -1;
    pop @params;
    my %request = @params;
    take($c, 1);
    $request{body} = take($c, $request{CONTENT_LENGTH} || 0);
    return \%request, cgi($answer, 'Status: ');
}

sub memcached {
    my ($c, $answer) = @_;
    my $line = '';
    $line .= take($c, 1) until $line =~ /\r\n\z/;
    my ($key) = $line =~ /^get (\S+)/;
    my $body = $answer->{body} // '';
    return { key => $key }, $answer->{error} ? "SERVER_ERROR busy\r\n"
        : $answer->{miss} ? "END\r\n"
        : "VALUE $key 0 " . length($body) . "\r\n$body\r\nEND\r\n";
}

1;
