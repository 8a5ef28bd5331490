#!/usr/bin/env perl

# Tests for what nginx itself can do, in the location of resilience_pass and
# inside of a provider.

use Compress::Raw::Zlib qw(WANT_GZIP);
use FindBin;
use IO::Compress::Gzip qw(gzip);
use IO::Uncompress::Gunzip qw(gunzip);
use MIME::Base64 qw(encode_base64);

use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $a = upstream();
my $b = upstream();
my $auth = upstream();

my $common = <<'E';
    resilience_policy on {
        retry 0;
        fallback_on client_error;
        breaker off;
    }
    resilience_policy once { timeout attempt=1m; retry 0; breaker off; }
    resilience_policy fast {
        timeout attempt=1m total=10m;
        retry 1 base=20ms max=20ms jitter=none;
        retry_non_idempotent on;
        breaker off;
    }

    resilience_provider a { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider b { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider dead { resilience_endpoint http://127.0.0.1:%%PORT9%%; }
    resilience_provider buffered {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
    }
    resilience_provider llm {
        llm_dialect openai;
        llm_model gpt-5 openai/gpt-5;
        resilience_endpoint http://127.0.0.1:%%A%%;
    }
    resilience_provider dead_llm {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%PORT9%%;
    }

    resilience_chain two      { policy fast; provider a; provider b; }
    resilience_chain once     { policy once; provider a; }
    resilience_chain dead     { policy once; provider dead; }
    resilience_chain buffered { policy once; provider buffered; }
    resilience_chain llm      { policy once; provider llm; }
E

my %vars = (A => $a->port, B => $b->port, AUTH => $auth->port);

my %files = (
    users => "u:{PLAIN}p\n",
    'files/files/small' => 'a file',
    'files/files/big' => 'x' x 300_000,
    'files/by-auth/x' => 'open',
    'files/by-ssi/x' => '[<!--# include virtual="/once/ssi" -->]',
    'files/x' => 'x' x 300_000,
);

my $n = nginx($common . <<'E', vars => \%vars, files => \%files);
    log_format call '$uri|$status|$resilience_tenant|$resilience_chain'
        '|$resilience_provider|$resilience_attempt|$resilience_attempts'
        '|$resilience_trace|$resilience_outcome|$resilience_wait_time'
        '|$resilience_first_byte_time|$resilience_deadline|$llm_model'
        '|$body_bytes_sent';
    log_format attempt '$uri|$status|$resilience_provider|$resilience_attempt'
        '|$resilience_attempts|$upstream_status|$upstream_addr|$bytes_sent';
    access_log %%PREFIX%%/access.log call;
    sendfile on;
    resilience_tenant $http_x_tenant;

    proxy_cache_path %%PREFIX%%/cache keys_zone=cache:1m;
    limit_req_zone $host zone=one:1m rate=1r/m;
    limit_req_zone $host zone=two:1m rate=1r/m;

    map $resilience_provider $token {
        seen_a  for-a;
        seen_b  for-b;
        default none;
    }

    resilience_policy short { timeout attempt=50ms; retry 0; breaker off; }
    resilience_policy open {
        timeout attempt=1m;
        retry 0;
        breaker failures=1 open=1h;
    }

    resilience_provider seen_a {
        resilience_endpoint http://127.0.0.1:%%A%%;
        set $both "$resilience_provider $resilience_attempt";
        proxy_set_header X-Both $both;
        proxy_set_header X-Attempt $resilience_attempt;
        proxy_set_header X-Attempts $resilience_attempts;
        proxy_set_header X-Provider $resilience_provider;
        proxy_set_header X-Chain $resilience_chain;
        proxy_set_header X-Deadline $resilience_deadline;
        proxy_set_header X-Tenant $resilience_tenant;
        proxy_set_header X-Token $token;
        log_subrequest on;
        access_log %%PREFIX%%/attempt.log attempt;
    }
    resilience_provider seen_b {
        resilience_endpoint http://127.0.0.1:%%B%%;
        set $both "$resilience_provider $resilience_attempt";
        proxy_set_header X-Both $both;
        proxy_set_header X-Attempt $resilience_attempt;
        proxy_set_header X-Provider $resilience_provider;
        proxy_set_header X-Token $token;
        log_subrequest on;
        access_log %%PREFIX%%/attempt.log attempt;
    }
    resilience_provider open { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider intercepts {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_intercept_errors on;
        error_page 404 503 /page;
    }
    resilience_provider named {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_intercept_errors on;
        error_page 503 = @page;
    }
    upstream pair {
        server 127.0.0.1:%%A%% max_fails=0;
        server 127.0.0.1:%%B%% max_fails=0;
    }
    resilience_provider pair { proxy_pass http://pair; }
    resilience_provider own_next {
        proxy_pass http://pair;
        proxy_next_upstream error http_503 non_idempotent;
    }
    resilience_provider by_name {
        set $to 127.0.0.1:%%A%%;
        proxy_pass http://$to/by-name$request_uri;
    }
    resilience_provider by_path {
        proxy_pass http://127.0.0.1:%%A%%/base/;
    }
    resilience_provider by_endpoint {
        resilience_endpoint http://127.0.0.1:%%A%%/base/;
    }
    resilience_provider by_rewrite {
        proxy_pass http://127.0.0.1:%%A%%;
        rewrite ^ /rewritten?x=1 break;
    }
    resilience_provider by_if {
        if ($arg_other) { proxy_pass http://127.0.0.1:%%B%%; }
        proxy_pass http://127.0.0.1:%%A%%;
    }
    resilience_provider says { return 200 "said $resilience_provider"; }
    resilience_provider says_no { return 503; }
    resilience_provider says_no_more { return 503 "no more"; }
    resilience_provider goes { return 302 http://example.com/; }
    resilience_provider files { root %%PREFIX%%/files; }
    resilience_provider tries {
        root %%PREFIX%%/files;
        try_files /nowhere /files/big =404;
    }
    resilience_provider cached {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
        proxy_cache cache;
        proxy_cache_valid 200 1h;
        proxy_cache_key $uri;
    }
    resilience_provider llm_cached {
        llm_dialect openai;
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_buffering on;
        proxy_cache cache;
        proxy_cache_valid 200 1h;
        proxy_cache_key $uri;
        proxy_cache_methods GET HEAD POST;
    }
    resilience_provider changed {
        resilience_endpoint http://127.0.0.1:%%A%%;
        proxy_method PUT;
        proxy_set_body "not $request_method";
        proxy_hide_header X-Hidden;
        proxy_cookie_path / /app/;
        add_header X-Added never;
    }
    resilience_provider limited {
        resilience_endpoint http://127.0.0.1:%%A%%;
        limit_req zone=one;
    }
    resilience_provider says_nothing { return 204; }
    resilience_provider says_not_found { return 404; }
    resilience_provider says_late { return 408; }
    resilience_provider says_closed { return 499; }

    resilience_chain seen    { policy fast; provider seen_a; provider seen_b; }
    resilience_chain dead_llm { policy once; provider dead_llm; }
    resilience_chain short   { policy short; provider a; }
    resilience_chain open    { policy open; provider open; }
    resilience_chain intercepts {
        policy once;
        provider intercepts;
        provider b;
    }
    resilience_chain intercepted { policy once; provider intercepts; }
    resilience_chain named   { policy once; provider named; provider b; }
    resilience_chain pair    { policy fast; provider pair; }
    resilience_chain own_next { policy once; provider own_next; }
    resilience_chain says_no { policy once; provider says_no; provider says; }
    resilience_chain says_late { policy on; provider says_late; provider says; }
    resilience_chain says_closed {
        policy on;
        provider says_closed;
        provider says;
    }
    resilience_chain no_more { policy once; provider says_no_more; }
    resilience_chain files   { policy once; provider files; provider b; }
    resilience_chain limited { policy once; provider limited; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        recursive_error_pages on;

        location /two/      { resilience_pass two; }
        location /once/     { resilience_pass once; }
        location /llm/      { resilience_pass llm; }
        location /seen/     { resilience_pass seen; }
        location /any/      { resilience_pass $arg_chain; }
        location /files/    { resilience_pass $arg_chain; }
        location /plain/    { return 200 plain; }

        # error pages
        location /error/ {
            error_page 401 502 503 504 =299 @busy;
            resilience_tenant $arg_tenant required;
            resilience_pass $arg_chain;
        }
        location /error-uri/ {
            error_page 502 /page?u=$uri;
            resilience_pass $arg_chain;
        }
        location /error-gateway/ {
            error_page 502 = /two/instead;
            resilience_pass dead;
        }
        location @busy { return 200 "busy $resilience_outcome"; }
        location @page { return 200 "named page"; }
        location = /page { return 200 "page $arg_u"; }

        # filters
        location /gzip/ {
            gzip on;
            gzip_vary on;
            gzip_min_length 0;
            gzip_types text/event-stream application/json text/plain;
            rewrite ^/gzip(/.*)/(.*) $1/$2 break;
            resilience_pass $arg_chain;
        }
        location /limit/ {
            limit_rate 100k;
            resilience_pass $arg_chain;
        }
        location /header/ {
            add_header X-Mine "by $resilience_provider";
            add_header X-Always "$resilience_outcome" always;
            expires 1h;
            resilience_pass $arg_chain;
        }
        location /trailer/ {
            add_trailer X-Outcome $resilience_outcome;
            resilience_pass $arg_chain;
        }
        location /sub/ {
            sub_filter one eleven;
            sub_filter_types *;
            sub_filter_once off;
            resilience_pass $arg_chain;
        }
        location /addition/ {
            add_before_body /before;
            add_after_body /after;
            addition_types *;
            resilience_pass $arg_chain;
        }
        location = /before { return 200 "before "; }
        location = /after  { return 200 " after"; }
        location /ssi/ {
            ssi on;
            ssi_types *;
            resilience_pass $arg_chain;
        }
        location /gunzip/ {
            gunzip on;
            resilience_pass $arg_chain;
        }
        location /charset/ {
            charset utf-8;
            charset_types text/plain;
            resilience_pass $arg_chain;
        }

        # access
        location /auth/ {
            auth_request /check;
            resilience_pass $arg_chain;
        }
        location = /check {
            internal;
            proxy_pass http://127.0.0.1:%%AUTH%%;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
        location /size/ {
            client_max_body_size 10;
            resilience_pass once;
        }
        location /only/ {
            limit_except GET { deny all; }
            resilience_pass once;
        }
        location /but/ {
            limit_except GET { allow all; }
            resilience_pass once;
        }
        location /deny/ { deny all; resilience_pass once; }
        location /satisfy/ {
            satisfy any;
            deny all;
            auth_basic closed;
            auth_basic_user_file %%PREFIX%%/users;
            resilience_pass once;
        }
        location /rate/ {
            limit_req zone=two;
            limit_req_status 429;
            resilience_pass once;
        }
        location /mirror/ {
            mirror /copy;
            resilience_pass $arg_chain;
        }
        location = /copy {
            internal;
            proxy_pass http://127.0.0.1:%%AUTH%%;
        }

        # ways to get there
        location /rewrite/ {
            rewrite ^/rewrite/(.*)$ /new/$1?more=1 break;
            resilience_pass two;
        }
        location /last/ { rewrite ^/last/(.*)$ /two/$1 last; }
        location /if/ {
            if ($arg_to = two) { resilience_pass two; }
            if ($arg_to = once) { set $x 1; }
            if ($arg_to = no) { return 403; }
            resilience_pass once;
        }
        location /try/ { try_files $uri @gateway; }
        location @gateway { resilience_pass two; }
        location /inner/ { error_page 418 = /two/inner; return 418; }

        # subrequests are refused
        location /by-auth/ {
            auth_request /once/auth;
            root %%PREFIX%%/files;
        }
        location /by-ssi/  {
            ssi on;
            ssi_types *;
            root %%PREFIX%%/files;
        }
    }
E

my $c = http($n);

sub answers {
    my ($for_a, $for_b) = @_;
    $a->on('/', @$for_a);
    $b->on('/', @{ $for_b // [ { body => 'from b' } ] });
    $auth->on('/', 204);
    $_->forget for $a, $b, $auth;
}

sub counts { $a->count . '+' . $b->count }

# an answer is kept when its file is there
my $kept = 0;
sub kept {
    my $files = ++$kept;
    return wait_until(5, sub {
        my @files = glob $n->prefix . '/cache/*';
        return @files >= $files;
    });
}

sub body { my $r = $c->get(@_); ($r->status // '-') . ' ' . $r->body }

# the fields of a call's line in the log
sub fields {
    my ($path) = @_;
    $n->wait_access_log(qr{^\Q$path\E\|}) or return;
    my ($line) = $n->access_log(qr{^\Q$path\E\|});
    my %field;
    @field{qw(uri status tenant chain provider attempt attempts trace outcome
              wait first_byte deadline model bytes)} = split /\|/, $line;
    return \%field;
}


# error pages

answers([ { hold => 'never' } ]);
is(body('/error/502?chain=dead&tenant=t'), '299 busy connect',
    'named location for 502');
is(body('/error/504?chain=short&tenant=t'), '299 busy timeout',
    'named location for 504');
answers([ { status => 503, body => 'provider' } ]);
is(body('/error/open?chain=open&tenant=t'), '503 provider',
    'a provider\'s own error is not replaced');
is(body('/error/503?chain=open&tenant=t'), '299 busy breaker_open',
    'named location for 503');
is(body('/error/401?chain=once'), '299 busy client_error',
    'named location for 401');
is(body('/error/llm?chain=dead_llm&tenant=t'), '299 busy connect',
    'it wins over the error of a dialect');
is(body('/error-uri/x?chain=dead'), '502 page /error-uri/x', 'an URI');
is(body('/error-uri/y?chain=dead_llm'), '502 page /error-uri/y',
    'an URI, with a dialect');
is($c->head('/error-uri/z?chain=dead')->status, 502, 'an URI, HEAD');
my $f = fields('/error/502');
is("$f->{outcome} $f->{attempts} $f->{chain}", 'connect 1 dead',
    'the log knows the call');
like($f->{trace}, qr/^dead:connect:0:\d+\.\d{3}$/, 'and its trace');

answers([ { body => 'from a' } ]);
my $r = $c->get('/error-gateway/');
is($r->status, 200, 'another chain as an error page');
is($r->body, 'from a', 'is asked');
is($c->get('/any/?chain=dead')->status, 502, 'without a page, 502');
is($c->get('/any/?chain=dead_llm')->header('x-should-retry'), 'false',
    'without a page, a dialect\'s error');

answers([ 503 ]);
is(body('/any/1?chain=intercepts'), '200 from b', 'intercepted: fallback');
is(counts(), '1+1', 'intercepted: both are asked');
like(fields('/any/1')->{trace},
    qr/^intercepts:overloaded:503:\S+, b:success:200:/, 'intercepted: trace');
is(body('/any/2?chain=named'), '200 from b', 'intercepted, named: fallback');
is($c->get('/any/3?chain=intercepted')->status, 503, 'intercepted: status');
is(body('/error/3?chain=intercepted&tenant=t'), '299 busy overloaded',
    'intercepted: the gateway\'s page');
answers([ { status => 404, body => 'none' } ]);
is($c->get('/any/4?chain=intercepts')->status, 404, 'intercepted: 404');
is(counts(), '1+0', 'intercepted: 404 is the client\'s');


# gzip

my $text = 'many words ' x 20_000;
sub unzip { my ($in) = @_; gunzip(\$in, \my $out) or return; $out }

my %zip = (headers => { 'Accept-Encoding' => 'gzip' });
for my $chain (qw(two llm buffered)) {
    for my $framing (qw(length chunked close)) {
        my $name = "gzip, $chain, $framing";
        answers([ { body => $text, framing => $framing } ]);
        my $r = $c->get("/gzip/any/?chain=$chain", %zip);
        is($r->header('content-encoding'), 'gzip', "$name: encoded");
        is($r->header('content-length'), undef, "$name: no length");
        like(join(',', $r->header('vary')), qr/Accept-Encoding/,
            "$name: Vary");
        is(unzip($r->body), $text, "$name: once");

        $r = $c->get("/gzip/any/?chain=$chain");
        is($r->header('content-encoding'), undef, "$name: not asked for");
        is($r->body, $text, "$name: as it was");
    }
}
answers([ 503 ]);
is(unzip($c->get('/gzip/any/?chain=two', %zip)->body), 'from b',
    'gzip: fallback');
answers([ { openai => { content => 'hi' } } ]);
$r = $c->post('/gzip/any/?chain=llm', { model => 'x' }, %zip);
like(unzip($r->body) // '', qr/"content":"hi"/, 'gzip: an LLM\'s JSON');

gzip(\$text, \my $zipped) or die;
answers([ { body => $zipped, type => 'text/plain',
    headers => { 'Content-Encoding' => 'gzip' } } ]);
$r = $c->get('/gzip/any/?chain=two', %zip);
ok($r->body eq $zipped, 'gzip: the provider\'s own is not encoded again');

# what lies in a file has to be read for it
answers([ { body => $text } ]);
is(unzip($c->get('/gzip/any/zip?chain=cached', %zip)->body), $text,
    'gzip, proxy_cache');
ok(kept(), 'gzip, proxy_cache: kept');
is(unzip($c->get('/gzip/any/zip?chain=cached', %zip)->body), $text,
    "gzip, proxy_cache $_") for 1, 2;
is($a->count, 1, 'gzip, proxy_cache: asked once');
is($c->get('/gzip/any/zip?chain=cached')->body, $text,
    'gzip, proxy_cache: not asked for');
is(unzip($c->get('/gzip/files/big?chain=files', %zip)->body), 'x' x 300_000,
    'gzip, a file');

# each event at once
my $delta = { choices => [ { delta => { content => 'word' } } ] };
for my $chain (qw(llm two)) {
    answers([ { framing => 'chunked', events => [ { data => $delta },
        { data => $delta, hold => "event $chain" }, { data => '[DONE]' } ] } ]);
    my $inflate = Compress::Raw::Zlib::Inflate->new(-WindowBits => WANT_GZIP);
    my $seen = '';
    my $r = $c->start(GET => "/gzip/any/?chain=$chain", %zip);
    my $at = 0;
    my $read = sub {
        my $new = substr $r->body, $at;
        $at += length $new;
        $inflate->inflate($new, my $out) if $new ne '';
        $seen .= $out // '';
    };
    ok($r->read_while(5, sub { $read->(); $seen =~ /word.*\n\n/ }),
        "gzip, $chain: an event at once");
    ok($a->wait_held(1), "gzip, $chain: before the next");
    $a->release("event $chain");
    ok($r->read_until_end(10), "gzip, $chain: end");
    $read->();
    like($seen, qr/word.*word.*DONE/s, "gzip, $chain: whole");
}


# limit_rate

for my $framing (qw(length chunked)) {
    answers([ { body => 'x' x 300_000, framing => $framing } ]);
    for my $chain (qw(two llm buffered)) {
        my $r = $c->get("/limit/?chain=$chain", timeout => 30);
        ok($r->complete, "limit_rate, $chain, $framing: complete");
        is($r->body, 'x' x 300_000, "limit_rate, $chain, $framing: whole");
        cmp_ok($r->time_total, '>', 0.5, "limit_rate, $framing: limited")
            if $chain eq 'buffered';
    }
}
answers([ { openai => { content => 'a b c d e f', stream => 1 } } ]);
is($c->get('/limit/?chain=llm')->text, 'a b c d e f', 'limit_rate: stream');


# headers

answers([ 503 ], [ { body => 'x', headers => { 'Set-Cookie' => 'a=1; path=/',
    'X-Accel-Redirect' => '/plain/', 'X-Accel-Limit-Rate' => 1 } } ]);
$r = $c->get('/header/?chain=two');
is($r->body, 'x', 'X-Accel-Redirect leads nowhere');
is($r->header('x-mine'), 'by b', 'add_header');
is($r->header('x-always'), 'success', 'add_header always');
is($r->header('cache-control'), 'max-age=3600', 'expires');
is($r->header('set-cookie'), 'a=1; path=/', 'Set-Cookie');
is_deeply([ grep { my $name = $_; 1 < grep { lc $_->[0] eq lc $name }
    $r->headers } qw(Date Server Content-Type Content-Length Connection) ],
    [], 'nothing is twice');
$r = $c->get('/header/?chain=dead');
is($r->header('x-mine'), undef, 'add_header: not for 502');
is($r->header('x-always'), 'connect', 'add_header always: for 502, too');
answers([ { status => 503, body => 'e' } ]);
$r = $c->get('/header/?chain=once');
is($r->header('x-always'), 'overloaded', 'add_header always: kept error');
is($r->body, 'e', 'add_header always: its body');

answers([ { openai => { content => 'a b', stream => 1 } } ]);
$r = $c->get('/trailer/?chain=llm', headers => { TE => 'trailers' });
is_deeply([ $r->trailers ], [ [ 'X-Outcome', 'success' ] ], 'add_trailer');
is($r->text, 'a b', 'add_trailer: the stream before it');


# filters that change a body leave these alone, or change them rightly

for my $chain (qw(two llm buffered)) {
    for my $framing (qw(length chunked)) {
        my $name = "$chain, $framing";
        answers([ { body => 'one two one', framing => $framing } ]);
        my $r = $c->get("/sub/?chain=$chain");
        ok($r->complete, "sub_filter, $name: complete");
        is($r->body, 'eleven two eleven', "sub_filter, $name: body");

        answers([ { body => 'a <!--# echo var="nope" default="d" --> z',
            framing => $framing } ]);
        $r = $c->get("/ssi/?chain=$chain");
        ok($r->complete, "ssi, $name: complete");
        like($r->body, qr/^a (<!--# echo var="nope" default="d" -->|d) z$/,
            "ssi, $name: body");

        answers([ { body => '[<!--# include virtual="/plain/x" -->|'
            . '<!--# include virtual="/plain/y" -->]' . 'w' x 100_000,
            framing => $framing } ]);
        $r = $c->get("/ssi/?chain=$chain");
        ok($r->complete, "ssi with others, $name: complete");
        is($r->body =~ tr/w//, 100_000, "ssi with others, $name: length");
        like($r->body =~ s/w+/w/r, qr/^\[(plain\|plain|<.*\|<.*)\]w$/,
            "ssi with others, $name: body");

        answers([ { body => 'w' x 100_000, framing => $framing } ]);
        $r = $c->get("/addition/?chain=$chain");
        ok($r->complete, "addition, $name: complete");
        is($r->body =~ tr/w//, 100_000, "addition, $name: length");
        like($r->body =~ s/w+/w/r, qr/^(?:before w after|w)$/,
            "addition, $name: body");

        answers([ { body => "caf\xc3\xa9", framing => $framing } ]);
        $r = $c->get("/charset/?chain=$chain");
        is($r->header('content-type'), 'text/plain; charset=utf-8',
            "charset, $name: type");
        is($r->body, "caf\xc3\xa9", "charset, $name: body");

        next if $chain eq 'llm';
        answers([ { body => $zipped, type => 'text/plain', framing => $framing,
            headers => { 'Content-Encoding' => 'gzip' } } ]);
        $r = $c->get("/gunzip/?chain=$chain");
        ok($r->complete, "gunzip, $name: complete");
        is(($r->header('content-encoding') // '') eq 'gzip'
            ? unzip($r->body) : $r->body, $text, "gunzip, $name: body");
    }
}

# all the same when the client is slow
for my $chain (qw(two llm buffered)) {
    my $w = 'w' x 9996;
    answers([ { body => "one $w", body_repeat => 2000 } ]);
    my $s = http($n, rcvbuf => 4096, timeout => 30);
    my $r = $s->start(GET => "/sub/?chain=$chain");
    ok($r->wait_bytes(1000), "sub_filter, $chain, slow: begins");
    my $sent = -1;
    wait_until(10, sub {
        my $before = $sent;
        $sent = $a->last_request->{sent};
        $before == $sent || do { select undef, undef, undef, 0.1; 0 };
    });
    ok($r->read_until_end(30), "sub_filter, $chain, slow: complete");
    ok($r->body eq "eleven $w" x 2000, "sub_filter, $chain, slow: whole");
    is($s->get('/plain/')->body, 'plain', "sub_filter, $chain, slow: next");
}


# variables

answers([ 503 ]);
$c->get('/seen/vars', headers => { 'X-Tenant' => 'acme' });
$f = fields('/seen/vars');
is_deeply([ @$f{qw(status tenant chain provider attempt attempts outcome wait
    model bytes)} ], [ 200, 'acme', 'seen', 'seen_b', 3, 3, 'success', '0.020',
    '-', 6 ], 'variables in the log');
like($f->{trace}, qr/^(?:seen_a:overloaded:503:\d+\.\d{3},\ ){2}
    seen_b:success:200:\d+\.\d{3}$/x, 'trace in the log');
like($f->{first_byte}, qr/^\d\.\d{3}$/, 'first byte in the log');
cmp_ok($f->{first_byte}, '>=', 0.019, 'that includes the wait');
like($f->{deadline}, qr/^\d+$/, 'deadline in the log');
ok($f->{deadline} <= 600_000 && $f->{deadline} > 500_000, 'that is left');

$c->get('/plain/vars');
$f = fields('/plain/vars');
is(join('', map { $f->{$_} } grep { !/uri|status|bytes/ } keys %$f), '-' x 11,
    'variables of no call');

answers([ { openai => {} } ]);
$c->post('/llm/vars', { model => 'gpt-5' });
is(fields('/llm/vars')->{model}, 'openai/gpt-5', 'model in the log');
$c->post('/any/vars?chain=once', { model => 'gpt-4' });
is(fields('/any/vars')->{model}, 'gpt-4', 'a model that is not mapped');

answers([ 503 ]);
$c->get('/seen/headers', headers => { 'X-Tenant' => 'acme' });
is_deeply([ map { my $h = $_->{header};
    join '|', map { $h->{"x-$_"} } qw(provider attempt both token) }
    $a->requests, $b->requests ],
    [ 'seen_a|1|seen_a 1|for-a', 'seen_a|2|seen_a 2|for-a',
      'seen_b|3|seen_b 3|for-b' ], 'variables of an attempt');
my ($first, $second) = map { $_->{header} } $a->requests;
is("$first->{'x-tenant'} $first->{'x-chain'}", 'acme seen',
    'variables of its call');
is("$first->{'x-attempts'} $second->{'x-attempts'}", '1 2',
    'attempts so far');
cmp_ok($first->{'x-deadline'} - $second->{'x-deadline'}, '>=', 19,
    'the deadline comes nearer');

sub attempts_logged {
    my ($path) = @_;
    open my $fh, '<', $n->prefix . '/attempt.log' or return;
    return grep { s/^\Q$path\E\|// } map { s/\n//r } <$fh>;
}
my @by = map { "127.0.0.1:$_" } $a->port, $b->port;
ok(wait_until(5, sub { attempts_logged('/seen/headers') == 3 }),
    'log_subrequest: all are logged');
is_deeply([ map { s/\|\d+$//r } attempts_logged('/seen/headers') ],
    [ "503|seen_a|1|1|503|$by[0]", "503|seen_a|2|2|503|$by[0]",
      "200|seen_b|3|3|200|$by[1]" ], 'log_subrequest: each attempt');


# providers of every kind

answers([ { body => 'from a' } ]);
my %by;
$by{ http($n)->get('/any/?chain=pair')->body }++ for 1 .. 20;
is_deeply([ sort keys %by ], [ 'from a', 'from b' ],
    'an upstream with two servers');
answers([ 503 ], [ 503 ]);
is(http($n)->get('/any/pair?chain=pair')->status, 503, 'both refuse');
is(counts(), '1+1', 'a retry asks the other');
answers([ 503 ]);
is(http($n)->get("/any/next$_?chain=own_next")->body, 'from b',
    "proxy_next_upstream of one's own, $_") for 1 .. 4;
is(fields("/any/next$_")->{attempts}, 1, "is within an attempt, $_")
    for 1 .. 4;

answers([ { body => 'from a' } ]);
my %uri = (by_name => '/by-name/any/%2F/x?chain=by_name&y=%20',
    # nginx writes a path anew if a part of it was replaced
    by_path => '/base/any/x?chain=by_path&y=%20',
    by_endpoint => '/base/any/%2F/x?chain=by_endpoint&y=%20',
    by_rewrite => '/rewritten?x=1&chain=by_rewrite&y=%20',
    once => '/any/%2F/x?chain=once&y=%20');
for my $chain (sort keys %uri) {
    is(body("/any/%2F/x?chain=$chain&y=%20"), '200 from a', $chain);
    is($a->last_request->{uri}, $uri{$chain}, "$chain: URI");
}
is(body('/any/?chain=by_if&other=1'), '200 from b', 'if in a provider');
is(body('/any/?chain=by_if'), '200 from a', 'if in a provider, not taken');

is(body('/any/?chain=says'), '200 said says', 'return with a text');
is(body('/any/no?chain=says_no'), '200 said says', 'return with an error');
like(fields('/any/no')->{trace}, qr/^says_no:overloaded:503:/,
    'is a failed attempt');
is(body('/any/?chain=no_more'), '503 no more', 'return, error with a text');
for my $case ([ 408, 'says_late' ], [ 499, 'says_closed' ]) {
    my ($status, $chain) = @$case;
    is(body("/any/$status?chain=$chain"), '200 said says',
        "return $status is not the client's");
    like(fields("/any/$status")->{trace},
        qr/^$chain:client_error:$status:.*says:success/, "$status: trace");
}
is(body('/any/204?chain=says_nothing'), '204 ', 'return without content');
like(fields('/any/204')->{trace}, qr/^says_nothing:success:204:/,
    'is a success');
is($c->get('/any/404?chain=says_not_found')->status, 404,
    'return that nothing is found');
like(fields('/any/404')->{trace}, qr/^says_not_found:client_error:404:/,
    'is the client\'s error');
$r = $c->get('/any/302?chain=goes');
is($r->status, 302, 'return with a redirect');
is($r->header('location'), 'http://example.com/', 'to there');
like(fields('/any/302')->{trace}, qr/^goes:success:302:/, 'is a success, too');
is($c->head('/any/?chain=says')->header('content-length'), 9, 'return, HEAD');

is(body('/files/small?chain=files'), '200 a file', 'a file');
is($c->get('/files/big?chain=files')->body, 'x' x 300_000, 'a long file');
is($c->get('/any/?chain=tries')->body, 'x' x 300_000, 'try_files');
is($c->head('/files/big?chain=files')->header('content-length'), 300_000,
    'a file, HEAD');
is($c->get('/files/none?chain=files')->status, 404, 'no such file');
$r = $c->get('/files/small?chain=files', headers => { Range => 'bytes=2-3' });
like($r->status . ' ' . $r->body, qr/^(?:200 a file|206 fi)$/,
    'a part of a file');

answers([ { body => 'kept', times => 1 }, { body => 'asked again' } ]);
is(http($n)->get('/any/cache/1?chain=cached')->body, 'kept', 'proxy_cache');
ok(kept(), 'proxy_cache: kept');
is(http($n)->get('/any/cache/1?chain=cached')->body, 'kept', "proxy_cache $_")
    for 1 .. 3;
is($a->count, 1, 'proxy_cache: asked once');
$a->forget;
$a->on('/', { body => 'x' x 1000, body_repeat => 300 });
for (1, 2) {
    is(http($n)->get('/any/cache/2?chain=cached')->body, 'x' x 300_000,
        "proxy_cache, long $_");
    ok(kept(), 'proxy_cache, long: kept') if $_ == 1;
}
is($a->count, 1, 'proxy_cache, long: asked once');
my %llm = (json => { openai => { content => 'kept' } },
    stream => { openai => { content => 'kept', stream => 1 } });
for my $how (sort keys %llm) {
    answers([ $llm{$how} ]);
    for (1 .. 3) {
        is(http($n)->post("/any/cache/$how?chain=llm_cached", {})->text,
            'kept', "proxy_cache, LLM, $how $_");
        ok(kept(), "proxy_cache, LLM, $how: kept") if $_ == 1;
    }
    is($a->count, 1, "proxy_cache, LLM, $how: asked once");
}

answers([ { body => 'x', headers => { 'X-Hidden' => 1, 'X-Seen' => 1,
    'Set-Cookie' => 'a=1; path=/' } } ]);
$r = $c->post('/any/?chain=changed', body => 'body');
is($a->last_request->{method}, 'PUT', 'proxy_method');
is($a->last_request->{body}, 'not POST', 'proxy_set_body');
is($r->header('x-hidden'), undef, 'proxy_hide_header');
is($r->header('x-seen'), 1, 'proxy_hide_header: not another');
is($r->header('set-cookie'), 'a=1; path=/app/', 'proxy_cookie_path');
is($r->header('x-added'), undef, 'add_header in a provider adds nothing');

answers([ { body => 'from a' } ]);
is(body('/any/?chain=limited'), '200 from a', 'limit_req in a provider');
is(body('/any/limited?chain=limited'), '200 from b', 'its refusal');
like(fields('/any/limited')->{trace}, qr/^limited:overloaded:503:/,
    'is a failed attempt');


# requests on their way in

for my $status (200, 204) {
    answers([ 503, { body => 'from a' } ]);
    $auth->on('/', $status);
    $r = $c->post('/auth/x?chain=two', body => 'y' x 20_000);
    is($r->body, 'from a', "auth_request: $status");
    is($a->last_request->{body_length}, 20_000, "auth_request: body, $status");
    is($auth->count, 1, "auth_request: asked once, $status");
}
for my $status (401, 403) {
    answers([ { body => 'from a' } ]);
    $auth->on('/', $status);
    is($c->post('/auth/x?chain=two', body => 'y')->status, $status,
        "auth_request: $status");
    is($a->count, 0, "auth_request: no attempt, $status");
}

answers([ { body => 'from a' } ]);
is(http($n)->post('/size/', body => 'x' x 10)->status, 200, 'a small body');
is(http($n)->post('/size/', body => 'x' x 11)->status, 413, 'too large');
is(http($n)->post('/size/', body => 'x' x 11, chunked => 3)->status, 413,
    'too large, in chunks');
is($a->count, 1, 'too large: no attempt');
is(http($n)->get('/only/')->body, 'from a', 'limit_except');
is(http($n)->post('/only/', body => 'x')->status, 403, 'limit_except denies');
is(http($n)->post('/but/', body => 'x')->body, 'from a',
    'limit_except allows');
is($c->get('/deny/')->status, 403, 'deny');
is($c->get('/satisfy/')->status, 401, 'satisfy');
my $basic = 'Basic ' . encode_base64('u:p', '');
is(body('/satisfy/', headers => { Authorization => $basic }), '200 from a',
    'satisfy, authorized');
is(http($n)->get('/rate/')->status, 200, 'limit_req');
is(http($n)->get('/rate/')->status, 429, 'limit_req refuses');
is($a->count, 5, 'refused: no attempt');

answers([ 503, { body => 'from a' } ]);
is($c->post('/mirror/x?chain=two', body => 'm' x 20_000)->body, 'from a',
    'mirror');
ok($auth->wait_requests(1), 'mirror: a copy');
is($auth->last_request->{body_length}, 20_000, 'mirror: with its body');
is($a->last_request->{body_length}, 20_000, 'mirror: as the provider\'s');

answers([ 503 ]);
is(body('/rewrite/x%20y?z=1'), '200 from b', 'rewrite break');
is($b->last_request->{uri}, '/new/x%20y?more=1&z=1', 'rewrite break: URI');
is(body('/last/x?z=1'), '200 from b', 'rewrite last');
is($b->last_request->{uri}, '/two/x?z=1', 'rewrite last: URI');
answers([ 500 ]);
is($c->get('/if/?to=two')->body, 'from b', 'if with a pass of its own');
is($c->get('/if/?to=once')->status, 500, 'if that inherits it');
is($c->get('/if/')->status, 500, 'if that is not taken');
is($c->get('/if/?to=no')->status, 403, 'if that returns');
is(counts(), '4+1', 'if: attempts');
answers([ 503 ]);
is($c->post('/try/x?y=1', body => 'b')->body, 'from b',
    'try_files to a named location');
is($b->last_request->{method} . ' ' . $b->last_request->{uri} . ' '
    . $b->last_request->{body}, 'POST /try/x?y=1 b', 'as it came');
is(body('/inner/x'), '200 from b', 'an internal redirect');
is($b->last_request->{uri}, '/two/inner', 'to there');

answers([ { status => 206, body => 'part',
    headers => { 'Content-Range' => 'bytes 2-5/10' } } ]);
$r = $c->get('/two/', headers => { Range => 'bytes=2-5',
    'If-Range' => '"e"' });
is($a->last_request->{header}{range}, 'bytes=2-5', 'Range is passed on');
is($a->last_request->{header}{'if-range'}, '"e"', 'If-Range is passed on');
is($r->status, 206, 'a part');
is($r->body, 'part', 'as it came');
is($r->header('content-range'), 'bytes 2-5/10', 'Content-Range');
answers([ { body => '0123456789', headers => { 'Accept-Ranges' => 'bytes',
    ETag => '"e"' } } ]);
is(body('/two/', headers => { Range => 'bytes=2-5' }), '200 0123456789',
    'the provider may ignore it');
is(body('/two/', headers => { 'If-None-Match' => '"e"' }),
    '200 0123456789', 'and a condition');
answers([ { status => 304, headers => { ETag => '"e"' } } ]);
$r = $c->get('/two/', headers => { 'If-None-Match' => '"e"',
    'If-Modified-Since' => 'Sat, 01 Jan 2000 00:00:00 GMT' });
is($r->status, 304, 'not modified');
is($r->header('etag'), '"e"', 'with its ETag');
is($a->last_request->{header}{'if-none-match'}, '"e"',
    'If-None-Match is passed on');
like($a->last_request->{header}{'if-modified-since'}, qr/2000/,
    'If-Modified-Since is passed on');

answers([ { body => 'from a' } ]);
is(body('/two/', headers => { Upgrade => 'websocket',
    Connection => 'upgrade, x-hop', 'X-Hop' => 1, 'X-End' => 1 }),
    '200 from a', 'Upgrade');
is_deeply([ map { $a->last_request->{header}{$_} }
    qw(upgrade connection x-hop x-end) ], [ undef, undef, undef, 1 ],
    'is not passed on');


# subrequests

answers([ { body => 'from a' } ]);
for my $path ('/by-auth/x', '/by-ssi/x') {
    my $mark = $n->mark;
    my $r = http($n)->get($path);
    $path =~ /auth/ ? is($r->status, 500, "$path: refused")
                    : unlike($r->body, qr/from a/, "$path: refused");
    ok($n->wait_log(qr/\[error\].*cannot be reached by a subrequest/, 5,
        $mark), "$path: logged");
}
is($a->count, 0, 'no attempt for a subrequest');


# what is written at the level of http is inherited by providers, too

my $inherited = nginx($common . <<'E', vars => \%vars, files => \%files);
    sendfile on;
    tcp_nopush on;
    gzip on;
    gzip_min_length 0;
    gzip_types *;
    charset utf-8;
    charset_types *;
    limit_rate 10m;
    add_header X-Http 1;
    error_page 404 500 502 503 504 /page;
    proxy_intercept_errors on;
    proxy_next_upstream error http_503;
    proxy_set_header X-Http 1;
    proxy_connect_timeout 1ms;
    proxy_read_timeout 1ms;
    client_body_buffer_size 1k;
    output_buffers 1 4k;
    resilience_headers on;

    resilience_provider files { root %%PREFIX%%/files; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass $arg_chain; }
        location = /page { return 200 "page"; }
    }
E

$c = http($inherited);
answers([ 503, { body => $text, delay_ms => 50 } ]);
$r = $c->post('/x?chain=two', body => 'y' x 3000, %zip);
is(unzip($r->body), $text, 'inherited: retried, encoded');
is_deeply([ $r->header('x-http') ], [ 1 ], 'inherited: header once');
is($r->header('x-resilience-attempts'), 2, 'inherited: two attempts');
is($r->header('content-type'), 'text/plain; charset=utf-8',
    'inherited: charset');
is($a->last_request->{body_length}, 3000, 'inherited: body');
answers([ { status => 422, body => 'no' } ]);
is(body('/x?chain=once'), '422 no', 'inherited: an error as it came');
answers([ { status => 503, body => 'busy' } ]);
is(body('/x?chain=once'), '503 busy', 'inherited: the last error as it came');
is(body('/x?chain=dead'), '502 page', 'inherited: error page');
is($c->get('/x?chain=files')->body, 'x' x 300_000, 'inherited: a file');
is(unzip($c->get('/x?chain=files', %zip)->body), 'x' x 300_000,
    'inherited: a file, encoded');
answers([ { openai => { content => 'a b c', stream => 1 } } ]);
is($c->get('/x?chain=llm')->text, 'a b c', 'inherited: stream');


# attempts that wait before they reach a provider

my $waits = nginx($common . <<'E', vars => \%vars);
    limit_req_zone $host zone=long:1m rate=1r/m;
    limit_req_zone $host zone=short:1m rate=20r/s;

    resilience_policy short { timeout attempt=50ms; retry 0; breaker off; }
    resilience_provider long {
        resilience_endpoint http://127.0.0.1:%%A%%;
        limit_req zone=long burst=10;
    }
    resilience_provider short {
        resilience_endpoint http://127.0.0.1:%%A%%;
        limit_req zone=short burst=10;
    }
    resilience_chain limited { policy short; provider long; provider b; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass $arg_chain; }
    }
E

answers([ { body => 'from a' } ]);
$c = http($waits, timeout => 5);
is(body('/?chain=limited'), '200 from a', 'limit_req, delayed: the first');
is(body('/?chain=limited'), '200 from b', "limit_req, delayed: fallback $_")
    for 1 .. 3;
is($c->connects, 1, 'limit_req, delayed: one connection');
my @slowed = map { http($waits)->start(GET => '/?chain=short') } 1 .. 4;
$_->read_until_end(5) for @slowed;
is_deeply([ map { $_->body } @slowed ], [ ('from a') x 4 ],
    'limit_req, short delay');

done_testing();
