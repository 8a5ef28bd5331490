package Resilience::Http;

use strict;
use warnings;

use Carp qw(croak);
use Errno qw(EAGAIN EINPROGRESS EINTR EISCONN);
use IO::Handle;
use Scalar::Util qw(weaken);
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant READ_SIZE => 256 * 1024;

our $FACTOR = $ENV{TEST_TIME_FACTOR} || 1;

my %open;                       # address of the object => it, weak

sub now { clock_gettime(CLOCK_MONOTONIC) }


sub new {
    my ($class, $port, %opt) = @_;
    $port = $port->port if ref $port;
    return bless { timeout => 10, host => '127.0.0.1', version => '1.1',
                   port => $port, in => '', %opt }, $class;
}

sub get  { my ($c, @rest) = @_; return $c->request(GET => @rest) }
sub head { my ($c, @rest) = @_; return $c->request(HEAD => @rest) }
sub put  { my ($c, @rest) = @_; return $c->request(PUT => @rest) }
sub del  { my ($c, @rest) = @_; return $c->request(DELETE => @rest) }

# post(path, body => ...) or post(path, { ... } to be sent as JSON, ...)
sub post {
    my ($c, $path, @rest) = @_;
    unshift @rest, 'json' if ref $rest[0];
    return $c->request(POST => $path, @rest);
}

