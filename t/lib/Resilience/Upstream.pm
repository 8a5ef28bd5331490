package Resilience::Upstream;

use strict;
use warnings;

use Carp qw(croak);
use File::Basename qw(dirname);
use File::Spec;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $json = JSON::PP->new->ascii;
my $program = File::Spec->rel2abs(
    File::Spec->catfile(dirname(__FILE__), '..', 'upstream.pl'));

our $FACTOR = $ENV{TEST_TIME_FACTOR} || 1;


sub new {
    my ($class, @rules) = @_;
    my $pid = open my $out, '-|', $^X, $program or croak "upstream: $!";
    my $line = <$out> // croak 'upstream did not start';
    my ($port, $control_port) = split ' ', $line;
    my $control = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $control_port, Proto => 'tcp') or croak "upstream: $@";

    my $self = bless { pid => $pid, out => $out, port => $port, in => '',
                       control => $control, owner => $$ }, $class;
    $self->on('/', @rules) if @rules;
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->stop if $self->{owner} == $$;
}

sub stop {
    my ($self) = @_;
    close delete $self->{control} if $self->{control};
    if (my $pid = delete $self->{pid}) {
        kill 'TERM', $pid;
        close delete $self->{out};          # waits for it
    }
}

sub port { $_[0]{port} }
sub pid  { $_[0]{pid} }
sub addr { "127.0.0.1:$_[0]{port}" }
sub url  { "http://127.0.0.1:$_[0]{port}" . ($_[1] // '') }


sub on {
    my ($self, $match, @answers) = @_;
    $match = { path => $match } unless ref $match;
    croak 'on() needs an answer' unless @answers;
    for (@answers) {
        next if ref eq 'HASH';
        /^\d+$/ or croak "on() cannot answer with \"$_\"";
        $_ = { status => $_ };
    }
    $self->command(on => match => $match, answers => \@answers);
    return $self;
}

sub requests {
    my ($self, @select) = @_;
    my $found = $self->command('requests', selection(@select))->{requests};
    for (@$found) {
        $_->{body} = pack 'H*', $_->{body} if defined $_->{body};
    }
    return @$found;
}

sub connections { @{ shift->command('connections')->{connections} } }
sub count { shift->command('count', selection(@_))->{count} }
sub last_request { (shift->requests(selection(@_), last => 1))[-1] }
sub forget      { $_[0]->command('forget'); $_[0] }

sub refuse    { $_[0]->command(mode => mode => 'refuse'); $_[0] }
sub close_on_accept { $_[0]->command(mode => mode => 'close'); $_[0] }
sub reset_on_accept { $_[0]->command(mode => mode => 'reset'); $_[0] }
sub accept    { $_[0]->command(mode => mode => 'accept'); $_[0] }

sub release   { $_[0]->command(release => name => $_[1]); $_[0] }
sub rearm     { $_[0]->command(rearm => name => $_[1]); $_[0] }
sub keep_body { $_[0]->command(keep_body => bytes => $_[1]); $_[0] }
sub drop      { my $self = shift; $self->command(drop => @_)->{dropped} }

sub wait_requests { shift->wait_for(requests => @_) }
sub wait_arrived  { shift->wait_for(arrived => @_) }
sub wait_done     { shift->wait_for(done => @_) }
sub wait_aborted  { shift->wait_for(aborted => @_) }
sub wait_held     { shift->wait_for(held => @_) }
sub wait_stalled  { shift->wait_for(stalled => @_) }
sub wait_closed   { shift->wait_for(closed => @_) }
sub wait_accepted { shift->wait_for(accepted => @_) }

sub wait_open {
    my ($self, $n, $seconds) = @_;
    return $self->wait_for(open => $n, $seconds, exactly => 1);
}

sub wait_for {
    my ($self, $what, $n, $seconds, @select) = @_;
    my $timeout = ($seconds // 5) * $FACTOR;
    my $answer = $self->command_in($timeout + 10, wait => what => $what,
        n => $n // 1, timeout => $timeout, selection(@select));
    return $answer->{met};
}

# a lone argument is a path prefix
sub selection { @_ == 1 ? (path => $_[0]) : @_ }

sub command { shift->command_in(30 * $FACTOR, @_) }

sub command_in {
    my ($self, $timeout, $name, @rest) = @_;
    my $control = $self->{control} or croak 'upstream is stopped';
    print {$control} $json->encode({ cmd => $name, @rest }), "\n";
    $control->flush;

    my $end = clock_gettime(CLOCK_MONOTONIC) + $timeout;
    my $select = IO::Select->new($control);
    my $end_of_line;
    while (($end_of_line = index $self->{in}, "\n") < 0) {
        my $left = $end - clock_gettime(CLOCK_MONOTONIC);
        croak "upstream: no answer to $name" if $left <= 0;
        next unless $select->can_read($left);
        sysread $control, $self->{in}, 1 << 20, length $self->{in}
            or croak 'upstream died';
    }
    my $answer = $json->decode(substr $self->{in}, 0, $end_of_line + 1, "");
    croak "upstream: $answer->{error}" if $answer->{error};
    return $answer;
}

1;

__END__

=head1 NAME

Resilience::Upstream - a scripted HTTP upstream in a process of its own

=head1 SYNOPSIS

    my $u = Resilience::Upstream->new;             # listening on $u->port
    $u->on('/v1/', { status => 503 }, { openai => { content => 'hi' } });
    ...
    ok($u->wait_requests(2), 'asked twice');
    is($u->last_request->{header}{authorization}, 'Bearer sk-1', 'key');

=head1 RULES

C<< new(@answers) >> is C<new> and C<< on('/', @answers) >>.

C<< $u->on($match, @answers) >>: C<$match> is a path prefix, or C<< { path =>
'/v1/', method => 'POST', headers => { 'x-a' => 'b' } } >>. The longest path
wins, then the most headers, then the newest. The same match given again
replaces the rule. Answers are given in turn and the last one repeats;
C<< times => 3 >> in an answer gives it three times. A number is short for
C<< { status => number } >>. Without a rule: 404 with C<X-Upstream: no rule>.

An answer is a hash. Strings are octets.

    status, reason      200
    headers             { Name => 'v' or [ 'v1', 'v2' ] }, or a list of pairs
                        [ [ Name, 'v' ], ... ]
    body                octets, or a reference to be sent as JSON
    body_repeat         body x n
    type                Content-Type
    events              server-sent events, a chunk each: { data, event },
                        { comment } or { raw }; data may be a reference (JSON).
                        gap_ms: pause before it; hold: see below
    gap_ms              pause before each event without its own
    framing             length | chunked | close   (events: chunked)
    http10, close       answer as HTTP/1.0; close after the answer
    early               answer when the request's header is there, not its body

    delay_ms            silence before the status line
    header_delay_ms     pause between the status line and the headers
    body_delay_ms       pause between the headers and the body
    hold => 'name'      wait, in an answer before its first byte, in an event
                        before it, until $u->release('name')
    end_hold, end_gap_ms   the same, before the end of the body is said

    silent              accept the request, never answer
    reset_before_header, close_before_header
    reset_in_header,    close_in_header
    reset_after_bytes, close_after_bytes, stall_after_bytes     => n (of body)
    reset_after_events, close_after_events, stall_after_events  => n
    end                 clean (default) | no_terminal (events without their
                        [DONE] or message_stop, clean end of body) | rst |
                        close (without the last chunk) | stall

    openai              { content | chunks => [..], model, id, finish, usage,
                        stream => 0|1 }: a chat completion; streamed when the
                        request asks for it, a chunk for each word of content
    anthropic           the same for /v1/messages
    openai_error, anthropic_error     { status, type, code, message }

Anything else in the same answer (status, headers, gap_ms, stall_after_events,
end, ...) goes with a shorthand: C<< { openai => {}, end => 'no_terminal' } >>.
An event { terminal => 1 } is one that C<no_terminal> leaves out.

=head1 THE LISTENER

C<refuse> closes it (connections are refused, the port stays ours),
C<close_on_accept>, C<reset_on_accept>, and C<accept> is normal again.
C<drop> closes all connections, C<< drop(idle => 1) >> those between requests,
C<< reset => 1 >> with a reset. C<port>, C<addr>, C<url($path)>, C<stop>.

=head1 RECORDS

C<requests>, C<count>, C<last_request>: all, or of a path prefix, or
C<< (path => .., method => ..) >>. Each a hash:

    n method uri version    n counts from 0
    headers header          list of pairs; hash by lower-case name
    body body_length sha256 body is undef over 64 KB (keep_body(bytes))
    conn conn_request       connection id; number of the request on it, from 1
    at received done aborted stalled    times (monotonic seconds)
    sent                    bytes of the answer written

C<aborted>: the peer closed before the answer was over. C<forget> drops the
records. C<connections>: { id, opened, closed, closed_by => peer|us, open,
requests }.

=head1 WAITING

Each C<wait_X(n, seconds, selection)> returns true as soon as there are n, false
after the time (5 s; multiplied by TEST_TIME_FACTOR):

    wait_requests   requests received with their bodies
    wait_arrived    requests whose header arrived
    wait_done       answers given in full (or ended as scripted)
    wait_aborted    requests whose peer went away
    wait_held       answers that wait in a hold
    wait_stalled    answers that are stalled
    wait_closed     connections closed by the peer
    wait_accepted   connections accepted so far
    wait_open       exactly n connections open now

C<release(name)> opens a hold for good, until C<rearm(name)>.

=cut
