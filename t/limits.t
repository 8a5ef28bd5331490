#!/usr/bin/env perl

# Tests for rate limits: how many are let through, by whom they are counted,
# what the others are told, tokens, and what is kept over a reload.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream({ body => 'ok' });

my $body = '{"model":"m","messages":[{"role":"user","content":"Hi"}]}';

my $http = <<'E';
    resilience_zone zone=gw:%%SIZE%%;
    resilience_tenant $http_x_tenant;

    log_format calls '$uri $status $resilience_outcome $resilience_tenant';
    access_log %%PREFIX%%/access.log calls;

    resilience_policy once { retry 0; breaker off; breaker_provider off; }

    resilience_provider plain { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider openai {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider anthropic {
        llm_dialect anthropic;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_chain plain { policy once; provider plain; }
    resilience_chain openai { policy once; provider openai; }
    resilience_chain anthropic { policy once; provider anthropic; }

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Forwarded-For;
        add_header X-Worker $pid always;

        location /burst/ {
            resilience_limit requests name=burst rate=1r/h burst=19;
            resilience_pass plain;
        }
        location /pace/ {
            resilience_limit requests name=pace rate=30r/m burst=0;
            resilience_pass openai;
        }
        location /openai/ {
            resilience_limit requests name=openai rate=2r/h;
            resilience_pass openai;
        }
        location /anthropic/ {
            resilience_limit requests name=anthropic rate=1r/d;
            resilience_pass anthropic;
        }
        location /page/ {
            resilience_limit requests name=page rate=1r/h;
            error_page 429 /sorry/;
            resilience_pass openai;
        }
        location /sorry/ {
            resilience_limit requests name=sorry rate=1r/h;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /address/ {
            resilience_limit requests name=address rate=1r/h burst=1
                                      key=$binary_remote_addr;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /empty/ {
            resilience_limit requests name=empty rate=1r/h key=$http_x_key;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /all/ {
            resilience_limit requests name=all rate=1r/h burst=4 key=all;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /login/ {
            resilience_limit requests name=guess rate=1r/h burst=2
                                      key=$binary_remote_addr;
            resilience_limit requests name=user rate=1r/h;
            auth_basic login;
            auth_basic_user_file %%PREFIX%%/users;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /both/ {
            resilience_limit requests name=wide rate=1r/h burst=2
                                      key=$binary_remote_addr;
            resilience_limit requests name=narrow rate=1r/h;
            resilience_headers on;
            resilience_pass plain;
        }
        location /dry/ {
            resilience_limit requests name=dry rate=1r/h;
            resilience_limit_dry_run on;
            resilience_pass openai;
        }
        location /required/ {
            resilience_tenant $http_x_tenant required;
            resilience_limit requests name=required rate=1r/h;
            resilience_pass openai;
        }
        location /hashed/ {
            resilience_tenant $http_authorization hash;
            resilience_limit requests name=hashed rate=1r/h;
            resilience_pass openai;
        }
        location /credential/ {
            resilience_limit requests name=credential rate=1r/h
                                      key=$http_authorization;
            resilience_pass openai;
        }
        location /once/ {
            resilience_limit requests name=once rate=1r/h burst=1;
            proxy_intercept_errors on;
            error_page 404 = /again/;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /again/ {
            resilience_limit requests name=once rate=1r/h burst=1;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /asks/ {
            resilience_limit requests name=asks rate=1r/h burst=1;
            auth_request /asked/;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /asked/ {
            resilience_limit requests name=asks rate=1r/h burst=1;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location /tokens/ {
            resilience_limit tokens rate=1k/d;
            resilience_headers on;
            resilience_pass plain;
        }
        location /tokens/llm/ {
            resilience_limit tokens name=llm rate=1k/d burst=2k;
            resilience_pass openai;
        }
        location /tokens/used/ {
            resilience_limit tokens name=used rate=1k/d;
            resilience_headers on;
            resilience_pass openai;
        }
        location /tokens/dry/ {
            resilience_limit tokens name=dry-tokens rate=1k/d burst=10;
            resilience_limit_dry_run on;
            resilience_headers on;
            resilience_pass plain;
        }
        location /tokens/proxy/ {
            resilience_limit tokens name=proxy rate=1k/d;
            resilience_headers on;
            proxy_pass http://127.0.0.1:%%A%%;
        }
        location = /status { resilience_status; }
        location = /metrics { resilience_status prometheus; }
    }

    server {
        listen 127.0.0.1:%%PORT2%%;
        resilience_limit requests rate=1r/h;
        location / { proxy_pass http://127.0.0.1:%%A%%; }
        location /own/ {
            resilience_limit requests name=own rate=1r/h burst=1;
            proxy_pass http://127.0.0.1:%%A%%;
        }
    }
E

my $n = nginx(http => $http, vars => { A => $a->port, SIZE => '1m' },
              files => { users => "u:{PLAIN}secret\n" });
my $mark = $n->mark;

sub call {
    my ($where, $tenant, %opt) = @_;
    my $c = delete $opt{client} // http($n);
    my %more = %{ delete $opt{headers} // {} };
    return $c->request((delete $opt{method} // 'GET') => "/$where/",
        headers => { 'X-Tenant' => $tenant, %more }, %opt);
}

sub statuses { join ' ', map { $_->status } @_ }
sub header   { scalar $_[0]->header($_[1]) }
sub limit    { my ($name) = @_;
               (grep { $_->{name} eq $name }
                @{ http($n)->get('/status')->json->{limits} })[0] }
sub counted  { limit($_[0])->{limited} }
sub logged   { my ($line) = @_;
               wait_until(5, sub { slurp("$n->{prefix}/access.log")
                                   =~ /^\Q$line\E$/m }) }


# so many and no more, of all workers together

my (%seen, @sent);
while (@sent < 1000) {
    push @sent, my $r = call('burst', 'acme');
    $seen{ header($r, 'X-Worker') }++;
    last if @sent >= 60 && keys %seen == 2;
}
is(scalar keys %seen, 2, 'both workers were asked');
is(scalar(grep { $_->status == 200 } @sent), 20, 'the first and its burst');
is(statuses(@sent[0 .. 19]), join(' ', (200) x 20), 'and those came first');
is(scalar(grep { $_->status == 429 } @sent), @sent - 20, 'the others: 429');
is($a->count('/burst/'), 20, 'no provider sees them');
is(counted('burst'), @sent - 20, 'they are counted');
is(call('burst', 'other')->status, 200, 'another tenant has its own');

{
    # at once, from many connections
    my @clients = map { http($n) } 1 .. 40;
    my @answers = map { $_->start(GET => '/burst/',
        headers => { 'X-Tenant' => 'many' }) } @clients;
    $_->read_until_end for @answers;
    is(scalar(grep { $_->status == 200 } @answers), 20, 'many at once');
}


# what a client is told

$a->on('/', { openai => { content => 'Hi' } });
is(call('openai', 't')->status, 200, 'the first');
is(call('openai', 't')->status, 200, 'without burst=: those of a period');
my $r = call('openai', 't', method => 'POST', body => $body);
is($r->status, 429, 'the third is refused');
like(header($r, 'Retry-After'), qr/^(?:1800|17\d\d)$/, 'Retry-After');
is(header($r, 'RateLimit-Policy'), '"openai";q=2;w=3600', 'RateLimit-Policy');
is(header($r, 'RateLimit'), '"openai";r=0;t=' . header($r, 'Retry-After'),
    'RateLimit');
is(header($r, 'x-should-retry'), undef, 'it may try again');
is($r->json->{error}{code}, 'limited', "OpenAI's dialect");
is($r->json->{error}{type}, 'rate_limit_error', 'its type');
like($r->json->{error}{message},
    qr/^limit "openai" of 2 requests in 3600 seconds is reached, retry after 1/,
    'what and when');

call('anthropic', 't');
$r = call('anthropic', 't');
is($r->status . ' ' . $r->json->{error}{type}, '429 rate_limit_error',
    "Anthropic's dialect");
is($r->json->{type}, 'error', 'its shape');

is(header(call('burst', 'acme'), 'Content-Type'), 'application/problem+json',
    'no dialect: a problem');
is(header(call('burst', 'new'), 'RateLimit'), undef,
    'who is let through is told nothing');

ok(logged('/openai/ 429 limited t'), 'the outcome');
my $says = qr/limiting requests by limit "openai" and tenant "t": retry after/;
like($n->log($mark), qr/\[warn\] .*$says 1\d+s, client:/, 'a line in the log');

call('page', 't');
$r = call('page', 't');
is($r->status . ' ' . $r->text, '429 Hi', 'an error page of the location');
ok(header($r, 'Retry-After'), 'Retry-After is there');
is(call('sorry', 't')->status, 200, 'its own limit was not asked');


# and that it is true

is(call('pace', 't')->status, 200, 'one');
$r = call('pace', 't');
is($r->status, 429, 'another one is too early');
my $wait = header($r, 'Retry-After');
like($wait, qr/^[12]$/, 'when it is to be tried again');
select undef, undef, undef, $wait;
is(call('pace', 't')->status, 200, 'it is let through then');


# by address, by nothing, by all

sub from {
    my ($where, $address) = @_;
    return call($where, 't', headers => { 'X-Forwarded-For' => $address });
}

is(statuses(map { from('address', '192.0.2.1') } 1 .. 3), '200 200 429',
    'an address');
is(statuses(map { from('address', "192.0.2.$_") } 2 .. 5), '200 200 200 200',
    'other addresses');
is(statuses(from('address', '2001:db8::1')), '200', 'IPv6');
$r = from('address', '192.0.2.1');
is(header($r, 'Content-Type'), 'text/html', "no call: nginx's page");
ok(header($r, 'Retry-After'), 'with Retry-After');

is(statuses(map { call('empty', 't') } 1 .. 3), '200 200 200',
    'an empty key is not limited');
is(statuses(map { call('empty', 't', headers => { 'X-Key' => 'x' }) } 1 .. 2),
    '200 429', 'another is');
is(statuses(map { call('all', $_) } 1 .. 6), '200 200 200 200 200 429',
    'all together');


# before access is controlled, and after

my %user = (Authorization => 'Basic dTpzZWNyZXQ=');
my %guess = (Authorization => 'Basic dTpndWVzcw==');

sub login {
    my ($address, %auth) = @_;
    return call('login', 'acme',
        headers => { 'X-Forwarded-For' => $address, %auth });
}

is(statuses(map { login('192.0.2.1', %guess) } 1 .. 5), '401 401 401 429 429',
    'guesses are limited by address');
is(statuses(map { login('192.0.2.2', %user) } 1 .. 3), '200 429 429',
    'who is let in is limited by tenant, of which they took nothing');
is(statuses(map { login('192.0.2.2', %guess) } 1 .. 3), '401 401 429',
    'who is refused has taken nothing');

sub both {
    my ($tenant) = @_;
    return call('both', $tenant,
        headers => { 'X-Forwarded-For' => '192.0.2.9' });
}

$r = both('one');
is($r->status, 200, 'within two limits');
like(header($r, 'RateLimit'),
    qr/^"wide";r=2;t=3\d\d\d, "narrow";r=0;t=3\d\d\d$/, 'told of both');
is(header($r, 'RateLimit-Policy'), '"wide";q=1;w=3600, "narrow";q=1;w=3600',
    'policy of both');
$r = both('one');
is($r->status, 429, 'over one of them');
like(header($r, 'RateLimit'), qr/^"narrow";r=0;t=3\d+$/, 'told of that one');
is(header($r, 'RateLimit-Policy'), '"wide";q=1;w=3600, "narrow";q=1;w=3600',
    'policy of both');
is(header($r, 'X-Resilience-Outcome'), 'limited', 'outcome');
both('one') for 1 .. 3;
like(header(both('two'), 'RateLimit'), qr/^"wide";r=1;/,
    'what is refused by one limit is not counted by the other');


# a request counts once, whatever becomes of it in nginx

$a->on('/once/', 404);
is(statuses(map { call('once', 't') } 1 .. 3), '200 200 429', 'a redirect');
is(statuses(map { call('asks', 't') } 1 .. 3), '200 200 429', 'a subrequest');


# tenants

is(statuses(map { call('required', '') } 1 .. 2), '401 401', 'no tenant');
is(statuses(map { call('required', 'x') } 1 .. 2), '200 429', 'a tenant');

my $key = 'Bearer sk-very-secret';
for my $where (qw(hashed credential)) {
    is(statuses(map { call($where, 't', headers => { Authorization => $key }) }
                1 .. 2), '200 429', $where);
}
my $log = $n->log($mark);
like($log, qr/by limit "hashed" and tenant "[0-9a-f]{16}":/,
    'a tenant as it is shown');
like($log, qr/by limit "credential": retry/, 'a key is not shown');
unlike($log, qr/sk-very/, 'anywhere');


# a dry run

is(statuses(map { call('dry', 't') } 1 .. 3), '200 200 200', 'a dry run');
is(limit('dry')->{limited} . limit('dry')->{dry_run}, '02', 'counted apart');
like($n->log($mark), qr/limiting requests, dry run, by limit "dry"/, 'logged');
ok(wait_until(5, sub { 3 == (() = slurp("$n->{prefix}/access.log")
                             =~ m{^/dry/ 200 success t$}mg) }),
    'outcomes are as without it');


# tokens: by the size of the request at first

sub left {
    my ($r) = @_;
    return $r->status . ' ' . ((header($r, 'RateLimit') // '')
                               =~ /^"[\w-]+";r=(\d+);/ ? $1 : '-');
}

# on one connection: what came before is over
my $c = http($n);

sub say {
    my ($bytes, %opt) = @_;
    return call(delete $opt{where} // 'tokens', delete $opt{tenant} // 'acme',
        method => 'POST', client => $c, body => 'x' x $bytes, %opt);
}

$a->on('/tokens/', { body => 'ok' });
is(left(say(400)), '200 900', '400 bytes are 100 tokens');
is(left(say(400)), '200 800', 'another 100');
is(left(say(0)), '200 799', 'none are one');
is(left(say(2000, chunked => 1)), '200 798', 'of unknown size: one');
is(left(say(4)), '200 298', 'until its size is known');

$a->on('/tokens/', 500);
is(left(say(400)), '500 198', 'a call that fails');
$a->on('/tokens/', 400);
is(left(say(400)), '400 198', 'costs nothing');
$a->on('/tokens/', { body => 'ok' });
is(left(say(400)), '200 198', 'nor one that is wrong');

{
    my $c = http($n);
    $a->on('/tokens/', { silent => 1 });
    my $seen = $a->count('/tokens/');
    my $r = $c->start(POST => '/tokens/', body => 'x' x 400,
                      headers => { 'X-Tenant' => 'acme' });
    ok($a->wait_requests($seen + 1, 5, '/tokens/'), 'a provider is asked');
    $c->close;
    ok(logged('/tokens/ 499 client_abort acme'), 'the client leaves');
    $a->on('/tokens/', { body => 'ok' });
    is(left(say(4)), '200 97', 'what was asked is paid for');
}

$r = say(400);
is(left($r), '429 97', 'not so many are left');
like(header($r, 'Retry-After'), qr/^\d{2,}$/, 'it can wait for them');
is(left(say(388)), '200 0', 'as many as are left');

$r = say(4004, tenant => 'big');
is($r->status, 429, 'more than there ever are');
is(header($r, 'Retry-After'), undef, 'no Retry-After');
is(left(say(4000, tenant => 'big')), '200 0', 'nothing was taken');

is(left(say(300_000, tenant => 'big')), '429 0', 'a large body');
is(left(say(4, tenant => 'new')), '200 999', 'and the next request after it');
is($c->connects, 1, 'all on one connection');

$r = say(8004, where => 'tokens/llm');
is(header($r, 'x-should-retry'), 'false', 'and no use to try again');
is($r->json->{error}{message}, 'the request counts as 2001 tokens, limit '
    . '"llm" never has more than 2000 at once', 'why');
like($n->log($mark), qr/tokens by limit "llm" and tenant "acme": it is more/,
    'in the log, too');

# and by what the answer tells, once it is there

$a->on('/tokens/used/', { openai => { usage => { prompt_tokens => 300,
    completion_tokens => 250, total_tokens => 550 } } });
is(left(say(400, where => 'tokens/used')), '200 900', 'an estimate at first');
is(left(say(0, where => 'tokens/used')), '200 449', 'and then what was used');

is(left(say(400, where => 'tokens/dry')), '200 10', 'a dry run');
is(left(say(40, where => 'tokens/dry')), '200 0', 'takes nothing');
is(left(say(2000, where => 'tokens/proxy', chunked => 1)), '200 999',
    'without a call');
is(left(say(4, where => 'tokens/proxy')), '200 499', 'as estimated');


# a server's limits are those of its locations that have none

sub there { http($n->port(2))->get($_[0])->status }

is(join(' ', there('/'), there('/x'), there('/own/'), there('/own/'),
        there('/own/')), '200 429 200 200 429', 'inherited');


# what is shown

is_deeply(limit('burst'), { name => 'burst', kind => 'requests',
    rate => '1r/h', burst => 19, limited => @sent - 20 + 20 + 1,
    dry_run => 0 }, 'of requests');
is_deeply(limit('llm'), { name => 'llm', kind => 'tokens', rate => '1k/d',
    burst => 2000, limited => 1, dry_run => 0 }, 'of tokens');
ok(limit('tokens'), 'without name=: what it limits');

my $metrics = http($n)->get('/metrics')->body;
like($metrics, qr/^# TYPE resilience_limited_total counter$/m, 'a counter');
like($metrics, qr/^resilience_limited_total\{limit="llm"\} 1$/m, 'of a limit');
like($metrics, qr/^resilience_limited_dry_run_total\{limit="dry"\} 2$/m,
    'of a dry run');
like($metrics, qr/^resilience_limit_overflows_total 0$/m, 'all had a place');


# a reload keeps what is known, also in another order and with another size

my $refused = counted('burst');

sub still {
    my ($name) = @_;
    is(call('burst', 'acme')->status, 429, "$name: limited as before");
    is(call('openai', 't')->status, 429, "$name: another limit");
    is(call('burst', "$name")->status, 200, "$name: a new tenant");
    is(counted('burst'), ++$refused, "$name: counted on");
}

ok($n->reload(gone => 1), 'reload');
still('reload');

my ($first, $second) = $http =~ m{(location\ /burst/\ \{.*?\n\ +\}\n)\s+
                                  (location\ /pace/\ \{.*?\n\ +\}\n)}sx;
(my $turned = $http) =~ s{\Q$first\E\s+\Q$second\E}{$second$first};
isnt($turned, $http, 'turned round');
$n->conf($turned);
ok($n->reload(gone => 1), 'reload with another order');
still('order');

$n->{opt}{vars}{SIZE} = '2m';
$n->conf($turned);
ok($n->reload(gone => 1), 'reload with another size');
still('size');

(my $none = $http) =~ s/^\s*resilience_limit requests name=burst.*?;//m;
$n->conf($none);
ok($n->reload(gone => 1), 'reload without a limit');
is(call('burst', 'acme')->status, 200, 'it is gone');
$n->conf($http);
ok($n->reload(gone => 1), 'reload with it');
still('back');
undef $n;


# limits that come later than the zone

my $late = <<'E';
    resilience_zone zone=late:%%SIZE%%;
    resilience_provider plain { resilience_endpoint http://127.0.0.1:%%A%%; }
    server {
        listen 127.0.0.1:%%PORT%%;
        resilience_tenant $http_x_tenant;
        keepalive_requests 100000;
        location / {
            %%LIMIT%%
            resilience_pass plain;
        }
        location = /status { resilience_status; }
        location = /metrics { resilience_status prometheus; }
    }
E

$a->on('/', { body => 'ok' });
$n = nginx(http => $late, vars => { A => $a->port, SIZE => '1m',
                                    LIMIT => '' });
is_deeply(http($n)->get('/status')->json->{limits}, [], 'no limits');
is(call('x', 't')->status, 200, 'none');
$mark = $n->mark;
$n->{opt}{vars}{LIMIT} = 'resilience_limit requests rate=1r/h;';
$n->conf($late);
ok($n->reload(gone => 1), 'reload with a limit');
is(statuses(map { call('x', 't') } 1 .. 2), '200 429', 'it is there');
like($n->log($mark), qr/\[notice\].*was made without limits and has room for/,
    'with what room there was');
is(http($n)->get('/status')->json->{providers}[0]{successes}, 2,
    'what was known is known');
undef $n;


# more keys than there is place for: none is refused for that

$n = nginx(http => $late, vars => { A => $a->port, SIZE => '128k',
    LIMIT => 'resilience_limit requests rate=1r/h key=$http_x_tenant;' });
$mark = $n->mark;
$c = http($n);
my $answers = join ' ', map { call('x', "tenant $_", client => $c)->status }
                        1 .. 1000;
unlike($answers, qr/429/, 'more keys than places');
like($n->log($mark), qr/\[warn\].*zone "late" is too small for so many keys/,
    'a warning');
is(scalar(() = $n->log($mark) =~ /too small for so many keys/g), 1, 'just one');
like(http($n)->get('/metrics')->body,
    qr/^resilience_limit_overflows_total [1-9]/m, 'counted');
undef $n;


# nginx -t

sub conf {
    my ($location, $http) = @_;
    $http //= '';
    return <<"E";
resilience_provider a { proxy_pass http://127.0.0.1:9; }
$http
server { listen 127.0.0.1:%%PORT%%; location / { $location } }
E
}

sub good {
    my ($location) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return config_ok(conf("$location resilience_pass a;"), undef, $location);
}

sub bad {
    my ($message, $location, $http) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return config_error(conf($location, $http),
        qr/\[emerg\] .*$message.* in \S+http\.conf:\d+/,
        $location . ($http // ''));
}

good("resilience_limit $_;")
    for 'requests rate=60r/m', 'requests rate=10r/s burst=0',
        'requests rate=5r/d burst=100 key=$binary_remote_addr name=a.B-c_1',
        'tokens rate=100k/m', 'tokens rate=1M/h burst=3M',
        'tokens rate=500/s burst=1 "key=$server_name $remote_addr"',
        'requests rate=1000000000r/s';
good('resilience_limit requests rate=1r/s; resilience_limit tokens rate=1/s;
      resilience_limit requests rate=1r/h name=hourly;');
config_ok('server { listen 127.0.0.1:%%PORT%%;
    resilience_limit requests rate=1r/s; }', undef, 'nothing but a limit');
config_ok(conf('resilience_limit requests burst=1 rate=3r/s;', 'server {
    resilience_limit requests rate=3r/s burst=1; }'), undef,
    'the same in two places');

bad('"x" cannot be limited, use "requests" or "tokens"',
    'resilience_limit x rate=1r/s;');
bad('invalid number of arguments in "resilience_limit"',
    'resilience_limit requests;');
bad('a limit of requests wants a rate, "rate=60r/m"',
    'resilience_limit requests burst=1;');
bad('a limit of tokens wants a rate, "rate=100k/m"',
    'resilience_limit tokens name=x;');
bad('invalid parameter "x=1", use "rate=", "burst=", "key=" or "name="',
    'resilience_limit requests rate=1r/s x=1;');
bad('"rate=" is duplicate', 'resilience_limit requests rate=1r/s rate=1r/s;');
bad('"key=" wants a value', 'resilience_limit requests rate=1r/s key=;');
bad(qr/invalid rate "\Q$_\E" of requests, .* "60r\/m"/,
    "resilience_limit requests rate=$_;")
    for qw(60 60/m 60r r/m 60r/x 60r/ms 0r/m -1r/m 1kr/m 1000000001r/s /m /
           99999999999999999999r/m);
bad(qr/invalid rate "\Q$_\E" of tokens, .* "100k\/m"/,
    "resilience_limit tokens rate=$_;")
    for qw(60 60r/m k/m 0/m 0k/m 1m/m 1.5k/m 1001M/m 1g/m 1k/);
bad("invalid burst \"$_\" of requests, it must be a number from 0",
    "resilience_limit requests rate=1r/s burst=$_;")
    for qw(x -1 1k 1000000000 1.5);
bad("invalid burst \"$_\" of tokens, it must be a number from 1",
    "resilience_limit tokens rate=1/s burst=$_;") for qw(0 x 1m 2000M);
bad('burst "1M" would take more than ten years',
    'resilience_limit tokens rate=1/d burst=1M;');
bad('invalid name "a b" of a limit',
    'resilience_limit requests rate=1r/s "name=a b";');
bad('invalid name "x{65}" of a limit',
    'resilience_limit requests rate=1r/s name=' . 'x' x 65 . ';');
config_error(conf('resilience_limit requests rate=1r/s key=$nothing;'),
    qr/\[emerg\] unknown "nothing" variable/, 'an unknown variable');
bad('limit "requests" is twice in this block',
    'resilience_limit requests rate=1r/s;
     resilience_limit requests rate=1r/s;');
bad('limit "requests" is another one in \S+http.conf:\d+, give this one a '
    . 'name of its own with "name="',
    "resilience_limit requests rate=1r/s;\n resilience_limit requests $_;")
    for 'rate=1r/m', 'rate=2r/s', 'rate=1r/s burst=1', 'rate=1r/s key=x';
bad('limit "x" is another one in', 'resilience_limit requests rate=1r/s name=x;
    resilience_limit tokens rate=1/s name=x;');
bad('write it beside "resilience_pass"', '', 'resilience_provider b {
    resilience_limit requests rate=1r/s; }');
bad('"resilience_limit" directive is not allowed here', '',
    'resilience_limit requests rate=1r/s;');
bad('invalid value "x" in "resilience_limit_dry_run"',
    'resilience_limit_dry_run x;');

done_testing();


sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return <$fh> // '';
}
