#!/usr/bin/env perl

# Tests for credentials: several keys in turn, which of them rests for how
# long, and when it is (tenant, provider) that rests.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use File::Temp ();
use Time::HiRes ();

my $a = upstream({ body => 'from a' });
my $b = upstream({ body => 'from b' });

# providers with a key file of that many keys

my %of = (
    map({ $_ => 3 } qw(turn refused pace money tenant all few off mine reset
                       file many open try gone)),
    map({ $_ => 1 } qw(one auth quota slow kept missing body again)),
    bound => 6, hedge => 2, wait => 3,
);

sub keys_of { return join '', map { "sk-$_[0]-$_\n" } 1 .. $_[1] }

my %files = map { ("keys/$_" => keys_of($_, $of{$_})) } keys %of;
$files{'keys/turn'} = "# of the team\r\nsk-turn-1\r\n\r\n  sk-turn-2 \r\n"
                    . "  # sk-turn-9\nsk-turn-3";

my $providers = join '', map { <<"EOF" } sort keys %of;
    resilience_provider $_ {
        llm_dialect openai;
        llm_key_file %%PREFIX%%/keys/$_;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_chain c_$_ { policy p; provider $_; }
EOF

sub conf {
    return "resilience_zone zone=keys:$_[0] state=keys.state;\n" . <<'EOF'
    log_format call '$uri|$resilience_trace|$resilience_outcome|$status';
    access_log %%PREFIX%%/access.log call;

    resilience_tenant $http_x_tenant;

    resilience_policy p {
        preset llm_chat;
        retry 0;
        retry_budget 0% min=0;
        retry_non_idempotent off;
    }
    resilience_policy wait  { preset llm_chat; retry 1 base=1ms max=1ms; }
    resilience_policy off   { preset llm_chat; retry 0; retry_after off; }
    resilience_policy mine  { preset llm_chat; retry 0; fallback_on none; }
    resilience_policy hedge { preset llm_chat; retry 0; hedge after=100ms; }

    resilience_provider b {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%B%%;
    }
    resilience_provider own {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider local {
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider inline {
        llm_key sk-inline;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }

    resilience_chain f_all    { policy p; provider all; provider b; }
    resilience_chain f_try    { policy p; provider try; when_open try; }
    resilience_chain f_open   { policy p; provider open; when_open wait=20s; }
    resilience_chain f_few    { policy p; attempts 2; provider few; }
    resilience_chain f_bound  { policy p; attempts 20; provider bound;
                                provider b; }
    resilience_chain f_off    { policy off; attempts 20; provider off; }
    resilience_chain f_mine   { policy mine; provider mine; }
    resilience_chain f_wait   { policy wait; provider wait; }
    resilience_chain f_hedge  { policy hedge; provider hedge; }
    resilience_chain f_own    { policy p; provider own; provider b; }
    resilience_chain f_local  { policy p; provider local; provider b; }
    resilience_chain f_inline { policy p; provider inline; }
    resilience_chain f_quiet  { policy off; provider one; }

    server {
        listen 127.0.0.1:%%PORT%% reuseport;
        location ~ ^/(?<chain>\w+)/ { resilience_pass $chain; }
        location = /status { resilience_status admin; }
    }
EOF
        . $providers;
}

my $n = nginx(vars => { A => $a->port, B => $b->port }, files => \%files,
              http => conf('2m'));

# each on a connection of its own, so that all workers are asked
sub call {
    my ($path, %headers) = @_;
    return http($n)->post($path, { model => 'm' }, headers => \%headers);
}

# the keys that were sent, one for each request
sub sent {
    return map { $_->{header}{authorization} =~ /-(\d+)$/ }
               $a->requests("/$_[0]/");
}

sub sorted { return join ' ', sort @_ }

# what the provider answers to one of its keys
sub answer {
    my ($path, $key, @answers) = @_;
    my ($name) = $path =~ /^[cf]_(\w+)/;
    $a->on({ path => "/$path/",
             headers => { authorization => "Bearer sk-$name-$key" } },
           @answers);
}

sub provider {
    my ($name) = @_;
    return http($n)->get("/status?provider=$name")->json->{providers}[0];
}

# resting/all of them
sub keys_are {
    my $keys = provider($_[0])->{keys};
    return "$keys->{resting}/$keys->{count}";
}

# how long (tenant, provider) does
sub rest {
    my ($name, $tenant) = @_;
    $tenant //= '-';
    my $cell = http($n)->get("/status?provider=$name&tenant=$tenant")
        ->json->{breakers}[0] or return -1;
    return $cell->{retry_in_ms};
}

sub between {
    my ($got, $from, $to, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(defined $got && $got >= $from && $got <= $to, $name)
        || diag(sprintf '%s is not from %s to %s', $got // 'nothing', $from,
            $to);
}

sub logged {
    my ($re, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($n->wait_log($re), $name);
}

sub admin {
    my (%args) = @_;
    return http($n)->post('/status?'
        . join '&', map { "$_=$args{$_}" } sort keys %args)->status;
}

# another file in its place, or other bytes in the same
sub write_keys {
    my ($name, $text, $in_place) = @_;
    my $path = $n->prefix . "/keys/$name";
    my $to = $in_place ? $path : "$path.new";
    open my $fh, '>', $to or die "$to: $!";
    print $fh $text;
    close $fh;
    $in_place || rename $to, $path or die "$path: $!";
}

my $no = { status => 401, body => { error => { code => 'invalid_api_key' } } };
my $money = { status => 429,
    body => { error => { code => 'insufficient_quota' } } };
my $pace = { status => 429,
    body => { error => { code => 'rate_limit_exceeded' } } };

sub after { return { %{ $_[0] }, headers => { 'Retry-After' => $_[1] } } }


# in turn

call('/c_turn/') for 1 .. 30;
my %times;
$times{$_}++ for sent('c_turn');
is_deeply(\%times, { 1 => 10, 2 => 10, 3 => 10 },
    'keys are used in turn, over all workers');
is(keys_are('turn'), '0/3', 'status: none rests');
is(keys_are('one'), '0/1', 'status: a single one');
is(provider('b')->{keys}, undef, 'status: a provider without any');
is(keys_are('inline'), '0/1', 'status: llm_key');
call('/f_inline/');
is($a->last_request('/f_inline/')->{header}{authorization},
    'Bearer sk-inline', 'llm_key is sent');


# one is refused

answer('c_refused', 2, $no);
is(scalar(grep { call('/c_refused/')->status == 200 } 1 .. 12), 12,
    'a key that is refused gives way to another one');
my @sent = sent('c_refused');
is(scalar(grep { $_ == 2 } @sent), 1, 'and is not used any more');
is(scalar(@sent), 13, 'there is one attempt more than there were calls');
cmp_ok(abs(grep({ $_ == 1 } @sent) - grep({ $_ == 3 } @sent)), '<=', 2,
    'the others share the load');
ok($n->wait_access_log(qr/c_refused\/\|refused:auth:401:\S+ refused:success/),
    'it is in the trace');
is(keys_are('refused'), '1/3', 'status: one rests');
is(rest('refused'), 0, 'status: the provider does not');
is_deeply(provider('refused')->{retry_denied}, { max_retries => 0,
    deadline => 0, budget => 0, non_idempotent => 0 },
    'neither retries nor the budget are asked');
logged(qr/\[warn\].*key\ 2\ of\ 3\ of\ provider\ "refused"\ rests\ for
          \ 600000ms\ after\ auth/x,
    'it is logged');
logged(qr/\[info\].*another key of provider "refused" after auth/,
    'and so is the other one');


# for how long

answer('c_pace', 1, after($pace, 2), { body => 'back' });
answer('c_pace', 2, $pace);
my $since;
for (1 .. 6) {
    call('/c_pace/');
    $since //= now if grep { $_ == 1 } sent('c_pace');
}
logged(qr/\[info\].*key\ 1\ of\ 3\ of\ provider\ "pace"\ rests\ for\ 2000ms
          \ after\ rate_limited/x,
    'an answer that says how long');
logged(qr/\[info\].*key\ 2\ of\ 3\ of\ provider\ "pace"\ rests\ for\ 5000ms
          \ after\ rate_limited/x,
    'and one that does not');
ok(wait_until(20, sub { call('/c_pace/')->body eq 'back' }), 'it comes back');
cmp_ok(now() - $since, '>', 1.8, 'not before that');

answer('c_money', 1, $money);
answer('c_money', 2, { status => 402 });
answer('c_money', 3, after({ status => 402 }, 90));
call('/c_money/');
logged(qr/key 1 of 3 of provider "money" rests for 3600000ms after quota/,
    'a 429 that speaks of money');
logged(qr/key 2 of 3 of provider "money" rests for 3600000ms after quota/,
    'a 402');
logged(qr/key 3 of 3 of provider "money" rests for 90000ms after quota/,
    'a 402 that says how long');
is(keys_are('money'), '3/3', 'status: all of them rest');
is(sorted(sent('c_money')), '1 2 3', 'each was asked once');


# what a 403 says may be about the tenant's model

sub as { my $t = shift; return call($_[0], 'X-Tenant' => $t) }

$a->on('/c_tenant/', { status => 403 });
is(as('x', '/c_tenant/')->status, 403, 'all keys refuse a tenant');
is(sorted(sent('c_tenant')), '1 2 3', 'each once');
is(as('x', '/c_tenant/')->status, 503, 'they rest for it');
is(keys_are('tenant'), '0/3', 'but not for all');
logged(qr/key\ \d\ of\ 3\ of\ provider\ "tenant"\ rests\ for\ 600000ms\ after
          \ auth,\ for\ tenant\ "x"/x,
    'it is logged');
$a->on('/c_tenant/', { body => 'well' });
is(as('y', '/c_tenant/')->body, 'well', 'another one is served');
is(admin(provider => 'tenant', tenant => 'y', action => 'auto'), 200,
    'a word of another tenant');
is(as('x', '/c_tenant/')->status, 503, 'changes nothing');
is(admin(provider => 'tenant', tenant => 'x', action => 'auto'), 200,
    'one of the same');
is(as('x', '/c_tenant/')->body, 'well', 'ends its rests');


# all rest

answer('f_all', $_, after($pace, 10 * $_)) for 1 .. 3;
is(call('/f_all/')->body, 'from b', 'no key is left, the next provider is');
is(sorted(sent('f_all')), '1 2 3', 'after each was asked');
is(call('/f_all/')->body, 'from b', 'while they rest');
is(sorted(sent('f_all')), '1 2 3', 'none is asked');
ok($n->wait_access_log(qr/f_all\/\|all:breaker_open:0:0\.000, b:success/),
    'it is refused');
my $r = call('/c_all/');
is($r->status, 503, 'if there is no other provider');
between($r->header('retry-after'), 1, 10, 'it says when the first is back');

answer('f_try', $_, after($pace, 10 * $_), { body => 'x' })
    for 1 .. 3;
call('/f_try/');
is(call('/f_try/')->status, 200, 'when_open try');
is((sent('f_try'))[-1], 1, 'takes the one that is back first');

answer('f_open', $_, after($pace, $_ + 1), { body => "key $_" }) for 1 .. 3;
call('/f_open/');
$since = now;
is(call('/f_open/')->body, 'key 1', 'when_open wait');
cmp_ok(now() - $since, '>', 1.5, 'waits for it');

# a retry waits for as long as it takes

answer('f_wait', $_, after($pace, 1), { body => 'x' }) for 1 .. 3;
$since = now;
is(call('/f_wait/')->status, 200, 'a retry when all are refused');
cmp_ok(now() - $since, '>', 0.95, 'comes after what they ask for');
is(scalar(sent('f_wait')), 4, 'and after each was asked');


# bounds

$a->on('/f_bound/', $no);
is(call('/f_bound/')->body, 'from b', 'six keys, none of them good');
is(sorted(sent('f_bound')), '1 2 3 4 5 6', 'are asked once each');

$a->on('/f_few/', $no);
is(call('/f_few/')->status, 401, 'as many attempts as the chain has');
is(scalar(sent('f_few')), 2, 'and no more');
is(keys_are('few'), '2/3', 'what was not asked does not rest');

$a->on('/f_off/', $no);
is(call('/f_off/')->status, 401, 'retry_after off');
is(sorted(sent('f_off')), '1 2 3', 'each once in a call');
is(keys_are('off'), '0/3', 'none rests');

answer('f_mine', 1, $no);
is(scalar(grep { call('/f_mine/')->status == 200 } 1 .. 4), 4,
    'fallback_on none is not about keys');
is(scalar(grep { $_ == 1 } sent('f_mine')), 1, 'which rest as ever');
is(admin(provider => 'mine', action => 'auto'), 200, 'a word of all tenants');
is(keys_are('mine'), '0/3', 'ends the rests of keys');

# a hedge has a key, too

$a->on('/f_hedge/', { hold => 'hedged', body => 'late' });
my $call = http($n)->start(POST => '/f_hedge/', json => {},
    headers => { 'Idempotency-Key' => 'x' });
ok($a->wait_requests(2, 10, '/f_hedge/'), 'a hedge');
is(sorted(sent('f_hedge')), '1 2', 'takes its turn');
$a->release('hedged');
$call->read_until_end;


# the file changes

answer('c_file', 1, $no);
call('/c_file/') for 1 .. 3;
is(keys_are('file'), '1/3', 'a key rests');
write_keys(file => "sk-file-3\nsk-file-1\n");
ok(wait_until(10, sub { keys_are('file') eq '1/2' }),
    'it goes on to in another order, without the one that is gone');

# until all workers have seen it
sub settles {
    my ($name, $want) = @_;
    return wait_until(15, sub {
        $a->forget;
        call("/c_$name/") for 1 .. 6;
        return join(' ', sent("c_$name")) eq join ' ', ($want) x 6;
    });
}

ok(settles(file => 3), 'and is not asked');
write_keys(file => "sk-file-1\n");
ok(wait_until(10, sub { call('/c_file/')->status == 401 }),
    'alone it is asked once more');
ok(wait_until(10, sub { rest('file') > 590_000 }),
    'and then it is the provider that rests');
is(call('/c_file/')->status, 503, 'for all calls');
write_keys(file => "sk-file-4\n");
ok(settles(file => 4), 'until there is another key');
is(rest('file'), 0, 'status: it does not any more');

# written in place, within a second, of the same length

write_keys(file => "sk-file-5\n", 1);
ok(wait_until(10, sub { call('/c_file/'); (sent('c_file'))[-1] == 5 }),
    'a file that is written over');
write_keys(file => "sk-file-6\n", 1);
ok(settles(file => 6), 'and again at once');
write_keys(file => '', 1);
ok(wait_until(10, sub { call('/c_file/')->status == 503 }), 'truncated');
logged(qr/key file ".*file" holds no key, its provider is skipped/,
    'it is no key');
write_keys(file => 'sk-file-7', 1);
ok(settles(file => 7), 'and without an end of its line it is one');

my $path = $n->prefix . '/keys/gone';
unlink $path or die $!;
ok(wait_until(10, sub { call('/c_gone/')->status == 503 }), 'it is gone');
mkdir $path or die $!;
logged(qr/key file ".*gone" is gone, its provider is skipped/,
    'which is logged');
ok(wait_until(10, sub { call('/c_gone/');
    $n->log =~ /key file ".*gone" is not a regular file, its provider is/ }),
    'a directory is no file');
rmdir $path or die $!;
write_keys(gone => keys_of('gone', 2));
ok(wait_until(10, sub { keys_are('gone') eq '0/2' }), 'it is back');
ok(wait_until(10, sub { call('/c_gone/')->status == 200 }), 'and used');
chmod 0664, $path;
write_keys(gone => keys_of('gone', 3), 1);
ok(wait_until(10, sub { keys_are('gone') eq '0/3' }), 'with more keys');
logged(qr/\[warn\].*key file ".*gone" has permissions 0664/,
    'for all to read');


# reloads

$a->on('/c_many/', $no);
call('/c_many/');
is(keys_are('many'), '3/3', 'all rest');
$n->reload;
is(keys_are('many'), '3/3', 'after a reload they do');
$n->conf(conf('3m'));
$n->reload;
is(keys_are('many'), '3/3', 'with a zone of another size, too');
$a->forget;
is(call('/c_many/')->status, 503, 'and are not asked');
is($a->count('/c_many/'), 0, 'not once');


# a single key: (tenant, provider) rests

for my $case ([ auth => 401, $no, 600_000 ],
              [ quota => 402, { status => 402 }, 3_600_000 ],
              [ kept => 403, { status => 403 }, 600_000 ],
              [ slow => 429, $pace, 5_000 ]) {
    my ($name, $status, $answer, $ms) = @$case;
    $a->on("/c_$name/", $answer);
    is(as('x', "/c_$name/")->status, $status, "$name: it is the client's");
    between(rest($name, 'x'), $ms - 4000 * factor, $ms, "$name: rests");
    is(as('y', "/c_$name/")->status, $status, "$name: another tenant asks");
    next if $ms == 5_000;
    $r = as('x', "/c_$name/");
    is($r->status, 503, "$name: is not asked");
    between($r->header('retry-after'), $ms / 1000 - 4 * factor, $ms / 1000,
        "$name: says how long");
}
is(keys_are('auth'), '0/1', 'status: no key rests');
logged(qr/\[warn\].*provider\ "auth"\ rests\ for\ 600000ms\ after\ auth,
          \ for\ tenant\ "x"/x,
    'it is logged');
is(admin(provider => 'auth', tenant => 'x', action => 'auto'), 200, 'auto');
is(rest('auth', 'x'), 0, 'ends a rest');
cmp_ok(rest('auth', 'y'), '>', 500_000, 'but not that of another tenant');
is(as('x', '/c_auth/')->status, 401, 'it is asked');
is(admin(provider => 'auth', action => 'reset'), 200, 'reset of all');
is(rest('auth', $_), 0, "ends that of $_") for 'x', 'y';

$a->on('/c_again/', $no);
as('x', '/c_again/');
cmp_ok(rest('again', 'x'), '>', 500_000, 'a key that is refused');
write_keys(again => keys_of('again', 2));
$a->on('/c_again/', { body => 'x' });
ok(wait_until(10, sub { as('x', '/c_again/')->status == 200 }),
    'does not hold back two');

$a->on('/c_missing/', { status => 404,
    body => { error => { code => 'model_not_found' } } });
is(as('x', '/c_missing/')->status, 404, 'a model that there is not');
is(rest('missing', 'x'), 0, 'lets nothing rest');

$a->on('/f_quiet/', $no);
is(as('x', '/f_quiet/')->status, 401, 'retry_after off') for 1 .. 2;
is(rest('one', 'x'), 0, 'lets nothing rest');


# a credential of the client's lets nothing rest

my %mine = (Authorization => 'Bearer mine');

for my $answer (after($pace, 20), $pace, $no, $money, { status => 402 },
                { status => 403 }) {
    $a->on('/f_own/', $answer);
    call('/f_own/', %mine);
    is(rest('own'), 0, "$answer->{status} of a client's own key");
}
$a->on('/f_own/', after({ status => 503 }, 20));
call('/f_own/', %mine);
cmp_ok(rest('own'), '>', 10_000, 'a 503 is not of a key');

for my $answer ($pace, { status => 402 }, { status => 403 }) {
    $a->on('/f_local/', $answer);
    call('/f_local/');
    is(rest('local'), 0, "$answer->{status} without any key");
}
$a->on('/f_local/', after($pace, 20));
call('/f_local/');
between(rest('local'), 10_000, 20_000, 'a wait that is asked for is heeded');


# waits that a body names

sub retry_info {
    return { error => { code => 429, message => 'x',
        status => 'RESOURCE_EXHAUSTED', details => [
            { '@type' => 'type.googleapis.com/google.rpc.QuotaFailure' },
            { '@type' => 'type.googleapis.com/google.rpc.RetryInfo',
              retryDelay => $_[0] } ] } };
}

my %used_up = ('x-ratelimit-remaining-requests' => '0',
               'x-ratelimit-reset-requests' => '20s');

for ([ 'RetryInfo', 46_000, 429, retry_info('46s') ],
     [ 'in an array', 46_000, 429, [ retry_info('46s') ] ],
     [ 'longer than an hour', 3_600_000, 429, retry_info('35617.7s') ],
     [ 'availability', 30_000, 503,
         { error => { code => 503, availability => { retry_after => 30 } } } ],
     [ 'metadata', 40_000, 429,
         { error => { code => 429, metadata => { retry_after => 40 } } } ],
     [ 'a header goes before it', 20_000, 429, retry_info('46s'),
         'Retry-After' => '20' ],
     [ 'a header in ms before that', 21_000, 429, retry_info('46s'),
         'retry-after-ms' => '21000', 'Retry-After' => '50' ],
     [ 'it goes before what is used up', 46_000, 429, retry_info('46s'),
         %used_up ],
     [ 'what is used up', 20_000, 429, {}, %used_up ],
     [ 'a header of a day', 3_600_000, 429, {}, 'Retry-After' => '86400' ],
     [ 'of another class', 0, 500, retry_info('46s') ],
     [ 'with a 200', 46_000, 200, retry_info('46s') ]) {
    my ($name, $ms, $status, $body, %headers) = @$_;
    admin(provider => 'body', action => 'reset');
    $a->on('/c_body/', { status => $status, body => $body,
                         headers => \%headers });
    as('x', '/c_body/');
    between(rest('body', 'x'), $ms ? $ms - 4000 * factor : 0, $ms,
        "a wait: $name");
}


# a restart: who rests does, but not for a key that has been changed since

for (qw(quota body)) {
    admin(provider => $_, action => 'reset');
    $a->on("/c_$_/", { status => 402 });
    as('x', "/c_$_/");
    $a->on("/c_$_/", { body => 'x' });
}
write_keys(body => "sk-body-2\n");
$n->restart;
is(as('x', '/c_quota/')->status, 503, 'after a restart it rests');
is(as('x', '/c_body/')->status, 200, 'another key does not');

unlike($n->log, qr/sk-\w/, 'no key is in the log');
unlike(http($n)->get('/status')->body, qr/sk-\w/, 'nor in the status');
$n->stop;


# the master may read what its workers may not, until it changes

SKIP: {
    skip('not root', 4) if $>;

    my $group = getgrgid((getpwnam 'nobody')[3]);
    my $n = nginx(vars => { A => $a->port }, main => "user nobody $group;",
                  files => { key => "sk-root-1\n" }, start => 0,
                  http => <<'EOF');
    resilience_provider root {
        llm_key_file %%PREFIX%%/key;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        location /root/ { resilience_pass root; }
    }
EOF
    my $path = $n->prefix . '/key';
    chmod 0600, $path;
    $n->start;
    $a->on('/root/', { body => 'root' });

    # a second and more, so that it is looked at again
    my $since = now;
    my @got = map { Time::HiRes::sleep(0.2); http($n)->get('/root/')->status }
              1 .. 12;
    is(scalar(grep { $_ == 200 } @got), 12, 'a file of the master\'s');
    cmp_ok(now() - $since, '>', 2, 'for a while');

    Resilience::Nginx::spew($path, "sk-root-22\n");
    ok(wait_until(10, sub { http($n)->get('/root/')->status == 503 }),
        'until it changes');
    chmod 0644, $path;
    ok(wait_until(10, sub { http($n)->get('/root/')->status == 200 }),
        'and when it can be read it is');
}


# what nginx -t says of a file

my $dir = File::Temp::tempdir('resilience.XXXXXXXX', TMPDIR => 1,
                              CLEANUP => 1);

sub says {
    my ($text, $warning, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    open my $out, '>', "$dir/key" or die $!;
    print $out $text;
    close $out;
    chmod 0600, "$dir/key";
    return config_ok("resilience_provider a { llm_key_file $dir/key;"
        . ' return 200; }', $warning, $name);
}

says(keys_of('x', 64), undef, '64 keys');
says(keys_of('x', 65), qr/\[warn\].*key\ file\ ".*key"\ holds
    \ more\ than\ 64\ keys,\ those\ from\ line\ 65\ on\ are\ not\ used/x,
    '65 keys');
says("# x\nsk-a\nsk b\n", qr/\[warn\].*line 3 of key file ".*" has white space/,
    'a key with a space');
says("sk-a\nsk-b\nsk-a\n", qr/\[warn\].*line 3 of .* is there before/,
    'a key that is there twice');
says('x' x 4096, qr/\[warn\].*line 1 of .* is longer than 4095 bytes/,
    'a key that is too long');
says('x' x 4095, undef, 'one that is not');
says('#' x 70_000, qr/\[warn\].*key file ".*" is longer than 65536 bytes/,
    'a file that is too long');
says("# none\n\n", qr/\[warn\].*key file ".*key" holds no key/,
    'a file without a key');
chmod 0604, "$dir/key";
config_ok("resilience_provider a { llm_key_file $dir/key; return 200; }",
    qr/\[warn\].*key file ".*" has permissions 0604, use 0640 or less/,
    'a file that all can read');
says("sk-a\r\n\r\n#\r\n sk-b", undef, 'what a Windows editor makes of it');

done_testing();
