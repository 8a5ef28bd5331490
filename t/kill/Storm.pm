package Storm;

# An nginx whose workers are killed while it works: calls that succeed, that
# fall over, that are aborted, streams, breakers that open and close, tenants
# that come and go, the status.  What must hold is checked by the caller:
#
#     my $storm = Storm->new(clients => 4, size => '1m');
#     $storm->kills(20, 0.02, 0.3);         # so many, so far apart (seconds)
#     my $figures = $storm->finish;
#
# Figures: kills, calls, ok, broken (the connection was), late (no answer in
# 10 s), aborted (by the client), bad (answers that should not be, a list).

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep);

use Resilience::Http;
use Resilience::Nginx;
use Resilience::Upstream;

my $json = JSON::PP->new->canonical;

my $HTTP = <<'E';
    resilience_zone zone=storm:%%SIZE%% state=state/storm;
    resilience_tenant $http_x_tenant;

    resilience_policy flap {
        timeout attempt=2s;
        retry 1 base=1ms max=1ms;
        breaker failures=2 open=20ms open_max=40ms probes=2 successes=1;
        breaker_provider tenants=3 open=20ms;
    }
    resilience_policy firm {
        retry 0;
        breaker failures=1 open=1h;
        breaker_provider off;
    }

    resilience_provider flaky { resilience_endpoint http://127.0.0.1:%%F%%; }
    resilience_provider good  { resilience_endpoint http://127.0.0.1:%%G%%; }
    resilience_provider down  { resilience_endpoint http://127.0.0.1:%%F%%; }
    resilience_provider llm {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%G%%;
    }

    resilience_chain call   { policy flap; provider flaky; provider good; }
    resilience_chain stream { policy flap; provider llm; }
    resilience_chain down   { policy firm; provider down; }

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 50;
        location /call/ { resilience_pass call; }
        location /down/ { resilience_pass down; }
        location /v1/   { resilience_pass stream; }
        location = /status { resilience_status admin; }
    }
E

sub new {
    my ($class, %opt) = @_;
    my $self = bless {
        clients => 4, size => '1m', tenants => 20, pause => 0, workers => 2,
        %opt, kills => 0, owner => $$ }, $class;

    my ($flaky, $good) = map { Resilience::Upstream->new } 1, 2;
    @$self{qw(flaky good)} = ($flaky, $good);
    $self->rules;

    my $n = $self->{nginx} = Resilience::Nginx->new(
        http => $HTTP, workers => $self->{workers}, log_level => 'warn',
        vars => { F => $flaky->port, G => $good->port,
                  SIZE => $self->{size} },
        files => { 'state/README' => '' },
        main => 'worker_shutdown_timeout 3s;',
        allow => [ qr/worker process \d+ exited on signal 9/,
                   qr/shared memory zone "\w+" was locked by \d+/ ]);

    # what must be known at the end
    $self->call('/down/', 'firm') for 1 .. 2;
    $self->post('action=disable&provider=down&tenant=firm');
    $self->call('/down/', 'open') for 1 .. 2;

    $self->client($_) for 1 .. $self->{clients};
    return $self;
}

# answers come in turn once, so this is said again now and then
sub rules {
    my ($self) = @_;
    $_->forget for @$self{qw(flaky good)};
    $self->{flaky}->on('/down/', 500)->on('/call/', map {
        ({ status => 500, times => 3 }, { body => 'flaky', times => 3 })
    } 1 .. 500);
    $self->{good}->on('/', { body => 'good' });
    $self->{good}->on('/v1/', { openai => { content => 'one two three four' },
                                gap_ms => 3 });
}

sub nginx { $_[0]{nginx} }
sub http  { Resilience::Http->new($_[0]{nginx}, timeout => $_[1] // 10) }

sub call {
    my ($self, $path, $tenant) = @_;
    return $self->http->get($path, headers => { 'X-Tenant' => $tenant });
}

sub post   { $_[0]->http->post("/status?$_[1]") }
sub status { $_[0]->http->get('/status?' . ($_[1] // ''))->json }

sub breaker {
    my ($self, $provider, $tenant) = @_;
    return $self->status("provider=$provider&tenant=$tenant")->{breakers}[0];
}


# the clients, each a process that says what it has seen at its end

sub client {
    my ($self, $n) = @_;
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        Resilience::Nginx::die_with_parent();
        close $in;
        my %seen = (calls => 0, ok => 0, broken => 0, aborted => 0,
                    bad => [], late => 0);
        my $end = 0;
        $SIG{TERM} = sub { $end = 1 };
        srand $n * 7919 + $$;
        until ($end) {
            $self->one(\%seen);
            sleep $self->{pause} if $self->{pause};
        }
        print {$out} $json->encode(\%seen), "\n";
        close $out;
        POSIX::_exit(0);
    }
    close $out;
    push @{ $self->{running} }, { pid => $pid, in => $in };
}

# a connection that breaks is that of a worker that was killed
sub one {
    my ($self, $seen) = @_;
    my $what = rand;
    my %tenant = (headers => { 'X-Tenant' => 't' . int rand $self->{tenants} });
    my $c = $self->{c} //= $self->http;
    my ($r, $want);
    $seen->{calls}++;

    eval {
        if ($what < 0.65) {
            $want = qr/^(?:flaky|good)$/;
            $r = $c->get('/call/', %tenant);
        }
        elsif ($what < 0.73) {
            $want = qr/\[DONE\]/;
            $r = $c->post('/v1/chat/completions', { stream => \1 }, %tenant);
        }
        elsif ($what < 0.80) {
            $r = $c->start(POST => '/v1/chat/completions',
                           json => { stream => \1 }, %tenant);
            $r->wait_body(qr/two/);
            $c->close;
            $seen->{aborted}++;
            $r = undef;
        }
        elsif ($what < 0.95) {
            $want = qr/^\{"zone":.*\}$/;
            $r = $c->get('/status?limit=1000');
            # decoding takes the time of many calls
            $want = qr/^no JSON$/ if rand() < 0.1 && $r->complete
                && !eval { $r->json };
        }
        else {
            my $action = (qw(reset auto open close))[rand 4];
            $want = qr/^\{"(?:action|error)"/;
            $r = $c->post("/status?action=$action&provider=flaky&tenant=t"
                          . int rand $self->{tenants});
        }
        1;
    } or $seen->{broken}++, $c->close, return;

    return unless $r;
    if ($r->error || !$r->complete) {
        my $error = $r->error // '';
        $seen->{ $error eq 'timeout' ? 'late' : 'broken' }++;
        $c->close;
    }
    elsif ($r->status =~ /^(?:200|404)$/ && $r->body =~ $want) {
        $seen->{ok}++;
    }
    elsif (@{ $seen->{bad} } < 5) {
        push @{ $seen->{bad} }, $r->status . ' ' . substr $r->body, 0, 200;
    }
}


# so many kills, each after a while between the two; each() after every one
sub kills {
    my ($self, $n, $least, $most, $each) = @_;
    for (1 .. $n) {
        sleep $least + rand($most - $least);
        my @workers = grep {
            Resilience::Nginx::title($_) =~ /nginx: worker process/
        } $self->{nginx}->workers;
        next unless @workers;
        $self->{kills} += kill 'KILL', $workers[rand @workers];
        $self->rules unless $self->{kills} % 10;
        $each->() if $each;
    }
}

# a reload with another size, not waited for
sub resize {
    my ($self, $size) = @_;
    $self->{nginx}->conf($HTTP =~ s/%%SIZE%%/$size/r);
    $self->{nginx}->signal('HUP');
}

# true when nothing is in flight any more, as the zone counts it
sub idle {
    my ($self, $seconds) = @_;
    return Resilience::Nginx::wait_until($seconds, sub {
        my $s = eval { $self->status('limit=1000') } or return 0;
        return !grep { $_->{inflight} } @{ $s->{providers} },
                                        @{ $s->{breakers} };
    });
}

# ends the clients: what they have seen, summed up
sub finish {
    my ($self) = @_;
    my %sum = (kills => $self->{kills}, bad => []);
    kill 'TERM', map { $_->{pid} } @{ $self->{running} };
    for my $client (splice @{ $self->{running} }) {
        my $seen = eval { $json->decode(readline $client->{in}) }
                   || { bad => [ 'a client died' ] };
        waitpid $client->{pid}, 0;
        push @{ $sum{bad} }, @{ delete $seen->{bad} };
        $sum{$_} += $seen->{$_} for keys %$seen;
    }
    return \%sum;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!, $@);
    kill 'KILL', map { $_->{pid} } @{ $self->{running} };
    waitpid $_->{pid}, 0 for @{ $self->{running} };
}

1;
