#!/usr/bin/env perl

# A scripted HTTP/1 upstream: one process, one select() loop. What it answers
# is data, sent over a control connection as lines of JSON; what it got is
# recorded and can be fetched, or waited for, the same way. Strings are octets.
# It ends when the control connection does. t/lib/Resilience/Upstream.pm is
# the other side and documents the answers.

use strict;
use warnings;

use Digest::SHA ();
use Errno qw(EAGAIN EINTR);
use IO::Handle;
use JSON::PP ();
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant {
    READ_SIZE   => 256 * 1024,
    RESET_DELAY => 0.01,
};

$SIG{PIPE} = 'IGNORE';

my $json = JSON::PP->new->ascii->canonical;
my $wire = JSON::PP->new->utf8->canonical;

my (%conn_of, %timers, %waits, %gate);
my (@rules, @requests, @connections, @accepts);
my ($control, $control_in, $control_out) = (undef, '', '');
my ($listener, $address, $mode) = (undef, undef, 'accept');
my ($next_timer, $next_wait, $next_rule) = (0, 0, 0);
my $keep_body = 64 * 1024;
my ($rd, $wr) = ('', '');


sub now { clock_gettime(CLOCK_MONOTONIC) }


# sockets

sub tcp_socket {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
    return $s;
}

# a socket that stays bound but does not listen keeps the port ours while
# the listener is closed
sub reserve_port {
    my $s = tcp_socket();
    bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!";
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die "SO_REUSEADDR: $!";
    return $s;
}

sub listen_on {
    my ($addr) = @_;
    my $s = tcp_socket();
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die "SO_REUSEADDR: $!";
    bind($s, $addr) or die "bind: $!";
    listen($s, 1024) or die "listen: $!";
    $s->blocking(0);
    return $s;
}

sub watch {
    my ($bits, $fh, $on) = @_;
    vec($$bits, fileno $fh, 1) = $on ? 1 : 0;
}

sub open_listener {
    return if $listener;
    $listener = listen_on($address);
    watch(\$rd, $listener, 1);
}

sub close_listener {
    return unless $listener;
    watch(\$rd, $listener, 0);
    close $listener;
    undef $listener;
}


# timers

sub after {
    my ($seconds, $code) = @_;
    my $id = ++$next_timer;
    $timers{$id} = [now() + $seconds, $code];
    return $id;
}

sub run_timers {
    my $now = now();
    my @due = sort { $timers{$a}[0] <=> $timers{$b}[0] || $a <=> $b }
              grep { $timers{$_}[0] <= $now } keys %timers;
    for my $id (@due) {
        my $timer = delete $timers{$id} or next;
        $timer->[1]->();
    }
}

sub nearest_timer {
    my $least;
    for (values %timers) {
        $least = $_->[0] if !defined $least || $_->[0] < $least;
    }
    return undef unless defined $least;
    my $left = $least - now();
    return $left > 0 ? $left : 0;
}


# connections

sub accept_all {
    while (accept(my $fh, $listener)) {
        my $entry = { id => scalar @connections, opened => now(),
                      requests => 0, open => JSON::PP::true };
        push @connections, $entry;

        if ($mode eq 'close' || $mode eq 'reset') {
            set_reset($fh) if $mode eq 'reset';
            close $fh;
            @$entry{qw(closed closed_by open)} = (now(), 'us', JSON::PP::false);
            next;
        }

        $fh->blocking(0);
        setsockopt($fh, IPPROTO_TCP, TCP_NODELAY, 1);
        my $c = { fh => $fh, fd => fileno $fh, in => '', out => '',
                  entry => $entry, steps => [], state => 'header' };
        $conn_of{$c->{fd}} = $c;
        watch(\$rd, $fh, 1);
    }
    check_waits();
}