sub request {
    my ($c, $method, $path, %opt) = @_;
    my $r = $c->start($method, $path, %opt);
    $r->read_until_end($opt{timeout} // $c->{timeout});
    $c->close if $r->{error};
    return $r;
}

# sends the request; nothing is read until the response is asked
sub start {
    my ($c, $method, $path, %opt) = @_;
    my $bytes = $c->bytes_of($method, $path, %opt);
    $c->connect;
    my $r = $c->response($method);
    $c->send_raw($bytes);
    return $r;
}

sub bytes_of {
    my ($c, $method, $path, %opt) = @_;
    my $version = $opt{version} // $c->{version};
    my @headers = map { pairs($_) } grep { $_ } $c->{headers}, $opt{headers};
    my $body = $opt{body};

    if (defined $opt{json}) {
        require JSON::PP;
        $body = JSON::PP->new->utf8->canonical->encode($opt{json});
    }

    my %has = map { lc $_->[0] => 1 } @headers;
    push @headers, [ 'Content-Type', 'application/json' ]
        if defined $opt{json} && !$has{'content-type'};
    unshift @headers, [ Host => "$c->{host}:$c->{port}" ]
        unless $has{host} || $version eq '1.0';
    my $keep = $opt{keepalive} // $c->{keepalive} // 1;
    push @headers, [ Connection => $keep ? 'keep-alive' : 'close' ]
        if !$has{connection} && $keep != ($version ne '1.0');

    if ($opt{chunked}) {
        push @headers, [ 'Transfer-Encoding', 'chunked' ];
        my $size = $opt{chunked} > 1 ? $opt{chunked} : 4096;
        my $in = $body // '';
        $body = '';
        for (my $at = 0; $at < length $in; $at += $size) {
            my $piece = substr $in, $at, $size;
            $body .= sprintf("%x\r\n", length $piece) . "$piece\r\n";
        }
        $body .= "0\r\n\r\n";
    }
    elsif (defined $body && !$has{'content-length'}
           && !$has{'transfer-encoding'})
    {
        push @headers, [ 'Content-Length', length $body ];
    }
    return join '', "$method $path HTTP/$version\r\n",
        map({ "$_->[0]: $_->[1]\r\n" } @headers), "\r\n", $body // '';
}

sub pairs {
    my ($headers) = @_;
    if (ref $headers eq 'HASH') {
        return map { my $name = $_;
                     map { [ $name, $_ ] } ref $headers->{$name}
                         ? @{ $headers->{$name} } : $headers->{$name} }
               sort keys %$headers;
    }
    my @list = @$headers;
    return @list if @list && ref $list[0];
    my @pairs;
    push @pairs, [ splice @list, 0, 2 ] while @list;
    return @pairs;
}

# the next response on this connection
sub response {
    my ($c, $method) = @_;
    return Resilience::Http::Response->new($c, $method // 'GET');
}

sub read_response {
    my ($c, $method, $seconds) = @_;
    my $r = $c->response($method);
    $r->read_until_end($seconds // $c->{timeout});
    return $r;
}


# the connection

sub connect {
    my ($c) = @_;
    return $c if $c->{fh} && !$c->stale;
    $c->close;

    socket(my $fh, PF_INET, SOCK_STREAM, 0) or croak "socket: $!";
    if ($c->{rcvbuf}) {
        setsockopt($fh, SOL_SOCKET, SO_RCVBUF, $c->{rcvbuf})
            or croak "SO_RCVBUF: $!";
    }
    if ($c->{sndbuf}) {
        setsockopt($fh, SOL_SOCKET, SO_SNDBUF, $c->{sndbuf})
            or croak "SO_SNDBUF: $!";
    }
    $fh->blocking(0);
    my $address = pack_sockaddr_in($c->{port}, inet_aton($c->{host}));
    if (!CORE::connect($fh, $address)) {
        $! == EINPROGRESS or croak "connect to port $c->{port}: $!";
        ready($fh, 1, $c->{timeout}) or croak "connect: no answer";
        $! = unpack 'i', getsockopt $fh, SOL_SOCKET, SO_ERROR;
        $! == 0 or croak "connect to port $c->{port}: $!";
    }
    setsockopt($fh, IPPROTO_TCP, TCP_NODELAY, 1);
    @$c{qw(fh in eof reset broken)} = ($fh, '', 0, 0, 0);
    $c->{connects}++;
    $open{0 + $c} = $c;
    weaken $open{0 + $c};
    return $c;
}

sub connects { $_[0]{connects} // 0 }
sub is_open  { $_[0]{fh} && !$_[0]{eof} ? 1 : 0 }

sub local_port {
    my ($c) = @_;
    return (unpack_sockaddr_in(getsockname $c->{fh}))[0];
}

# closed by the peer while idle, or not to be used again
sub stale {
    my ($c) = @_;
    return 1 if $c->{eof} || $c->{no_reuse};
    return 0 if $c->{in} ne '' || !ready($c->{fh}, 0, 0);
    $c->fill(0);
    return $c->{eof};
}

sub ready {
    my ($fh, $write, $seconds) = @_;
    my $bits = '';
    vec($bits, fileno $fh, 1) = 1;
    my $end = now() + $seconds;
    while (1) {
        my $left = $end - now();
        $left = 0 if $left < 0;
        my ($r, $w) = $write ? (undef, $bits) : ($bits, undef);
        my $n = select $r, $w, undef, $left;
        return 1 if $n > 0;
        return 0 if now() >= $end;
    }
}

# the peer may answer, and stop reading, before it has all
sub send_raw {
    my ($c, $bytes, $seconds) = @_;
    $c->connect unless $c->{fh};
    my $end = now() + ($seconds // $c->{timeout}) * $FACTOR;
    my $at = 0;
    local $SIG{PIPE} = 'IGNORE';
    utf8::downgrade($bytes, 1) or croak 'send_raw needs octets';

    while ($at < length $bytes) {
        my $n = syswrite $c->{fh}, $bytes, READ_SIZE, $at;
        if (defined $n) {
            $at += $n;
            next;
        }
        next if $! == EINTR;
        if ($! != EAGAIN) {
            # the answer may be there nonetheless
            $c->{broken} = 1;
            last;
        }

        my $bits = '';
        vec($bits, fileno $c->{fh}, 1) = 1;
        my $left = $end - now();
        last if $left <= 0;
        my ($r, $w) = ($c->{eof} ? undef : $bits, $bits);
        select $r, $w, undef, $left;
        $c->fill(0) if !$c->{eof} && vec $r, fileno $c->{fh}, 1;
        last if $c->{reset};
    }
    $c->{sent} = $at;
    return $at == length $bytes;
}

# end of what we send; the answer can still be read
sub send_end { shutdown $_[0]{fh}, 1 }

# reads once; true when something came, or the end
sub fill {
    my ($c, $seconds) = @_;
    return 0 if $c->{eof} || !$c->{fh};
    return 0 unless ready($c->{fh}, 0, $seconds);
    my $n = sysread $c->{fh}, $c->{in}, $c->{read_size} || READ_SIZE,
        length $c->{in};
    if (!defined $n) {
        return 0 if $! == EAGAIN || $! == EINTR;
        @$c{qw(eof reset)} = (1, 1);
    }
    elsif ($n == 0) {
        @$c{qw(eof reset)} = (1, $c->{broken});
    }
    return 1;
}

# true when the peer has closed; what comes before is kept
sub wait_closed {
    my ($c, $seconds) = @_;
    my $end = now() + ($seconds // $c->{timeout}) * $FACTOR;
    while ($c->{fh} && !$c->{eof}) {
        my $left = $end - now();
        return 0 if $left <= 0;
        $c->fill($left);
    }
    return 1;
}

sub close {
    my ($c) = @_;
    delete $open{0 + $c};
    my $fh = delete $c->{fh} or return;
    CORE::close($fh);
    @$c{qw(eof no_reuse)} = (1, 0);
}

sub reset {
    my ($c) = @_;
    return unless $c->{fh};
    setsockopt($c->{fh}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0);
    $c->close;
}

sub close_all {
    my (@ports) = @_;
    my %mine = map { $_ => 1 } @ports;
    $_->close for grep { $_ && $mine{ $_->{port} } } values %open;
}

sub DESTROY {
    local ($?, $!, $@);
    $_[0]->close;
}


package Resilience::Http::Response;

use strict;
use warnings;

use JSON::PP ();

my $json = JSON::PP->new->utf8->allow_nonref;

sub now { Resilience::Http::now() }

sub new {
    my ($class, $c, $method) = @_;
    return bless { c => $c, method => $method, state => 'header', raw => '',
                   body => '', chunks => [], headers => [], trailers => [],
                   at => now() }, $class;
}

sub status          { $_[0]{status} }
sub reason          { $_[0]{reason} }
sub version         { $_[0]{version} }
sub body            { $_[0]{body} }
sub raw             { $_[0]{raw} }
sub headers         { @{ $_[0]{headers} } }
sub trailers        { @{ $_[0]{trailers} } }
sub chunks          { @{ $_[0]{chunks} } }
sub framing         { $_[0]{framing} }
sub complete        { $_[0]{complete} ? 1 : 0 }
sub error           { $_[0]{error} }
sub informational   { @{ $_[0]{informational} || [] } }
sub time_first_byte { $_[0]{time_first_byte} }
sub time_header     { $_[0]{time_header} }
sub time_total      { $_[0]{time_total} }
sub connection      { $_[0]{c} }
sub close           { $_[0]{c}->close }
sub reset           { $_[0]{c}->reset }

# in a list all values of that name
sub header {
    my ($r, $name) = @_;
    my @values = map { $_->[1] } grep { lc $_->[0] eq lc $name }
                 @{ $r->{headers} };
    return wantarray ? @values : @values ? join ', ', @values : undef;
}

sub json { $json->decode($_[0]{body}) }


# reading

# true as soon as $met->() is; false when no more comes, or it takes too long
sub read_while {
    my ($r, $seconds, $met) = @_;
    my $c = $r->{c};
    my $end = now()
            + ($seconds // $c->{timeout}) * $Resilience::Http::FACTOR;

    $r->take;
    while (!$met->()) {
        return 0 if $r->{state} eq 'end';
        my $left = $end - now();
        if ($left <= 0) {
            $r->{timed_out} = 1;
            return 0;
        }
        $c->fill($left);
        $r->take;
    }
    return 1;
}

sub wait_header {
    my ($r, $seconds) = @_;
    return $r->read_while($seconds, sub { defined $r->{status} });
}

sub wait_body {
    my ($r, $re, $seconds) = @_;
    return $r->read_while($seconds, sub { $r->{body} =~ $re });
}

sub wait_bytes {
    my ($r, $n, $seconds) = @_;
    return $r->read_while($seconds, sub { length $r->{body} >= $n });
}

sub wait_events {
    my ($r, $n, $seconds) = @_;
    return $r->read_while($seconds, sub { $r->events >= $n });
}

# true when the response ended as its framing says it should
sub read_until_end {
    my ($r, $seconds) = @_;
    $r->read_while($seconds, sub { $r->{state} eq 'end' });
    if ($r->{state} ne 'end') {
        $r->{error} = 'timeout';
        $r->{time_total} = now() - $r->{at};
    }
    return $r->complete;
}

# what has come is parsed as far as it goes
sub take {
    my ($r) = @_;
    my $c = $r->{c};
    return if $r->{state} eq 'end';

    if ($c->{in} ne '') {
        $r->{time_first_byte} //= now() - $r->{at};
        1 while $r->{state} ne 'end' && $c->{in} ne '' && $r->parse($c);
    }
    if ($r->{state} ne 'end' && ($c->{eof} || !$c->{fh})) {
        my $whole = $r->{state} eq 'body' && $r->{framing} eq 'close'
                    && !$c->{reset} && $c->{fh};
        $r->end($whole, $c->{reset} ? 'reset' : 'closed');
    }
}

sub end {
    my ($r, $complete, $error) = @_;
    my $c = $r->{c};
    $r->{state} = 'end';
    $r->{complete} = $complete;
    $r->{error} = $error unless $complete;
    $r->{time_total} = now() - $r->{at};
    my $connection = lc($r->header('connection') // '');
    $c->{no_reuse} = 1 if !$complete || $r->{framing} eq 'close'
        || $connection =~ /\bclose\b/
        || $r->{version} eq '1.0' && $connection !~ /keep-alive/;
}

sub parse {
    my ($r, $c) = @_;
    return $r->parse_header($c) if $r->{state} eq 'header';

    my $framing = $r->{framing};
    if ($framing eq 'chunked') {
        return $r->parse_chunks($c);
    }
    if ($framing eq 'length') {
        my $n = length $c->{in};
        $n = $r->{left} if $n > $r->{left};
        my $data = substr $c->{in}, 0, $n, '';
        $r->{left} -= $n;
        $r->got($data);
        $r->{raw} .= $data;
        $r->end(1) if $r->{left} == 0;
        return 1;
    }
    $r->got($c->{in});
    $r->{raw} .= $c->{in};
    $c->{in} = '';
    return 1;
}

sub got {
    my ($r, $data) = @_;
    return if $data eq '';
    $r->{body} .= $data;
    push @{ $r->{chunks} }, { at => now() - $r->{at}, data => $data };
}

sub parse_header {
    my ($r, $c) = @_;
    my $end = index $c->{in}, "\r\n\r\n";
    return 0 if $end < 0;
    my $head = substr $c->{in}, 0, $end + 4, '';
    $r->{raw} .= $head;

    my ($line, @lines) = split /\r\n/, $head;
    my ($version, $status, $reason)
        = $line =~ m{^HTTP/(\d\.\d) (\d{3})(?: (.*))?$};
    if (!defined $status) {
        $r->{framing} = 'close';
        $r->{version} = '';
        $r->end(0, "no status line: $line");
        return 1;
    }
    my @headers = map { [ /^([^:]*):[ \t]*(.*?)[ \t]*$/ ] } @lines;
    if ($status < 200 && $status != 101) {
        push @{ $r->{informational} }, { status => $status,
                                         headers => \@headers };
        return 1;
    }

    @$r{qw(version status reason headers)}
        = ($version, $status, $reason // '', \@headers);
    $r->{time_header} = now() - $r->{at};
    $r->{state} = 'body';

    my $length = $r->header('content-length');
    if ($r->{method} eq 'HEAD' || $status == 204 || $status == 304) {
        $r->{framing} = 'none';
    }
    elsif (($r->header('transfer-encoding') // '') =~ /chunked/i) {
        $r->{framing} = 'chunked';
    }
    elsif (defined $length) {
        @$r{qw(framing left)} = ('length', $length);
    }
    else {
        $r->{framing} = 'close';
    }
    $r->end(1) if $r->{framing} eq 'none'
               || $r->{framing} eq 'length' && $length == 0;
    return 1;
}

# false when a chunk's frame needs more bytes
sub parse_chunks {
    my ($r, $c) = @_;
    my $data = '';
    my $at = 0;
    my $ended;

    while ($at < length $c->{in}) {
        if (!defined $r->{left}) {
            pos($c->{in}) = $at;
            $c->{in} =~ /\G([0-9a-fA-F]+)[^\r\n]*\r\n/gc or last;
            $at = pos $c->{in};
            $r->{left} = hex $1;
            $r->{last_chunk} = 1 if $r->{left} == 0;
        }
        if ($r->{last_chunk}) {
            pos($c->{in}) = $at;
            $c->{in} =~ /\G((?:[^\r\n]+\r\n)*)\r\n/gc or last;
            $at = pos $c->{in};
            $r->{trailers} = [ map { [ /^([^:]*):[ \t]*(.*?)[ \t]*$/ ] }
                               split /\r\n/, $1 ];
            $ended = 1;
            last;
        }
        if ($r->{left} > 0) {
            my $piece = substr $c->{in}, $at, $r->{left};
            $at += length $piece;
            $r->{left} -= length $piece;
            $data .= $piece;
        }
        if ($r->{left} == 0) {
            last if length($c->{in}) - $at < 2;
            if (substr($c->{in}, $at, 2) ne "\r\n") {
                $r->got($data);
                $r->end(0, 'bad chunk');
                return 1;
            }
            $at += 2;
            undef $r->{left};
        }
    }

    $r->{raw} .= substr $c->{in}, 0, $at, '' if $at;
    $r->got($data);
    $r->end(1) if $ended;
    return $at > 0;
}


# server-sent events

# { event, data, id, retry }, as far as they are whole
sub events {
    my ($r) = @_;
    my @events;
    for my $block (blocks($r->{body})) {
        my (%event, @data);
        for (@$block) {
            my ($name, $value) = /^([^:]*):? ?(.*)$/s;
            if ($name eq 'data')  { push @data, $value }
            elsif ($name ne '')   { $event{$name} = $value }
        }
        $event{data} = join "\n", @data if @data;
        push @events, \%event if %event;
    }
    return @events;
}

sub blocks {
    my ($text) = @_;
    $text =~ s/\r\n?/\n/g;
    my $end = rindex $text, "\n\n";
    return if $end < 0;
    return map { [ split /\n/ ] } split /\n\n+/, substr $text, 0, $end;
}

sub comments {
    my ($r) = @_;
    return map { /^: ?(.*)/ ? $1 : () } map { @$_ } blocks($r->{body});
}

# the data of each event, decoded; [DONE] and the like as they are
sub event_json {
    my ($r) = @_;
    return map { my $data = $_->{data};
                 eval { $json->decode($data) } // $data }
           grep { defined $_->{data} } $r->events;
}

# what an LLM said, streamed or not, in OpenAI's or Anthropic's dialect
sub text {
    my ($r) = @_;
    my $streamed = ($r->header('content-type') // '') =~ m{text/event-stream};
    return join '', map { said($_) }
        $streamed ? $r->event_json : eval { $r->json };
}

sub said {
    my ($m) = @_;
    return '' unless ref $m eq 'HASH';
    my $choice = $m->{choices} && $m->{choices}[0];
    return ($choice->{delta} || $choice->{message} || {})->{content} // ''
        if $choice;
    return $m->{delta}{text} // ''
        if ($m->{type} // '') eq 'content_block_delta';
    return join '', map { $_->{text} // '' } @{ $m->{content} }
        if ref $m->{content} eq 'ARRAY';
    return '';
}

1;

__END__

=head1 NAME

Resilience::Http - an HTTP/1 client that does only what it is told

=head1 SYNOPSIS

    my $c = Resilience::Http->new($port);
    my $r = $c->get('/x', headers => { 'X-A' => 1 });
    is($r->status, 200, 'status');

    my $s = $c->start(POST => '/v1/chat/completions', json => { ... });
    ok($s->wait_body(qr/"Hello"/, 2), 'first word is here');
    $c->reset;

=head1 THE CLIENT

C<new(port, %opt)>; a Resilience::Nginx or ::Upstream will do as port.
Options: C<timeout> (10 s; every time is multiplied by TEST_TIME_FACTOR),
C<version> (1.0 or 1.1), C<headers> (for each request), C<keepalive> (0: asks
to close), C<rcvbuf>, C<sndbuf> (socket buffers), C<read_size> (most bytes of
one read), C<host>.

C<request(METHOD =E<gt> path, %opt)>, C<get>, C<head>, C<put>, C<del>,
C<post(path, %opt)>, C<post(path, { json }, %opt)>: send, read to the end.
Options: C<headers> (hash, or list of pairs), C<body> (octets), C<json> (a
reference), C<chunked> (1, or a size: body in chunks), C<version>,
C<keepalive>, C<timeout>. A connection is used again when it may be;
C<connects> counts them. Only a failed connect croaks: whatever else goes
wrong is C<error> of the response.

C<start>: the same, but reads nothing until the response is asked to; so what
is not read, waits in nginx. C<send_raw(bytes)>, C<send_end> (shutdown),
C<read_response(method, seconds)>, C<response(method)> (to be read later)
make and read requests by hand, pipelined if one likes. C<close>, C<reset>
(RST), C<wait_closed(seconds)> (the peer closed), C<is_open>, C<connect>,
C<local_port>.

=head1 THE RESPONSE

C<status>, C<reason>, C<version>, C<headers> (pairs), C<header(name)>,
C<trailers>, C<body>, C<raw>, C<framing> (length, chunked, close, none),
C<informational> (1xx), C<complete> (1: ended as its framing says; 0: cut),
C<error> (timeout, reset, closed, ...), C<chunks> (a list of { at, data }, one a
read), C<time_first_byte>, C<time_header>, C<time_total>: seconds since the
request was sent. C<json>: body decoded.

Reading: C<wait_header(seconds)>, C<wait_body(qr//, seconds)>,
C<wait_bytes(n, seconds)>, C<wait_events(n, seconds)>,
C<read_until_end(seconds)>. Each is true as soon as that is there.

Server-sent events: C<events> (list of { event, data, id }), C<event_json>
(data decoded), C<comments>. C<text>: what an LLM said, streamed or not.

=cut
