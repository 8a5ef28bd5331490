#!/usr/bin/env perl

# Tests for when a retry starts, and whether there is one: wait hints, backoff,
# deadlines and the budget.  Times are those that the provider saw.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use List::Util qw(min max);
use POSIX ();
use Time::HiRes ();

# what a busy machine may add to a wait, and what a coarse clock may take off
use constant LATE => 250;
use constant EARLY => 10;

my $a = upstream();
my $b = upstream({ body => 'from b' });

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    log_format call '$uri|$resilience_trace|$resilience_outcome|$status|$pid';
    access_log %%PREFIX%%/access.log call;

    keepalive_requests 100000;
    resilience_zone zone=retries:2m;
    resilience_tenant $http_x_tenant;

    # hints

    resilience_policy hint {
        retry 1 base=1ms max=1ms jitter=none;
        breaker off;
    }
    resilience_policy hint_off {
        retry 1 base=1ms max=1ms jitter=none;
        retry_after off;
        breaker failures=100;
    }
    resilience_policy rest {
        retry 2 base=1ms max=1ms jitter=none;
        retry_after max=1s;
        breaker failures=100;
    }
    resilience_policy trip {
        retry 0;
        breaker failures=1 open=100ms open_max=100ms;
    }
    resilience_policy plain {
        retry 2 base=1ms max=1ms jitter=none;
        breaker off;
    }

    resilience_policy never { retry 0; breaker off; }

    # backoff

    resilience_policy exponential {
        retry 4 base=100ms max=400ms factor=2 jitter=none;
        breaker off;
    }
    resilience_policy factor {
        retry 3 base=50ms max=10s factor=3 jitter=none;
        breaker off;
    }
    resilience_policy linear {
        retry 3 base=200ms max=450ms jitter=none strategy=linear;
        breaker off;
    }
    resilience_policy constant {
        retry 3 base=200ms max=10s jitter=none strategy=constant;
        breaker off;
    }
    resilience_policy full {
        retry 1 base=800ms max=10s jitter=full;
        breaker off;
    }
    resilience_policy equal {
        retry 1 base=800ms max=10s jitter=equal;
        breaker off;
    }
    resilience_policy spread {
        retry 1 base=800ms max=10s jitter=+-30%;
        breaker off;
    }
    resilience_policy decorrelated {
        retry 2 base=200ms max=700ms jitter=decorrelated;
        breaker off;
    }

    # deadlines

    resilience_policy deadline {
        timeout connect=1s first_byte=4s idle=4s attempt=5s total=6s;
        deadline_header X-Deadline-Ms;
        retry 2 base=100ms max=100ms jitter=none;
        retry_non_idempotent on;
        breaker off;
    }
    resilience_policy total {
        timeout connect=0 first_byte=0 idle=0 attempt=0 total=400ms;
        deadline_header X-Deadline-Ms;
        retry 0;
        breaker off;
    }
    resilience_policy endless {
        timeout connect=0 first_byte=0 idle=0 attempt=0 total=0;
        deadline_header X-Deadline-Ms;
        retry 0;
        breaker off;
    }
    resilience_policy first_byte {
        timeout first_byte=200ms;
        retry 0;
        breaker off;
    }
    resilience_policy attempt {
        timeout attempt=200ms;
        retry 0;
        breaker off;
    }
    resilience_policy idle {
        timeout idle=200ms;
        retry 0;
        breaker off;
    }
    resilience_policy stop {
        timeout total=1s;
        stop_before 500ms;
        retry 1 base=600ms max=600ms jitter=none;
        breaker off;
    }
    resilience_policy too_long {
        timeout total=500ms;
        retry 1 base=600ms max=600ms jitter=none;
        breaker off;
    }

    # budgets

    resilience_policy budget {
        retry 3 base=1ms max=1ms;
        retry_budget 10% min=1;
        breaker off;
    }
    resilience_policy broke {
        retry 3 base=1ms max=1ms;
        retry_budget 0% min=0;
        breaker off;
    }
    resilience_policy unbound {
        retry 3 base=1ms max=1ms;
        retry_budget off;
        breaker off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider rest { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider free { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider trip { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider stop { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider late { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider busy { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider never { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider post { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider poor { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider rich { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider many { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider o {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain c_hint     { policy hint; provider a; }
    resilience_chain c_hint_off { policy hint_off; provider free; provider b; }
    resilience_chain c_rest     { policy rest; provider rest; provider b; }
    resilience_chain c_rested   { policy rest; provider rest; }
    resilience_chain c_trip     { policy trip; provider trip; provider b; }
    resilience_chain c_plain    { policy plain; provider a; provider b; }
    resilience_chain c_alone    { policy plain; provider a; }

    resilience_chain c_exponential  { policy exponential; provider a; }
    resilience_chain c_factor       { policy factor; provider a; }
    resilience_chain c_linear       { policy linear; provider a; }
    resilience_chain c_constant     { policy constant; provider a; }
    resilience_chain c_full         { policy full; provider a; }
    resilience_chain c_equal        { policy equal; provider a; }
    resilience_chain c_spread       { policy spread; provider a; }
    resilience_chain c_decorrelated { policy decorrelated; provider a; }

    resilience_chain c_deadline { policy deadline; provider a; provider b; }
    resilience_chain c_total    { policy total; provider a; }
    resilience_chain c_endless  { policy endless; provider a; }

    resilience_chain c_o_total      { policy total; provider o; }
    resilience_chain c_o_first_byte { policy first_byte; provider o; }
    resilience_chain c_o_attempt    { policy attempt; provider o; }
    resilience_chain c_o_idle       { policy idle; provider o; }

    resilience_chain c_stop     { policy stop; provider stop; provider b; }
    resilience_chain c_too_long { policy too_long; provider late; }
    resilience_chain c_busy     { policy plain; provider busy; }
    resilience_chain c_post     { policy plain; provider post; }
    resilience_chain c_never    { policy never; provider never; }
    resilience_chain c_next     { policy never; provider never; provider b; }

    resilience_chain c_budget   { policy budget; provider many; }
    resilience_chain c_broke    { policy broke; provider poor; provider b; }
    resilience_chain c_unbound  { policy unbound; provider rich; }

    server {
        listen 127.0.0.1:%%PORT%% reuseport;
        resilience_headers on;
        add_header X-Pid $pid always;

        location ~ ^/(?<chain>\w+)/ { resilience_pass c_$chain; }
        location = /status { resilience_status; }
    }
E

my $c = http($n);

sub provider {
    my ($name) = @_;
    return $c->get("/status?provider=$name")->json->{providers}[0];
}

sub breaker {
    my ($name, $tenant) = @_;
    return $c->get("/status?provider=$name&tenant=$tenant")
        ->json->{breakers}[0] // {};
}

# starts a call on a connection of its own
sub begin { http($n)->start(@_) }

# ms from each answer of A, when it was sent, to the next request of that path
sub gaps {
    my ($path) = @_;
    my @r = $a->requests($path);
    return map { ($r[$_]{at} - ($r[$_ - 1]{done} // $r[$_ - 1]{at})) * 1000 }
        1 .. $#r;
}

sub between {
    my ($got, $from, $to, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(defined $got && $got >= $from - EARLY && $got <= $to, $name)
        || diag(sprintf '%s is not from %s to %s', $got // 'nothing', $from,
            $to);
}


# wait hints: what the answer says, and the least and most that is waited

my @hints = (
    [ 'seconds', 1000, { 'Retry-After' => '1' } ],
    [ 'a fraction', 600, { 'Retry-After' => '0.6' } ],
    [ 'spaces', 1000, { 'Retry-After' => " 1\t" } ],
    [ 'zero', 0, { 'Retry-After' => '0' } ],
    [ 'retry-after-ms', 700, { 'Retry-After-Ms' => '700' } ],
    [ 'x-ms-retry-after-ms', 700, { 'x-ms-retry-after-ms' => '700' } ],
    [ 'retry-after-ms before the others', 500, { 'Retry-After' => '3',
        'x-ms-retry-after-ms' => '2500', 'retry-after-ms' => '500' } ],
    [ 'x-ms-retry-after-ms before retry-after', 500, { 'Retry-After' => '3',
        'x-ms-retry-after-ms' => '500' } ],
    [ 'a short one before a longer reset', 500, { 'Retry-After' => '0.5',
        'x-ratelimit-remaining-tokens' => '0',
        'x-ratelimit-reset-tokens' => '3s' } ],
    [ 'garbage gives way', 500, { 'retry-after-ms' => 'soon',
        'x-ms-retry-after-ms' => '-5', 'Retry-After' => '0.5' } ],
    [ 'all garbage gives way to a reset', 500, { 'Retry-After' => 'x',
        'x-ratelimit-remaining-requests' => '0',
        'x-ratelimit-reset-requests' => '500ms' } ],
    map([ "\"$_\" is ignored", 0, { 'Retry-After' => $_ } ],
        '-3', '3x', '3 4', '1e1', '', 'Sun, 99 Nov 2094 08:49:37 GMT'),
    [ 'a date in the past', 0,
        { 'Retry-After' => 'Sun, 06 Nov 1994 08:49:37 GMT' } ],
    [ 'reset of requests', 600, { 'x-ratelimit-remaining-requests' => '0',
        'x-ratelimit-reset-requests' => '600ms' } ],
    [ 'reset of tokens', 1000, { 'x-ratelimit-remaining-tokens' => '0',
        'x-ratelimit-reset-tokens' => '0m1s' } ],
    [ 'the longer one of two', 900, { 'x-ratelimit-remaining-tokens' => '0',
        'x-ratelimit-reset-tokens' => '0.3s',
        'x-ratelimit-remaining-requests' => '0',
        'x-ratelimit-reset-requests' => '900ms' } ],
    [ 'only that of what is used up', 300, {
        'x-ratelimit-remaining-tokens' => '0',
        'x-ratelimit-reset-tokens' => '300ms',
        'x-ratelimit-remaining-requests' => '7',
        'x-ratelimit-reset-requests' => '3s' } ],
    [ 'no reset while some remain', 0, {
        'x-ratelimit-remaining-tokens' => '10',
        'x-ratelimit-reset-tokens' => '3s' } ],
);

# a point in time: [ name, seconds since 1970, headers ]
my $then = POSIX::ceil(Time::HiRes::time() + 1);
my $http_date = POSIX::strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime $then);
my $rfc3339 = POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $then);
my @dates = (
    [ 'an HTTP date', { 'Retry-After' => $http_date } ],
    map([ "anthropic-ratelimit-$_-reset", {
            "anthropic-ratelimit-$_-remaining" => '0',
            "anthropic-ratelimit-$_-reset" => $rfc3339 } ],
        qw(requests tokens input-tokens output-tokens)),
);

my $i = 0;
my @running;
for (@dates, @hints) {
    my $path = sprintf '/hint/%02d/', $i++;
    $a->on($path, { status => 429, headers => $_->[-1] }, 200);
    push @running, begin(GET => $path);
}
$_->read_until_end for @running;

my $wall = Time::HiRes::time() - now;
for my $i (0 .. $#dates) {
    my @r = $a->requests(sprintf '/hint/%02d/', $i);
    between(($r[1]{at} // 0) + $wall - $then, -EARLY / 1000,
        (200 + LATE) / 1000, $dates[$i][0]);
}
for my $i (0 .. $#hints) {
    my ($gap) = gaps(sprintf '/hint/%02d/', $i + @dates);
    my ($name, $ms) = @{ $hints[$i] };
    between($gap, $ms, $ms * 1.1 + LATE * factor, $name);
}
is(scalar(grep { $_->status == 200 } @running), @running, 'all went well');

# only where a hint is longer than the backoff

$a->on('/linear/hint/', { status => 503, headers => { 'Retry-After' => '0' } },
    { status => 503, headers => { 'Retry-After-Ms' => '100' } },
    { status => 503, headers => { 'Retry-After' => '1' } }, 200);
$c->get('/linear/hint/');
my @gaps = gaps('/linear/hint/');
between($gaps[0], 200, 200 + LATE * factor, 'backoff that is longer than 0');
between($gaps[1], 400, 400 + LATE * factor, 'backoff that is longer');
between($gaps[2], 1000, 1100 + LATE * factor, 'a hint that is longer');

# off

my $busy = { status => 429, headers => { 'Retry-After' => '30' } };

$a->on('/hint_off/', $busy, { body => 'again' });
my $r = $c->get('/hint_off/');
is($r->body, 'again', 'retry_after off');
cmp_ok($r->time_total, '<', 5, 'does not wait');
$a->on('/hint_off/', $busy);
is($c->get('/hint_off/')->body, 'from b', 'nor moves on by it');
is($a->count('/hint_off/'), 4, 'but after its retries');
$a->on('/hint_off/', { body => 'again' });
is($c->get('/hint_off/')->body, 'again', 'nor lets the provider rest');


# a hint that is too long: on at once, and the pair rests

sub as { my $t = shift; return $c->get(@_, headers => { 'X-Tenant' => $t }) }

$a->on('/rest/', { status => 429, headers => { 'Retry-After' => '3' } });
my $since = now;
$r = as('one', '/rest/');
is($r->body, 'from b', 'a hint over its maximum moves on');
cmp_ok($r->time_total, '<', 1 * factor, 'at once');
is($a->count('/rest/'), 1, 'without a retry');
my $wait = breaker('rest', 'one')->{retry_in_ms};
is(as('one', '/rest/')->body, 'from b', 'and while it rests');
is($a->count('/rest/'), 1, 'the provider is spared');
ok($n->wait_access_log(qr/rest:breaker_open:0:0\.000, b:success/),
    'it was refused');
cmp_ok($wait, '>', 3000 - (now() - $since) * 1000 - EARLY,
    'status: not before that');
cmp_ok($wait, '<=', 3300, 'status: nor long after');
is(breaker('rest', 'one')->{state}, 'closed', 'its breaker is closed');

$r = as('one', '/rested/');
is($r->status, 503, 'alone in its chain');
between($r->header('retry-after'), 1, 4, 'says when');

is(as('two', '/rest/')->body, 'from b', 'another tenant');
is($a->count('/rest/'), 2, 'is not spared');

# a breaker that is tripped by such an answer

$a->on('/trip/', { status => 503, headers => { 'Retry-After' => '2' } },
    { body => 'from a' });
my $tripped = now;
as('one', '/trip/');
my $t = breaker('trip', 'one');
is($t->{state}, 'open', 'a 503 trips the breaker');
cmp_ok($t->{retry_in_ms}, '>', 1000, 'for as long as it says');
Time::HiRes::sleep(0.3);
is(as('one', '/trip/')->body, 'from b', 'not only as the policy says');

# until then, never earlier

$a->on('/rest/', { body => 'rested' });
my $up = wait_until(10, sub { as('one', '/trip/')->body eq 'from a' });
ok($up, 'it half-opens');
my ($first, $second) = map { $_->{at} } $a->requests('/trip/');
between(($second - $first) * 1000, 2000, 2400 + LATE * factor, 'in time');

ok(wait_until(10, sub { as('one', '/rest/')->body eq 'rested' }),
    'the rest is over');
my @at = map { $_->{at} } $a->requests('/rest/');
between(($at[2] - $at[0]) * 1000, 3000, 3300 + LATE * factor, 'in time');


# x-should-retry

sub answers {
    my ($path, @answers) = @_;
    $a->on($path, @answers);
    $_->forget for $a, $b;
}

sub counts { $a->count . '+' . $b->count }

for my $status (400, 404, 409, 422) {
    answers('/plain/', { status => $status,
        headers => { 'X-Should-Retry' => 'true' } }, { body => 'again' });
    is($c->get('/plain/')->body, 'again', "x-should-retry: true, $status");
    is(counts(), '2+0', "$status is retried");
}
answers('/plain/', { status => 409, body => 'taken',
    headers => { 'X-Should-Retry' => 'true' } });
$r = $c->get('/plain/');
is($r->status, 409, 'a 409 all the time');
is($r->body, 'taken', 'is answered as it is');
is(counts(), '3+0', 'after the retries, and no other provider is asked');

for my $status (500, 503, 429) {
    answers('/plain/', { status => $status,
        headers => { 'x-should-retry' => 'False' } });
    is($c->get('/plain/')->body, 'from b', "x-should-retry: false, $status");
    is(counts(), '1+1', "$status moves on");
}
answers('/alone/', { status => 503, body => 'no',
    headers => { 'x-should-retry' => 'false' } });
is($c->get('/alone/')->body, 'no', 'nothing to move on to');
is(counts(), '1+0', 'no retry');

for my $value ('', 'no', 'truer', '0') {
    answers('/plain/', { status => 404,
        headers => { 'x-should-retry' => $value } });
    is($c->get('/plain/')->status, 404, "x-should-retry: \"$value\"");
    is(counts(), '1+0', 'says nothing');
}


# backoff, as the provider sees it: of three calls, the least of each gap

my %waits = (
    exponential => [ 100, 200, 400, 400 ],
    factor      => [ 50, 150, 450 ],
    linear      => [ 200, 400, 450 ],
    constant    => [ 200, 200, 200 ],
);

# [ least, most, one is below, one is above ] of 30
my %jitters = (
    full   => [ 0, 800, 350, 450 ],
    equal  => [ 400, 800, 550, 650 ],
    spread => [ 560, 1040, 750, 850 ],
    decorrelated => [ 200, 600, 350, 450 ],
);

$a->forget;
@running = ();
for my $name (keys %waits) {
    $a->on("/$name/", 503);
    push @running, map { begin(GET => "/$name/$_/") } 1 .. 3;
}
$_->read_until_end for @running;

for my $name (sort keys %waits) {
    my @calls = map { [ gaps("/$name/$_/") ] } 1 .. 3;
    my @want = @{ $waits{$name} };
    is(scalar(grep { @$_ == @want } @calls), 3, "$name: attempts");
    for my $i (0 .. $#want) {
        between(min(map { $_->[$i] // -1 } @calls), $want[$i],
            $want[$i] + LATE * factor, "$name: wait $i");
    }
}

$a->forget;
@running = ();
for my $name (keys %jitters) {
    $a->on("/$name/", 503);
    push @running, map { begin(GET => "/$name/$_/") } 1 .. 30;
}
$_->read_until_end for @running;

for my $name (sort keys %jitters) {
    my @calls = map { [ gaps("/$name/$_/") ] } 1 .. 30;
    my @first = map { $_->[0] // -1 } @calls;
    my ($low, $high) = (min(@first), max(@first));
    my ($least, $most, $below, $above) = @{ $jitters{$name} };
    between($low, $least, $below + LATE, "$name: the least");
    between($high, $above, $most + LATE * factor, "$name: the most");
    cmp_ok($high - $low, '>', 100, "$name: they differ");

    next if $name ne 'decorrelated';
    is(scalar(grep { @$_ == 2 && $_->[1] >= 200 - EARLY
            && $_->[1] <= min(700, 3 * $_->[0]) + LATE * factor } @calls), 30,
        'decorrelated: up to three times the last one');
    cmp_ok(max(map { $_->[1] } @calls), '<=', 700 + LATE * factor,
        'decorrelated: at most its maximum');
}


# deadline_header

sub told { $_[0]{header}{'x-deadline-ms'} }

answers('/deadline/', 503);
$c->get('/deadline/');
my @told = map { told($_) } $a->requests, $b->requests;
is(scalar(@told), 4, 'three attempts and a fallback');
between($told[0], 6000 - LATE * factor, 6000, 'the first is told the total');
for my $i (1, 2) {
    between($told[$i - 1] - $told[$i], 100, 100 + LATE * factor,
        "$i: then what is left");
}
cmp_ok($told[3], '<=', $told[2], 'so is the fallback');
cmp_ok($told[3], '>', 4000, 'which is not nothing');

sub within {
    my ($ms, $path) = @_;
    return $c->get($path, headers => { 'x-deadline-MS' => $ms });
}

answers('/deadline/', 200);
within(2500, '/deadline/');
between(told($a->last_request), 2500 - LATE * factor, 2500,
    'the client has less time');
within(60000, '/deadline/');
between(told($a->last_request), 6000 - LATE * factor, 6000,
    'never more than we give it');

answers('/deadline/', { silent => 1 });
$r = within(400, '/deadline/');
is($r->status, 504, 'the client\'s deadline');
between($r->time_total * 1000, 400, 400 + 4 * LATE * factor, 'ends the call');
is(counts(), '1+0', 'in its first attempt');

$r = within(0, '/deadline/');
is($r->status, 504, 'a client without any time');
is(counts(), '1+0', 'nobody is asked for it');

answers('/total/', { silent => 1 });
for my $value (60000, 'abc', '-1', '1.5', '', '9' x 30, '0x10') {
    $r = within($value, '/total/');
    is($r->status, 504, "\"$value\" changes nothing");
    between($r->time_total * 1000, 400, 400 + 4 * LATE * factor, 'in time');
    between(told($a->last_request), 400 - LATE * factor, 400,
        'the provider is told ours');
}

answers('/endless/', 200);
$c->get('/endless/');
is(told($a->last_request), undef, 'no deadline, nothing is told');
within('abc', '/endless/');
is(told($a->last_request), undef, 'nor what makes no sense');
within(900, '/endless/');
between(told($a->last_request), 900 - LATE * factor, 900,
    'the client\'s own');
answers('/endless/', { silent => 1 });
is(within(300, '/endless/')->status, 504, 'it holds');


# which limit it was

sub says {
    my ($r, $limit) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($r->status, 504, "$limit: status");
    like($r->json->{error}{message}, qr/"\Q$limit\E"/, "$limit is named");
}

answers('/o_', { silent => 1 });
says($c->post("/o_$_/", {}), $_) for qw(first_byte attempt total);

answers('/o_', { type => 'application/json', body => '{"choices":[]}',
                 stall_after_bytes => 5 });
says($c->post('/o_idle/', {}), 'idle');
says($c->post('/o_attempt/', {}), 'attempt');
says($c->post('/o_total/', {}), 'total');


# no time for another

answers('/stop/', 503);
$r = $c->get('/stop/');
is($r->body, 'from b', 'stop_before: a fallback without a backoff is in time');
is(counts(), '1+1', 'a retry after its backoff is not');
cmp_ok($r->time_total, '<', 0.59, 'which is not waited for');
is(provider('stop')->{retry_denied}{deadline}, 1, 'denied for the deadline');

answers('/stop/', { status => 503, body => 'late', delay_ms => 600 });
$r = $c->get('/stop/');
is($r->body, 'late', 'stop_before: too late for a fallback');
is(counts(), '1+0', 'none is tried');
is(provider('stop')->{retry_denied}{deadline}, 2, 'denied once more');

answers('/too_long/', { status => 503, body => 'first' });
$r = $c->get('/too_long/');
is($r->body, 'first', 'a backoff beyond the deadline');
cmp_ok($r->time_total, '<', 0.45 * factor, 'ends the call at once');
is(counts(), '1+0', 'no retry');
is_deeply(provider('late')->{retry_denied}, { max_retries => 0, deadline => 1,
    budget => 0, non_idempotent => 0 }, 'denied for the deadline alone');

answers('/too_long/', { status => 503, body => 'first',
                        headers => { 'Retry-After' => '20' } });
$r = $c->get('/too_long/');
is($r->body, 'first', 'a hint beyond the deadline');
cmp_ok($r->time_total, '<', 0.45 * factor, 'ends the call at once');


# what else is counted

answers('/busy/', 503);
$c->get('/busy/') for 1 .. 2;
is(counts(), '6+0', 'all retries');
is_deeply(provider('busy')->{retry_denied}, { max_retries => 2, deadline => 0,
    budget => 0, non_idempotent => 0 }, 'then no more');

answers('/post/', 500);
$c->post('/post/', body => 'x') for 1 .. 3;
is(counts(), '3+0', 'a POST is not sent again');
is_deeply(provider('post')->{retry_denied}, { max_retries => 0, deadline => 0,
    budget => 0, non_idempotent => 3 }, 'for it is none to be');

$a->on('/post/', { status => 409 });
$c->post('/post/', body => 'x');
is(provider('post')->{retry_denied}{non_idempotent}, 3,
    'a class that is not retried is not denied one');

# where there are none nothing is denied

my $nothing = { max_retries => 0, deadline => 0, budget => 0,
                non_idempotent => 0 };

answers('/never/', 500);
$c->get('/never/');
is_deeply(provider('never')->{retry_denied}, $nothing, 'retry 0');
$c->post('/never/', body => 'x');
is_deeply(provider('never')->{retry_denied}, $nothing, 'retry 0, and a POST');
answers('/next/', 500);
$c->post('/next/', body => 'x');
is(counts(), '1+0', 'a POST that may not move on');
is_deeply(provider('never')->{retry_denied}, { %$nothing, non_idempotent => 1 },
    'is denied that');
$c->post('/next/', body => 'x', headers => { 'X-Resilience-Fallback' => 'off' });
is(provider('never')->{retry_denied}{non_idempotent}, 1,
    'unless its client declines it');


# the budget: kept for a provider over all workers

my %by_pid;
for (1 .. 200) {
    my $client = http($n);
    push @{ $by_pid{$client->get('/status')->header('x-pid')} }, $client;
    last if keys %by_pid == 2 && min(map { scalar @$_ } values %by_pid) >= 2;
}
is(scalar(keys %by_pid), 2, 'connections to both workers');
my @clients = map { @$_[0, 1] } values %by_pid;

answers('/budget/', { status => 503, body => 'down' });
$since = now;
my $bad = 0;
for (1 .. 50) {
    for ([ map { $_->start(GET => '/budget/') } @clients ]) {
        $_->read_until_end for @$_;
        $bad += grep { $_->status != 503 || !$_->complete } @$_;
    }
}
my $took = now() - $since;
is($bad, 0, 'every call got the provider\'s answer');
is(scalar(grep { $_->connects == 1 } @clients), 4, 'over four connections');
# 11 s are what a reserve is for
my $windows = 1 + int($took / 11);
cmp_ok($a->count, '<=', 200 * 1.1 + 11 * $windows, 'the load is bound');
cmp_ok($a->count, '>=', 200 + 20, 'there are retries');
my $p = provider('many');
is($p->{attempts}, $a->count, 'status: attempts');
cmp_ok($p->{retry_denied}{budget}, '>=', 150, 'status: denied for the budget');

answers('/broke/', 503);
is(scalar(grep { $c->get('/broke/')->body eq 'from b' } 1 .. 20), 20,
    'fallbacks are not bound');
is(counts(), '20+20', 'no budget, no retry');
is(provider('poor')->{retry_denied}{budget}, 20, 'each is counted');

answers('/unbound/', 503);
$c->get('/unbound/') for 1 .. 10;
is(counts(), '40+0', 'retry_budget off');

done_testing();