sub set_reset {
    setsockopt($_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
}

sub conn_close {
    my ($c, $by) = @_;
    return if $c->{closed}++;
    delete $timers{$c->{timer}} if $c->{timer};
    watch(\$rd, $c->{fh}, 0);
    watch(\$wr, $c->{fh}, 0);
    delete $conn_of{$c->{fd}};
    close $c->{fh};
    @{ $c->{entry} }{qw(closed closed_by open)} = (now(), $by, JSON::PP::false);

    if (my $record = $c->{record}) {
        if ($by eq 'peer' && !$record->{done}) {
            $record->{aborted} = now();
        }
    }
    check_waits();
}

sub conn_reset {
    my ($c) = @_;
    set_reset($c->{fh});
    conn_close($c, 'us');
}

sub conn_readable {
    my ($c) = @_;
    my $n = sysread $c->{fh}, $c->{in}, READ_SIZE, length $c->{in};
    if (!defined $n) {
        return if $! == EAGAIN || $! == EINTR;
        return conn_close($c, 'peer');
    }
    return conn_close($c, 'peer') if $n == 0;
    conn_parse($c);
}

sub conn_writable {
    my ($c) = @_;
    conn_flush($c) or return;
    conn_step($c) if $c->{out} eq '';
}

# true when all is written
sub conn_flush {
    my ($c) = @_;
    while ($c->{out} ne '') {
        my $n = syswrite $c->{fh}, $c->{out}, READ_SIZE;
        if (!defined $n) {
            next if $! == EINTR;
            if ($! == EAGAIN) {
                watch(\$wr, $c->{fh}, 1);
                return 0;
            }
            conn_close($c, 'peer');
            return 0;
        }
        $c->{record}{sent} += $n if $c->{record};
        substr($c->{out}, 0, $n, '');
    }
    watch(\$wr, $c->{fh}, 0);
    return 1;
}


# requests

sub conn_parse {
    my ($c) = @_;

    while (!$c->{closed}) {
        if ($c->{state} eq 'header') {
            $c->{in} =~ s/^(?:\r?\n)+//;
            my $end = index $c->{in}, "\r\n\r\n";
            return if $end < 0;
            my $head = substr $c->{in}, 0, $end + 4, '';
            request_start($c, $head);
        }
        elsif ($c->{state} eq 'body') {
            request_body($c) or return;
        }
        else {
            return;             # busy answering: the rest waits
        }
    }
}

sub request_start {
    my ($c, $head) = @_;
    my ($line, @lines) = split /\r\n/, $head;
    my ($method, $uri, $version) = split / /, $line;
    my @headers = map { [ /^([^:]*):[ \t]*(.*?)[ \t]*$/ ] } @lines;
    my %header;
    for (@headers) {
        my $name = lc($_->[0] // '');
        $header{$name} = exists $header{$name} ? "$header{$name}, $_->[1]"
                                               : $_->[1];
    }

    my $record = {
        n => scalar @requests, method => $method, uri => $uri,
        version => $version // '', headers => \@headers, header => \%header,
        at => now(), conn => $c->{entry}{id},
        conn_request => ++$c->{entry}{requests},
        body_length => 0, sent => 0,
    };
    push @requests, $record;

    $c->{record} = $record;
    $c->{sha} = Digest::SHA->new(256);
    $c->{body} = '';
    $c->{state} = 'body';
    $c->{chunked} = ($header{'transfer-encoding'} // '') =~ /chunked/i;
    $c->{left} = $c->{chunked} ? undef : $header{'content-length'} // 0;
    $c->{close} = ($version // '') ne 'HTTP/1.1'
                  || ($header{connection} // '') =~ /close/i;
    $c->{answered} = 0;

    my ($rule, $answer) = rule_for($record);
    $record->{rule} = $rule ? $rule->{path} : undef;
    $c->{answer} = $answer;
    if (($header{expect} // '') =~ /100-continue/i) {
        $c->{out} .= "HTTP/1.1 100 Continue\r\n\r\n";
        conn_flush($c);
    }
    if ($answer->{early}) {
        $c->{answered} = 1;
        answer_start($c, $answer);
    }
    check_waits();
}

# true when the body has ended
sub request_body {
    my ($c) = @_;

    if ($c->{chunked}) {
        while (1) {
            if (!defined $c->{left}) {
                $c->{in} =~ s/^(?:\r\n)?([0-9a-fA-F]+)[^\r\n]*\r\n//
                    or return 0;
                $c->{left} = hex $1;
                if ($c->{left} == 0) {
                    $c->{last_chunk} = 1;
                }
            }
            if ($c->{last_chunk}) {
                $c->{in} =~ s/^\r\n// or return 0;
                delete $c->{last_chunk};
                last;
            }
            request_bytes($c);
            return 0 if $c->{left} > 0;
            undef $c->{left};
        }
    }
    else {
        request_bytes($c);
        return 0 if $c->{left} > 0;
    }

    request_end($c);
    return 1;
}

sub request_bytes {
    my ($c) = @_;
    my $n = length $c->{in};
    $n = $c->{left} if $n > $c->{left};
    return unless $n;
    my $bytes = $n == length $c->{in} ? $c->{in} : substr $c->{in}, 0, $n;
    if ($n == length $c->{in}) { $c->{in} = '' }
    else                       { substr $c->{in}, 0, $n, '' }
    $c->{left} -= $n;
    $c->{sha}->add($bytes);
    $c->{body} .= $bytes;
    $c->{record}{body_length} += $n;
}

sub request_end {
    my ($c) = @_;
    my $record = $c->{record};
    $record->{sha256} = $c->{sha}->hexdigest;
    $record->{received} = now();
    $record->{body} = length $c->{body} <= $keep_body ? $c->{body} : undef;
    $c->{state} = 'answer';

    if ($c->{answered}) {
        request_next($c) if $record->{done};
    }
    else {
        answer_start($c, $c->{answer});
    }
    check_waits();
}

sub request_next {
    my ($c) = @_;
    if ($c->{close}) {
        shutdown $c->{fh}, 1;
        return conn_close($c, 'us');
    }
    delete @$c{qw(record answer body sha)};
    $c->{state} = 'header';
}


# rules

sub rule_for {
    my ($record) = @_;
    my ($path) = split /\?/, $record->{uri} // '';
    my ($best) = sort { length $b->{path} <=> length $a->{path}
                        || keys %{ $b->{headers} } <=> keys %{ $a->{headers} }
                        || $b->{id} <=> $a->{id} }
                 grep { rule_matches($_, $record) } @rules;

    return (undef, { status => 404, headers => { 'X-Upstream' => 'no rule' } })
        unless $best;

    my $queue = $best->{answers};
    my $answer = @$queue > 1 && --$queue->[0]{times} <= 0
                 ? shift @$queue : $queue->[0];
    return ($best, $answer);
}

sub rule_matches {
    my ($rule, $record) = @_;
    return 0 if index($record->{uri} // '', $rule->{path}) != 0;
    return 0 if $rule->{method} && $rule->{method} ne $record->{method};
    for my $name (keys %{ $rule->{headers} }) {
        my $value = $record->{header}{lc $name};
        return 0 unless defined $value && $value eq $rule->{headers}{$name};
    }
    return 1;
}

sub rule_set {
    my ($match, $answers) = @_;
    my $rule = { id => ++$next_rule, path => $match->{path} // '/',
                 method => $match->{method},
                 headers => $match->{headers} || {} };
    my $key = sub { $json->encode([ @{ $_[0] }{qw(path method headers)} ]) };
    my $mine = $key->($rule);
    @rules = grep { $key->($_) ne $mine } @rules;

    $rule->{answers} = [ map { { times => 1, %$_ } } @$answers ];
    push @rules, $rule;
}


# answers: a list of steps, each [ write => octets ] or [ wait => seconds ] ...

my %reason = (200 => 'OK', 201 => 'Created', 204 => 'No Content',
    301 => 'Moved Permanently', 302 => 'Found', 304 => 'Not Modified',
    400 => 'Bad Request', 401 => 'Unauthorized', 402 => 'Payment Required',
    403 => 'Forbidden', 404 => 'Not Found', 408 => 'Request Timeout',
    409 => 'Conflict', 413 => 'Payload Too Large',
    422 => 'Unprocessable Entity', 429 => 'Too Many Requests',
    500 => 'Internal Server Error', 502 => 'Bad Gateway',
    503 => 'Service Unavailable', 504 => 'Gateway Timeout');

sub answer_start {
    my ($c, $script) = @_;
    my $a = expand($script, $c);
    my @steps;

    push @steps, [ gate => $a->{hold} ] if defined $a->{hold};
    push @steps, [ wait => $a->{delay_ms} / 1000 ] if $a->{delay_ms};

    my $parts = parts_of($a);
    my ($status_line, $header) = header_of($a, $c, $parts);
    my $end = $a->{end} // 'clean';

    if    ($a->{reset_before_header}) { push @steps, [ 'reset' ] }
    elsif ($a->{close_before_header}) { push @steps, [ 'close' ] }
    elsif ($a->{silent})              { push @steps, [ 'stall' ] }
    elsif ($a->{reset_in_header} || $a->{close_in_header}) {
        push @steps, [ write => $status_line . substr $header, 0, 12 ],
                     [ wait => RESET_DELAY ],
                     [ $a->{reset_in_header} ? 'reset' : 'close' ];
    }
    else {
        if ($a->{header_delay_ms}) {
            push @steps, [ write => $status_line ],
                         [ wait => $a->{header_delay_ms} / 1000 ],
                         [ write => $header ];
        }
        else {
            push @steps, [ write => $status_line . $header ];
        }
        push @steps, [ wait => $a->{body_delay_ms} / 1000 ]
            if $a->{body_delay_ms};
        push @steps, body_steps($a, $c, $parts, $end);
    }

    $c->{steps} = \@steps;
    conn_step($c);
}

# the body as a list of { data, gap, hold }
sub parts_of {
    my ($a) = @_;
    my @parts;

    if (ref $a->{events} eq 'ARRAY') {
        for my $e (@{ $a->{events} }) {
            push @parts, { data => event_text($e), hold => $e->{hold},
                           gap => ($e->{gap_ms} // $a->{gap_ms} // 0) / 1000,
                           terminal => $e->{terminal} };
        }
        @parts = grep { !$_->{terminal} } @parts
            if ($a->{end} // '') eq 'no_terminal';
    }
    elsif (defined $a->{body} && length $a->{body}) {
        my $body = ref $a->{body} ? $wire->encode($a->{body}) : $a->{body};
        $body x= $a->{body_repeat} if $a->{body_repeat};
        push @parts, { data => $body, gap => 0 };
    }
    return \@parts;
}

sub event_text {
    my ($e) = @_;
    return $e->{raw} if defined $e->{raw};
    my $text = '';
    $text .= ": $e->{comment}\n" if defined $e->{comment};
    $text .= "event: $e->{event}\n" if defined $e->{event};
    if (defined $e->{data}) {
        my $data = ref $e->{data} ? $wire->encode($e->{data}) : $e->{data};
        $text .= "data: $_\n" for $data eq '' ? '' : split /\n/, $data, -1;
    }
    return "$text\n";
}

sub header_of {
    my ($a, $c, $parts) = @_;
    my $status = $a->{status} // 200;
    my $bodiless = $status == 204 || $status == 304 || $status < 200;
    my $framing = $a->{framing}
        // ($a->{events} ? 'chunked' : 'length');
    $framing = 'close' if $a->{http10} && $framing eq 'chunked';
    $framing = 'none' if $bodiless;

    my $length = 0;
    $length += length $_->{data} for @$parts;

    my $given = $a->{headers} || {};
    my @list = ref $given eq 'ARRAY' ? @$given
             : map { my $n = $_;
                     map { [ $n, $_ ] } ref $given->{$n} ? @{ $given->{$n} }
                                                         : $given->{$n} }
               sort keys %$given;
    my %has = map { lc $_->[0] => 1 } @list;

    unless ($has{'content-type'} || $bodiless || !@$parts) {
        my $type = $a->{type} // ($a->{events} ? 'text/event-stream'
                 : ref $a->{body} ? 'application/json' : 'text/plain');
        unshift @list, [ 'Content-Type', $type ];
    }
    push @list, [ 'Content-Length', $length ]
        if $framing eq 'length' && !$has{'content-length'};
    push @list, [ 'Transfer-Encoding', 'chunked' ] if $framing eq 'chunked';

    $c->{close} = 1 if $a->{close} || $a->{http10} || $framing eq 'close';
    push @list, [ 'Connection', 'close' ]
        if $c->{close} && !$a->{http10} && !$has{connection};

    $c->{framing} = $framing;
    $c->{head} = ($c->{record}{method} // '') eq 'HEAD';

    my $reason = $a->{reason} // $reason{$status} // 'Status';
    return ('HTTP/' . ($a->{http10} ? '1.0' : '1.1') . " $status $reason\r\n",
            join('', map { "$_->[0]: $_->[1]\r\n" } @list) . "\r\n");
}

sub body_steps {
    my ($a, $c, $parts, $end) = @_;
    return ([ 'done' ]) if $c->{framing} eq 'none' || $c->{head};

    my $chunked = $c->{framing} eq 'chunked';
    my ($limit, $fault);
    for my $f (qw(reset close stall)) {
        ($limit, $fault) = ($a->{"${f}_after_bytes"}, $f)
            if defined $a->{"${f}_after_bytes"};
    }
    my $events_left = $a->{stall_after_events} // $a->{reset_after_events}
                      // $a->{close_after_events};
    my $event_fault = defined $a->{stall_after_events} ? 'stall'
                    : defined $a->{reset_after_events} ? 'reset' : 'close';

    my @steps;
    for my $part (@$parts) {
        if (defined $events_left && $events_left-- == 0) {
            return (@steps, fault_steps($event_fault));
        }
        push @steps, [ gate => $part->{hold} ] if defined $part->{hold};
        push @steps, [ wait => $part->{gap} ] if $part->{gap};

        my $data = $part->{data};
        my $cut = defined $limit && length $data > $limit;
        my $chunk_length = length $data;
        $data = substr $data, 0, $limit if $cut;
        if (length $data) {
            # a cut chunk announces more than it brings
            push @steps, [ write => !$chunked ? $data
                : sprintf("%x\r\n", $chunk_length) . $data
                  . ($cut ? '' : "\r\n") ];
        }
        return (@steps, fault_steps($fault)) if $cut;
        $limit -= length $data if defined $limit;
    }
    return (@steps, fault_steps($fault)) if defined $limit;
    return (@steps, fault_steps($event_fault)) if defined $events_left;
    return (@steps, fault_steps('reset')) if $end eq 'rst';
    return (@steps, fault_steps('close')) if $end eq 'close';
    return (@steps, fault_steps('stall')) if $end eq 'stall';

    push @steps, [ gate => $a->{end_hold} ] if defined $a->{end_hold};
    push @steps, [ wait => $a->{end_gap_ms} / 1000 ] if $a->{end_gap_ms};
    push @steps, [ write => "0\r\n\r\n" ] if $chunked;
    return (@steps, [ 'done' ]);
}

sub fault_steps {
    my ($fault) = @_;
    return ([ wait => RESET_DELAY ], [ $fault ]);
}

sub conn_step {
    my ($c) = @_;

    while (!$c->{closed} && !$c->{timer} && !$c->{gated}) {
        return if $c->{out} ne '' && !conn_flush($c);
        my $step = shift @{ $c->{steps} } or return;
        my ($what, $value) = @$step;

        if ($what eq 'write') {
            # what came by JSON may be octets in a wide string, and slow
            utf8::downgrade($value, 1) or utf8::encode($value);
            $c->{out} .= $value;
        }
        elsif ($what eq 'wait') {
            $c->{timer} = after($value, sub {
                delete $c->{timer};
                conn_step($c);
            });
        }
        elsif ($what eq 'gate') {
            next if $gate{$value};
            $c->{gated} = $value;
            $c->{record}{held} = $value;
            check_waits();
        }
        elsif ($what eq 'reset') { $c->{record}{done} = now(); conn_reset($c) }
        elsif ($what eq 'close') {
            $c->{record}{done} = now();
            conn_close($c, 'us');
        }
        elsif ($what eq 'stall') {
            $c->{record}{stalled} = now();
            check_waits();
            return;
        }
        elsif ($what eq 'done') {
            my $complete = $c->{state} eq 'answer';
            $c->{record}{done} = now();
            if ($complete) {
                request_next($c);
                # what was pipelined meanwhile
                conn_parse($c) if !$c->{closed} && $c->{in} ne '';
            }
            check_waits();
            return;
        }
    }
}

sub gate_open {
    my ($name) = @_;
    $gate{$name} = 1;
    for my $c (values %conn_of) {
        next unless defined $c->{gated} && $c->{gated} eq $name;
        delete $c->{gated};
        delete $c->{record}{held};
        conn_step($c);
    }
}


# shorthands for what LLM providers answer

sub expand {
    my ($a, $c) = @_;
    my %more;
    if    ($a->{openai})          { %more = openai($a, $c) }
    elsif ($a->{openai_error})    { %more = openai_error($a) }
    elsif ($a->{anthropic})       { %more = anthropic($a, $c) }
    elsif ($a->{anthropic_error}) { %more = anthropic_error($a) }
    return $a unless %more;
    return { %more, %$a };
}

sub wants_stream {
    my ($say, $c) = @_;
    return $say->{stream} if defined $say->{stream};
    return ($c->{body} // '') =~ /"stream"\s*:\s*true/ ? 1 : 0;
}

sub wanted_model {
    my ($say, $c, $default) = @_;
    return $say->{model} if defined $say->{model};
    return ($c->{body} // '') =~ /"model"\s*:\s*"([^"\\]*)"/ ? $1 : $default;
}

sub pieces {
    my ($say) = @_;
    return @{ $say->{chunks} } if $say->{chunks};
    my $content = $say->{content} // 'Hello there';
    return $content =~ /(\s*\S+)/g;
}

sub openai {
    my ($a, $c) = @_;
    my $say = $a->{openai};
    my $n = $c->{record}{n};
    my %base = (id => $say->{id} // "chatcmpl-$n", created => 1694268190,
                model => wanted_model($say, $c, 'gpt-5'));
    my $finish = $say->{finish} // 'stop';
    my @pieces = pieces($say);
    my $usage = $say->{usage} // {
        prompt_tokens => 9, completion_tokens => scalar @pieces,
        total_tokens => 9 + @pieces };

    if (!wants_stream($say, $c)) {
        return (headers => { 'x-request-id' => "req_$n" }, body => { %base,
            object => 'chat.completion', usage => $usage,
            choices => [ { index => 0, finish_reason => $finish,
                           logprobs => undef, message => {
                               role => 'assistant', refusal => undef,
                               content => join '', @pieces } } ] });
    }

    my $chunk = sub {
        my ($delta, $reason) = @_;
        return { data => { %base, object => 'chat.completion.chunk',
            choices => [ { index => 0, delta => $delta, logprobs => undef,
                           finish_reason => $reason } ] } };
    };
    my @events = ($chunk->({ role => 'assistant', content => '' }),
                  map { $chunk->({ content => $_ }) } @pieces);
    my $last = $chunk->({}, $finish);
    my @end = ({ data => '[DONE]', terminal => 1 });
    if (($c->{body} // '') =~ /"include_usage"\s*:\s*true/) {
        $_->{data}{usage} = undef for @events, $last;
        unshift @end, { data => { %base, object => 'chat.completion.chunk',
                                  choices => [], usage => $usage } };
    }
    return (headers => { 'x-request-id' => "req_$n" },
            events => [ @events, $last, @end ]);
}

sub openai_error {
    my ($a) = @_;
    my $e = $a->{openai_error};
    my $status = $e->{status} // 500;
    my %type = (401 => 'invalid_request_error', 429 => 'rate_limit_error',
                400 => 'invalid_request_error', 404 => 'invalid_request_error',
                503 => 'service_unavailable_error');
    return (status => $status, body => { error => {
        message => $e->{message} // "scripted $status",
        type => $e->{type} // $type{$status} // 'server_error',
        param => $e->{param}, code => $e->{code} } });
}

sub anthropic {
    my ($a, $c) = @_;
    my $say = $a->{anthropic};
    my $n = $c->{record}{n};
    my $finish = $say->{finish} // 'end_turn';
    my @pieces = pieces($say);
    my %message = (id => $say->{id} // "msg_$n", type => 'message',
        role => 'assistant', model => wanted_model($say, $c, 'claude-x'),
        stop_sequence => undef);
    my $usage = $say->{usage} // { input_tokens => 9,
                                   output_tokens => scalar @pieces };
    my %headers = ('request-id' => "req_$n");

    if (!wants_stream($say, $c)) {
        return (headers => \%headers, body => { %message, usage => $usage,
            stop_reason => $finish,
            content => [ { type => 'text', text => join '', @pieces } ] });
    }

    my $event = sub {
        my ($type, %rest) = @_;
        return { event => $type, data => { type => $type, %rest } };
    };
    return (headers => \%headers, events => [
        $event->('message_start', message => { %message, content => [],
            stop_reason => undef, usage => { %$usage, output_tokens => 1 } }),
        $event->('content_block_start', index => 0,
            content_block => { type => 'text', text => '' }),
        $event->('ping'),
        (map { $event->('content_block_delta', index => 0,
            delta => { type => 'text_delta', text => $_ }) } @pieces),
        $event->('content_block_stop', index => 0),
        $event->('message_delta',
            delta => { stop_reason => $finish, stop_sequence => undef },
            usage => { output_tokens => $usage->{output_tokens} }),
        { %{ $event->('message_stop') }, terminal => 1 } ]);
}

sub anthropic_error {
    my ($a) = @_;
    my $e = $a->{anthropic_error};
    my $status = $e->{status} // 500;
    my %type = (400 => 'invalid_request_error', 401 => 'authentication_error',
        402 => 'billing_error', 403 => 'permission_error',
        404 => 'not_found_error', 413 => 'request_too_large',
        429 => 'rate_limit_error', 500 => 'api_error', 504 => 'timeout_error',
        529 => 'overloaded_error');
    return (status => $status, body => { type => 'error',
        request_id => 'req_e', error => {
            type => $e->{type} // $type{$status} // 'api_error',
            message => $e->{message} // "scripted $status" } });
}


# control

my %command = (
    on       => sub { rule_set($_[0]{match}, $_[0]{answers}); return {} },
    requests => \&command_requests,
    count    => sub { return { count => scalar(my @all = selected($_[0])) } },
    connections => sub { return { connections => \@connections } },
    release  => sub { gate_open($_[0]{name}); return {} },
    rearm    => sub { delete $gate{ $_[0]{name} }; return {} },
    forget   => sub { @requests = (); return {} },
    mode     => \&command_mode,
    drop     => \&command_drop,
    keep_body => sub { $keep_body = $_[0]{bytes}; return {} },
    wait     => \&command_wait,
);

# bodies go as hex digits, which JSON::PP is much faster with
sub command_requests {
    my ($m) = @_;
    my @selected = selected($m);
    splice @selected, 0, -1 if $m->{last};
    return { requests => [ map { { %$_, !defined $_->{body} ? ()
        : (body => unpack 'H*', $_->{body}) } } @selected ] };
}

sub command_mode {
    $mode = $_[0]{mode};
    $mode eq 'refuse' ? close_listener() : open_listener();
    return {};
}

# closes (or resets) what is open: idle connections, or all
sub command_drop {
    my ($m) = @_;
    my $n = 0;
    for my $c (values %conn_of) {
        next if $m->{idle} && $c->{state} ne 'header';
        $m->{reset} ? conn_reset($c) : conn_close($c, 'us');
        $n++;
    }
    return { dropped => $n };
}

sub selected {
    my ($m) = @_;
    return grep { (!defined $m->{path} || index($_->{uri}, $m->{path}) == 0)
                  && (!defined $m->{method} || $_->{method} eq $m->{method}) }
           @requests;
}

my %count = (
    requests => sub { scalar grep { $_->{received} } selected($_[0]) },
    arrived  => sub { scalar selected($_[0]) },
    done     => sub { scalar grep { $_->{done} } selected($_[0]) },
    aborted  => sub { scalar grep { $_->{aborted} } selected($_[0]) },
    held     => sub { scalar grep { $_->{held} } selected($_[0]) },
    stalled  => sub { scalar grep { $_->{stalled} } selected($_[0]) },
    closed   => sub { scalar grep { ($_->{closed_by} // '') eq 'peer' }
                      @connections },
    accepted => sub { scalar @connections },
    open     => sub { scalar grep { $_->{open} } @connections },
);

sub command_wait {
    my ($m) = @_;
    $count{ $m->{what} } or return { error => "cannot wait for $m->{what}" };
    my $id = ++$next_wait;
    $waits{$id} = $m;
    $m->{timer} = after($m->{timeout}, sub { wait_end($id, 0) });
    check_waits();
    return undef;
}

sub wait_end {
    my ($id, $ok) = @_;
    my $m = delete $waits{$id} or return;
    delete $timers{ $m->{timer} };
    control_say({ met => $ok, n => $count{ $m->{what} }->($m) });
}

sub check_waits {
    for my $id (sort { $a <=> $b } keys %waits) {
        my $m = $waits{$id} or next;
        my $n = $count{ $m->{what} }->($m);
        wait_end($id, 1) if $m->{exactly} ? $n == $m->{n} : $n >= $m->{n};
    }
}

sub control_say {
    my ($answer) = @_;
    $control_out .= $json->encode($answer) . "\n";
    control_flush();
}

sub control_flush {
    while ($control_out ne '') {
        my $n = syswrite $control, $control_out;
        if (!defined $n) {
            exit 0 if $! != EAGAIN && $! != EINTR;
            watch(\$wr, $control, 1);
            return;
        }
        substr($control_out, 0, $n, '');
    }
    watch(\$wr, $control, 0);
}

sub control_readable {
    my $n = sysread $control, $control_in, READ_SIZE, length $control_in;
    return if !defined $n && ($! == EAGAIN || $! == EINTR);
    exit 0 unless $n;

    while ($control_in =~ s/^([^\n]*)\n//) {
        my $message = eval { $json->decode($1) };
        my $run = $message && $command{ $message->{cmd} // '' };
        my $answer = $run ? eval { $run->($message) } : undef;
        if (!$run || $@) { control_say({ error => $@ || 'bad command' }) }
        elsif ($answer)  { control_say($answer) }
    }
}


my $reserved = reserve_port();
$address = getsockname $reserved;
open_listener();

my $control_listener = listen_on(pack_sockaddr_in(0, INADDR_LOOPBACK));
$control_listener->blocking(1);

STDOUT->autoflush(1);
printf "%d %d\n", map { (unpack_sockaddr_in(getsockname $_))[0] }
    $reserved, $control_listener;

# whoever started us connects at once, or is gone
alarm 30;
accept($control, $control_listener) or exit 1;
alarm 0;
close $control_listener;
$control->blocking(0);
setsockopt($control, IPPROTO_TCP, TCP_NODELAY, 1);
watch(\$rd, $control, 1);

while (1) {
    my ($r, $w) = ($rd, $wr);
    my $n = select $r, $w, undef, nearest_timer();
    run_timers();
    next if $n <= 0;

    my @ready = values %conn_of;
    for my $c (@ready) {
        next if $c->{closed};
        conn_writable($c) if vec $w, $c->{fd}, 1;
        next if $c->{closed};
        conn_readable($c) if vec $r, $c->{fd}, 1;
    }
    accept_all() if $listener && vec $r, fileno $listener, 1;
    control_flush() if vec $w, fileno $control, 1;
    control_readable() if vec $r, fileno $control, 1;
}
