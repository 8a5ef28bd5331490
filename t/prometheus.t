#!/usr/bin/env perl

# Tests for the metrics: they are in Prometheus' text format, and they count.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $first = upstream({ body => 'a' });
my $second = upstream({ body => 'b' });

my $n = nginx(vars => { A => $first->port, B => $second->port }, http => <<'E');
    resilience_policy p {
        retry 1 base=1ms max=1ms;
        breaker failures=4 open=1h;
    }
    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_chain c { policy p; provider a; provider b; }
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass c; }
        location = /metrics { resilience_status prometheus; }
    }
E

my $c = http($n);

# { name{labels} => value }, and every line is what it should be
sub metrics {
    my $r = $c->get('/metrics');
    is($r->status, 200, 'status');
    like($r->header('content-type'), qr{^text/plain; version=0\.0\.4}, 'type');

    my (%value, %type, @bad);
    for (split /\n/, $r->body) {
        if (/^# TYPE (\w+) (counter|gauge|histogram)$/) {
            push @bad, $_ if $type{$1};
            $type{$1} = $2;
        }
        elsif (/^((\w+?)(?:_bucket|_sum|_count)?
                 (?:\{(?:\w+="[^"]*",?)+\})?)\ ([\d.]+)$/x)
        {
            push @bad, $_ if !$type{$2} && !$type{"$2_total"}
                          || exists $value{$1};
            $value{$1} = $3;
        }
        elsif (!/^# HELP \w+ \S/) {
            push @bad, $_;
        }
    }
    is_deeply(\@bad, [], 'each line is right');
    like($r->body, qr/\n\z/, 'the last line ends');
    return \%value;
}

my $m = metrics();
is($m->{'resilience_attempts_total{provider="a",class="success"}'}, 0,
    'nothing yet');
is($m->{'resilience_zone_cells'}, 0, 'no cells');

$c->get('/') for 1 .. 3;
$first->on('/', 500);
$c->get('/') for 1 .. 5;

# a success is counted when its end was passed on, so a client may be faster
ok(wait_until(5, sub { $c->get('/metrics')->body !~ /^resilience_inflight.* 1$/m
    }), 'all are over');
$m = metrics();
is($m->{'resilience_attempts_total{provider="a",class="success"}'}, 3,
    'successes');
is($m->{'resilience_attempts_total{provider="a",class="server_error"}'}, 7,
    'failures: the one that opened the breaker was not retried');
is($m->{'resilience_attempts_total{provider="b",class="success"}'}, 5,
    'fallbacks');
is($m->{'resilience_refused_total{provider="a",class="breaker_open"}'}, 1,
    'refused');
is($m->{'resilience_retry_denied_total{provider="a",reason="max_retries"}'}, 3,
    'retries denied');
is($m->{'resilience_inflight{provider="a"}'}, 0, 'in flight');
is($m->{'resilience_zone_cells'}, 2, 'cells');
is($m->{'resilience_attempt_duration_seconds_count{provider="a"}'}, 10,
    'durations');
is($m->{'resilience_first_byte_seconds_count{provider="a"}'}, 3, 'first bytes');

my %bucket = map { /_bucket\{provider="b",le="(.*)"\}/ ? ($1 => $m->{$_}) : () }
             grep { /^resilience_first_byte_seconds/ } keys %$m;
my $all = delete $bucket{'+Inf'};
my @buckets = @bucket{ sort { $a <=> $b } keys %bucket };
cmp_ok(scalar @buckets, '>', 20, 'buckets');
is(scalar(grep { $buckets[$_] < $buckets[$_ - 1] } 1 .. $#buckets), 0,
    'that rise');
is($all, 5, 'to the count');

done_testing();
