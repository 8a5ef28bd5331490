#!/usr/bin/env perl

# Tests for the presets: each one is used, and what can be seen of its numbers
# is: how often is retried, whether a POST is sent again, what opens the
# breaker and for how long, how long an attempt and a call may take.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

# retries, a POST is sent again, failures and seconds of the breaker,
# milliseconds of an attempt and of a call
my %preset = (
    llm_chat       => [ 2, 1,  5,  60, 300_000, 600_000 ],
    llm_batch      => [ 5, 1, 10,  60, 600_000 ],
    llm_embedding  => [ 2, 1,  5,  30,  30_000,  60_000 ],
    grpc           => [ 3, 0,  5,  60,  30_000 ],
    database       => [ 0, 0, 10,  30,  10_000 ],
    redis          => [ 2, 1,  3,  15,   5_000 ],
    http_external  => [ 5, 0,  5, 120,  60_000 ],
    kafka          => [ 3, 0,  5,  30,   5_000 ],
    object_storage => [ 5, 0,  5,  60, 120_000 ],
);
my @names = sort keys %preset;

my $u = upstream(503);
$u->on('/good/', { body => 'ok' });
$u->on({ path => '/', method => 'POST' }, 500);

my $http = join '', map { <<"E" } @names;
    resilience_policy $_ { preset $_; }
    resilience_policy ${_}_once { preset $_; retry_on none; }
    resilience_provider $_ { resilience_endpoint http://127.0.0.1:%%U%%; }
    resilience_chain $_ { policy $_; provider $_; }
    resilience_chain ${_}_once { policy ${_}_once; provider $_; }
E

my $n = nginx(<<"E", vars => { U => $u->port });
    $http
    resilience_tenant \$http_x_tenant;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass \$http_x_chain; }
    }
E

sub headers { return headers => { 'X-Chain' => $_[0], 'X-Tenant' => $_[1] } }


# waits are as the presets have them, so all of them wait beside each other

my %get = map { $_ => http($n)->start(GET => "/get/$_", headers($_, 'get')) }
          @names;
my %post = map { $_ => http($n)->start(POST => "/post/$_", body => 'x',
                                       headers($_, 'post')) } @names;

my $c = http($n);

for my $name (@names) {
    my ($retries, $again, $failures, $open, $attempt, $total)
        = @{ $preset{$name} };
    is($c->get('/good/', headers($name, 'good'))->body, 'ok',
        "$name: a call");

    my $path = "/break/$name";
    my @headers = headers("${name}_once", 'break');
    $c->post($path, body => 'x', @headers) for 1 .. $failures;
    is($u->count($path), $failures, "$name: $failures failures");
    my $r = $c->post($path, body => 'x', @headers);
    is($u->count($path), $failures, "$name: and open the breaker");
    is($r->status, 503, "$name: which says so");
    my $wait = $r->header('retry-after') // 0;
    cmp_ok($wait, '>', $open - 10, "$name: for $open s");
    cmp_ok($wait, '<=', $open * 1.1 + 1, "$name: and hardly longer");

    config_error("resilience_policy p { preset $name;"
        . ' timeout first_byte=24h; }',
        qr/"first_byte=86400000ms" is longer than "attempt=${attempt}ms"/,
        "$name: time of an attempt");
    config_ok("resilience_policy p { preset $name; timeout attempt=24h; }",
        $total ? qr/"attempt=86400000ms" does not fit in "total=${total}ms"/
               : undef, "$name: time of a call");
}

for my $name (@names) {
    my ($retries, $again) = @{ $preset{$name} };
    if ($again) {
        ok($u->wait_requests(2, 30, path => "/post/$name"),
            "$name: a POST is sent again");
        $post{$name}->close;
    }
    else {
        is($post{$name}->read_until_end && $post{$name}->status, 500,
            "$name: a POST that failed");
        is($u->count("/post/$name"), 1, "$name: is not sent again");
    }
}

for my $name (@names) {
    my ($retries) = @{ $preset{$name} };
    $get{$name}->read_until_end(90 * factor);
    is($get{$name}->status, 503, "$name: a GET that failed");
    is($u->count("/get/$name"), $retries + 1, "$name: after $retries retries");
}

done_testing();
