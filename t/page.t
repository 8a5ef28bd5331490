#!/usr/bin/env perl

# The status page for people, in a headless Chromium.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use IO::Handle;
use IPC::Open2 qw(open2);
use JSON::PP ();

my $root = "$FindBin::Bin/..";

is(system("$root/scripts/page", '--check'), 0, 'the page is the one built in');

my $a = upstream({ body => 'a' });
my $b = upstream({ body => 'b' });

my $n = nginx(vars => { A => $a->port, B => $b->port }, http => <<'E');
    keepalive_requests 100000;
    resilience_zone zone=gateway:8m;
    resilience_tenant $http_x_tenant;
    resilience_policy p { retry 0; breaker failures=1 open=1h; }

    resilience_provider openai { resilience_endpoint http://127.0.0.1:%%A%%; }
    resilience_provider local  { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_provider spare  { resilience_endpoint http://127.0.0.1:%%B%%; }
    resilience_chain chat  { policy p; provider openai; provider local; }
    resilience_chain "<b>" { policy p; balance least_latency;
                             provider local; provider openai; }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { resilience_pass chat; }
        location ~ "^/as/(?<who>[^/]*)$" {
            resilience_tenant $who;
            resilience_pass chat;
        }
        location = /status { resilience_status; }
        location = /json   { resilience_status json; }
        location = /html   { resilience_status html; }
        location = /admin  { resilience_status html admin; }
        location = /prom   { resilience_status prometheus; }
    }
E

my $browser_accept = 'text/html,application/xhtml+xml,application/xml;q=0.9,'
                   . 'image/avif,*/*;q=0.8';

sub call {
    my ($tenant) = @_;
    return http($n)->get('/', headers => { 'X-Tenant' => $tenant })->body;
}

sub type_of {
    my ($uri, @accept) = @_;
    my $r = http($n)->get($uri, headers => { map { (Accept => $_) } @accept });
    is($r->status, 200, "$uri for " . ($accept[0] // 'no Accept'));
    return $r->header('content-type');
}


# which one is answered

my %html = ('/status' => 1, '/html' => 1, '/admin' => 1);

for my $uri (qw(/status /json /html /admin)) {
    my $always = $uri =~ /html|admin/;
    my $never = $uri eq '/json';
    for my $case ([ 1, $browser_accept ], [ 0, '*/*' ], [ 0 ],
                  [ 0, 'application/json' ], [ 1, 'text/html' ],
                  [ 1, 'TEXT/HTML ; q=0.5 , application/json;q=0.4' ],
                  [ 0, 'text/html;q=0.4, application/json;q=0.5' ],
                  [ 0, 'text/html, application/json' ],
                  [ 0, 'text/html;q=0' ], [ 0, 'text/html;level=1;Q=0.000' ],
                  [ 1, 'text/html;level=1;q=0.2' ], [ 0, 'text/htm' ],
                  [ 0, ',;,' ], [ 0, '' ]) {
        my ($html, @accept) = @$case;
        is(type_of($uri, @accept),
            $never || !($html || $always) ? 'application/json'
                                          : 'text/html; charset=utf-8',
            "$uri for " . ($accept[0] // 'none'));
        is(type_of("$uri?format=json", @accept), 'application/json',
            "$uri as JSON");
    }
}
is(type_of('/prom?format=json', $browser_accept), 'text/plain; version=0.0.4',
    'metrics are metrics');
is(http($n)->get('/status?format=xml')->status, 400, 'no other format');
is(http($n)->get('/html?order=name')->status, 400, 'no other order');

my $page = http($n)->get('/html');
is($page->header('cache-control'), 'no-store', 'not to be stored');
is($page->header('x-content-type-options'), 'nosniff', 'nosniff');
is($page->header('referrer-policy'), 'no-referrer', 'no referrer');
my %policy = map { /^(\S+) ?(.*)/ } split /; /,
    $page->header('content-security-policy');
is_deeply([ @policy{qw(default-src connect-src frame-ancestors base-uri
                       form-action)} ],
    [ "'none'", "'self'", "'none'", "'none'", "'none'" ], 'a strict policy');
like($policy{$_}, qr/^'sha256-[A-Za-z0-9+\/]{43}='$/, "$_ by its hash")
    for qw(script-src style-src);
unlike($page->body, qr{(?:src|href)=["']?(?:https?:)?//}, 'no other document');
is(length http($n)->head('/html')->body, 0, 'HEAD');
is(http($n)->head('/html')->header('content-length'), length $page->body,
    'HEAD tells the length');


# who may say something

my $own = '127.0.0.1:' . $n->port;

sub said {
    my (%headers) = @_;
    my $r = http($n)->post('/admin?provider=spare&action=auto', body => '',
                           headers => \%headers);
    ok($r->json, 'an answer in JSON');
    return $r->status;
}

is(said(), 200, 'curl');
is(said(@$_), 200, "@$_") for
    [ 'Sec-Fetch-Site' => 'same-origin' ], [ 'Sec-Fetch-Site' => 'none' ],
    [ Origin => "http://$own" ],
    [ Origin => 'http://h', Host => 'h:80' ],
    [ Origin => 'http://h:80', Host => 'h' ],
    [ Origin => 'https://H', Host => 'h:443' ],
    [ 'Sec-Fetch-Site' => 'same-origin', Origin => "http://$own" ];
is(said(@$_), 403, "@$_") for
    [ 'Sec-Fetch-Site' => 'same-site' ], [ 'Sec-Fetch-Site' => 'cross-site' ],
    [ 'Sec-Fetch-Site' => 'x' ], [ 'Sec-Fetch-Site' => '' ],
    [ Origin => 'null' ], [ Origin => '' ], [ Origin => 'http://' ],
    [ Origin => 'http://evil.example' ], [ Origin => "ftp://$own" ],
    [ Origin => 'http://127.0.0.1' ], [ Origin => 'http://127.0.0.1:1' ],
    [ Origin => "http://$own.example" ], [ Origin => "http://x$own" ],
    [ Origin => 'https://h', Host => 'h:80' ],
    [ 'Sec-Fetch-Site' => 'same-origin', Origin => 'http://evil.example' ],
    [ 'Sec-Fetch-Site' => 'cross-site', Origin => "http://$own" ];


# the browser

my ($chromium) = grep { -x } map { ("$_/chromium", "$_/chromium-browser") }
                 split /:/, $ENV{PATH};
my ($major) = `node --version 2>/dev/null` =~ /^v(\d+)/;

if (!$chromium || ($major // 0) < 20 || !-d "$root/t/page/node_modules") {
    note($chromium ? 'no Node.js 20, or no puppeteer-core ("make sdk")'
                   : 'no chromium');
  SKIP: {
        skip 'the page needs chromium, Node.js 20 and "make sdk"', 1;
    }
    done_testing();
    exit;
}

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $pid = open2(my $from, my $to, 'node', "$root/t/page/browser.mjs",
                $chromium);
$to->autoflush(1);
my $started = <$from>;
BAIL_OUT('chromium does not start') unless defined $started;
note($json->decode($started)->{value});

END {
    if ($pid) {
        local ($?, $!);
        close $to;
        waitpid $pid, 0;
    }
}

sub browser {
    my ($op, %args) = @_;
    print {$to} $json->encode({ op => $op, %args }), "\n";
    my $line = <$from> // die "the browser is gone\n";
    my $said = $json->decode($line);
    die "$op @{[ %args ]}: $said->{error}\n" if $said->{error};
    return $said->{value};
}

sub visit {
    my ($uri, %more) = @_;
    return browser(open => url => "http://$own$uri", %more);
}

sub value { browser(eval => code => $_[0]) }

sub comes {
    my ($code, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(browser(wait => code => $code, ms => 10_000 * factor), $name)
           || diag(value('document.querySelector("main").innerText'));
}

sub fine {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply(browser('said')->{problems}, [], "$name: nothing in the console");
}

my $rows = '[...document.querySelectorAll("#breakers-body tr")]';
my $fresh = '/^Updated/.test(document.querySelector("#fresh").textContent)';
my $shots = "$root/build/page";
mkdir "$root/build";
mkdir $shots;


# an empty zone

visit('/status');
comes($fresh, 'the page shows something');
is(value('document.contentType'), 'text/html', 'to a browser, without asking');
is(value("$rows.length"), 0, 'no breakers');
ok(value('!document.querySelector("#breakers-none").hidden'), 'and says so');
like(value('document.querySelector("#chains").closest("section").innerText'),
    qr/chat.*in order.*openai.*local.*<b>.*least latency.*spare/s,
    'chains and their providers as text');
fine('empty');


# names that would be more than names

my @names = ('<img src=x onerror=alert(1)>', q("'><script>alert(2)</script>),
             '${alert(3)}', '&lt;b&gt;', "\xe2\x80\xaegnp.exe", 'acme',
             "caf\xc3\xa9", "\xff\xfe");
call($_) for @names;
http($n)->get('/as/a%01b%0a%7f');
$a->on('/', 500);
call('broken');
call($names[0]);
$a->on('/', { body => 'a' });
browser('said');
visit('/html', headers => {});
comes($fresh, 'loaded');

my $cells = value("$rows.map(r => [r.children[0].innerText,
    r.children[1].innerText, r.querySelector('.chip').innerText])");
my @tenants = map { $_->[0] } @$cells;
for my $name (@names[0 .. 3], 'acme', "caf\xc3\xa9") {
    my $text = $name;
    utf8::decode($text);
    ok(scalar(grep { $_ eq $text } @tenants), 'shown as text: '
        . ($name =~ s/[^ -~]/?/gr));
}
ok(scalar(grep { $_ eq '\u{202e}gnp.exe' } @tenants), 'an override is seen');
is(scalar(grep { /^[0-9a-f]{16}$/ } @tenants), 1, 'controls are hashed');
is(value('document.querySelectorAll("main img, main script, main b").length'),
    0, 'none is an element');
is(join(' ', sort map { $_->[0] } @$cells[0, 1]), join(' ', sort 'broken',
    $names[0]), 'those that are open come first');
is(join(' ', map { $_->[2] } @$cells[0 .. 2]), 'Open Open Closed', 'as text');
like(value('document.querySelector("#transitions-body tr").innerText'),
    qr/<img.*Closed.*Open.*failures in a row/s, 'the last transition');
is(value('document.querySelectorAll("#transitions-body tr").length'), 2,
    'all of them');
like(value('document.querySelector("#facts").innerText'), qr/Tripped\s+2/,
    'what is not closed is counted');
is(value('document.querySelectorAll("[data-action]").length'), 0,
    'no buttons without admin');
unlike(value('document.body.innerText'), qr/Manage|Actions/, 'nor a column');
is_deeply(browser('said'), { problems => [], dialogs => [], requests => [
    { method => 'GET', url => "http://$own/html" },
    { method => 'GET',
      url => "http://$own/html?format=json&order=state&limit=25" } ] },
    'nothing ran, nothing else was asked for');


# in place

value('window.first = document.querySelector("#breakers-body tr"); '
    . 'window.changes = []; new MutationObserver(all => changes.push('
    . '...all.filter(m => m.type === "childList" && m.target.closest("tbody")'
    . ' && [...m.addedNodes, ...m.removedNodes].some(n => n.nodeType === 1))))'
    . '.observe(document.querySelector("main"), '
    . '{ childList: true, subtree: true }); 0');
browser('said');
value('document.querySelector("#limit").dispatchEvent(new Event("change")); 0');
ok(wait_until(10, sub {
    return scalar grep { $_->{url} =~ /format=json/ }
           @{ browser('said')->{requests} } }), 'is asked for again');
comes('/^Updated [01] s/.test(document.querySelector("#fresh").textContent)',
    'and told');
is(value('changes.length'), 0, 'no row was made anew');
ok(value('document.querySelector("#breakers-body tr") === first'),
    'they are the same');

# the focus stays where it is while the order changes

visit('/admin');
comes("$fresh && $rows.length > 3", 'admin');
my $acme = 'document.activeElement.getAttribute("aria-label")';
value("$rows.find(r => r.innerText.startsWith('acme'))"
    . '.querySelector("button").focus(); 0');
is(value($acme), 'Manage breakers of tenant acme and provider openai',
    'a button has the focus');
is(value('document.querySelector("#live").textContent'), '',
    'what was before is not announced');
$a->on('/', 500);
call('acme');
$a->on('/', { body => 'a' });
comes("/acme[^]*Open/.test($rows.slice(0, 3).map(r => r.innerText).join())",
    'its breaker opens and comes to the top');
is(value($acme), 'Manage breakers of tenant acme and provider openai',
    'it has the focus still');
comes('/acme and openai: Closed to Open, failures/.test('
    . 'document.querySelector("#live").textContent)', 'it is announced');


# by keyboard: what is said of one breaker

sub acme {
    return http($n)->get('/json?tenant=acme&provider=openai')->json
           ->{breakers}[0];
}

browser(press => key => 'Enter');
is(value('document.activeElement.getAttribute("aria-expanded")'), 'true',
    'Enter opens the choice');
browser(press => key => 'Tab');
is(value($acme), 'Reset breakers of tenant acme and provider openai',
    'Tab goes into it');
is(value('getComputedStyle(document.activeElement).outlineStyle'), 'solid',
    'the focus is seen');
browser(press => key => 'Enter');
ok(wait_until(5, sub { acme()->{state} eq 'closed' }), 'Enter resets it');
comes('/acme and openai: Open to Closed, administrator/.test('
    . 'document.querySelector("#live").textContent)', 'that is announced');
is(value($acme), 'Reset breakers of tenant acme and provider openai',
    'the focus is kept');
my %does = (open => 'open', close => 'closed', disable => 'disabled');
for my $action (qw(open close disable auto)) {
    browser(press => key => 'Tab');
    browser(press => key => 'Space');
    my $forced = $does{$action} // 'no';
    ok(wait_until(5, sub { (acme()->{forced} // 'no') eq $forced }), $action);
    comes("$rows.some(r => /^acme\\s+openai/.test(r.innerText) && "
        . "(/forced (\\w+)/.exec(r.innerText)?.[1] ?? 'no') === '$forced')",
        "$action: the page tells");
}
comes("/acme/.test($rows.map(r => r.innerText).join())", 'it is there');
browser(press => key => 'Escape');
is(value($acme), 'Manage breakers of tenant acme and provider openai',
    'Escape goes back');
is(value('document.activeElement.getAttribute("aria-expanded")'), 'false',
    'and closes the choice');

# of all tenants

my $of = '[aria-label="%s breakers of all tenants and provider openai"]';
my $manage = sprintf $of, 'Manage';
my $open = sprintf $of, 'Open';
browser('said');
browser(click => selector => $manage);
browser(dialogs => accept => 0);
browser(click => selector => $open);
is_deeply(browser('said')->{dialogs},
    [ 'Open the breakers of all tenants and provider openai?' ],
    'it asks before');
is(http($n)->get('/json?provider=openai')->json->{providers}[0]{breaker}
    {forced}, undef, 'and does nothing when it should not');
browser(dialogs => accept => 1);
browser(click => selector => $open);
ok(wait_until(5, sub { (http($n)->get('/json?provider=openai')->json
    ->{providers}[0]{breaker}{forced} // '') eq 'open' }), 'open for all');
comes('/openai\s+Open forced open/.test(document.querySelector("#chains")'
    . '.closest("section").innerText)', 'the page tells');
is(scalar(@{ http($n)->get('/json?state=open&limit=1000')->json->{breakers} }),
    scalar(grep { $_->{provider} eq 'openai' }
        @{ http($n)->get('/json?limit=1000')->json->{breakers} }),
    'so do all breakers');
http($n)->post('/admin?provider=openai&action=auto', body => '');
$a->on('/', 500);
call('broken');
$a->on('/', { body => 'a' });
fine('admin');

# what is refused is told

http($n)->post('/admin?provider=openai&action=auto', body => '');
value(q{(async () => { const real = window.fetch; window.fetch = (u, o) =>
    o?.method === 'POST' ? real(u.replace('openai', 'nope'), o) : real(u, o);
    })(); 0});
browser(click => selector => sprintf $of, 'Reset');
comes('/there is no such breaker/.test(document.querySelector("#error")'
    . '.innerText)', 'an error is told');
ok(scalar(grep { !/404/ } @{ browser('said')->{problems} }) == 0,
    'in the page alone');


# filters

$a->on('/', 500);
call($_) for 'broken', "caf\xc3\xa9";
$a->on('/', { body => 'a' });
visit('/html');
comes("$fresh && $rows.length > 5", 'all');
browser(type => selector => '#by-tenant', text => 'acme');
comes("$rows.length > 0 && $rows.every(r => r.children[0].innerText === 'acme')",
    'by tenant');
is(value('location.search'), '?tenant=acme', 'the address tells');
browser(click => selector => '#filter [type=reset]');
comes("$rows.length > 5", 'cleared');
is(value('location.search'), '', 'also there');
value('document.querySelector("#by-state").value = "open"; '
    . 'document.querySelector("#by-state").dispatchEvent(new Event("change"))');
comes("$rows.length === 2 && "
    . "$rows.every(r => r.querySelector('.chip').innerText === 'Open')",
    'by state');
value('document.querySelector("#by-provider").value = "local"; '
    . 'document.querySelector("#by-provider")'
    . '.dispatchEvent(new Event("change"))');
comes("$rows.length === 0", 'by provider, too');
visit('/html?provider=local');
comes("$fresh && $rows.length > 0 && "
    . "$rows.every(r => r.children[1].innerText === 'local')",
    'by the address');
is(value('document.querySelector("#by-provider").value'), 'local',
    'and the form shows it');
fine('filters');


# pause, another tab, a server that is gone

visit('/html');
comes($fresh, 'runs');
browser(click => selector => '#pause');
like(value('document.querySelector("#fresh").textContent'), qr/^Paused/,
    'paused');
is(value('document.querySelector("#pause").getAttribute("aria-pressed")'),
    'true', 'the button tells');
browser('said');
select undef, undef, undef, 4;
is(scalar(@{ browser('said')->{requests} }), 0, 'nothing is asked for');
browser(click => selector => '#pause');
comes($fresh, 'goes on');
browser(hide => hidden => JSON::PP::true);
browser('said');
select undef, undef, undef, 4;
is(scalar(@{ browser('said')->{requests} }), 0, 'nor when it is not seen');
browser(hide => hidden => JSON::PP::false);
ok(wait_until(5, sub { scalar @{ browser('said')->{requests} } }),
    'at once when it is seen again');
value('window.fetch = () => Promise.reject(new Error("refused")); 0');
comes('/^Stale/.test(document.querySelector("#fresh").textContent)', 'stale');
ok(value("$rows.length > 0"), 'what was known stays');


# how it looks

call('tenant-' . $_) for 1 .. 30;
my $contrast = <<'E';
(() => {
    const parse = (c) => c.match(/[\d.]+/g).map(Number);
    const light = (c) => parse(c).slice(0, 3).map((v) => (v /= 255) <= .03928
        ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const back = (node) => {
        for (; node; node = node.parentElement) {
            const c = getComputedStyle(node).backgroundColor;
            if ((parse(c)[3] ?? 1) > 0) return c;
        }
        return 'rgb(255, 255, 255)';
    };
    const bad = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walk.nextNode()) {
        const node = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !node.checkVisibility()
            || node.closest('script, style, .unseen')) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(back(node))]
            .sort((x, y) => y - x);
        seen++;
        if ((a + .05) / (b + .05) < 4.5) {
            bad.push(`${node.tagName} ${walk.currentNode.data.trim()} `
                     + ((a + .05) / (b + .05)).toFixed(2));
        }
    }
    return { bad: [...new Set(bad)], seen };
})()
E

for my $dark (0, 1) {
    for my $width (1280, 400) {
        my $as = ($dark ? 'dark' : 'light') . "-$width";
        visit('/admin', width => $width,
            dark => $dark ? JSON::PP::true : JSON::PP::false);
        comes("$fresh && $rows.length > 20", "$as: loaded");
        my $wide = value('document.documentElement.scrollWidth');
        cmp_ok($wide, '<=', $width, "$as: nothing sticks out");
        is_deeply(value('[...document.querySelectorAll("main *")].filter(n => '
            . 'n.getBoundingClientRect().right > innerWidth + 1 '
            . '&& !n.closest(".unseen, thead")).map(n => n.outerHTML'
            . '.slice(0, 80))'), [], "$as: nor does a part");
        my $seen = value($contrast);
        is_deeply($seen->{bad}, [], "$as: contrast");
        cmp_ok($seen->{seen}, '>', 100, "$as: of what is seen");
        my $drawn = 'document.querySelector("path").getAttribute("d")'
                  . '.split("L").length';
        for my $samples (2 .. 4) {
            value('document.querySelector("#limit")'
                . '.dispatchEvent(new Event("change")); 0');
            browser(wait => code => "$drawn >= $samples");
        }
        cmp_ok(value($drawn), '>=', 4, "$as: a line is drawn");
        browser(click => selector => $manage);
        browser(shot => path => "$shots/$as.png");
        ok(-s "$shots/$as.png", "$as: a screenshot");
        fine($as);
    }
}

is_deeply(value('[...document.querySelectorAll("button, input, select")]'
    . '.filter(n => n.checkVisibility()).filter(n => !(n.ariaLabel '
    . '|| n.textContent.trim() || n.labels?.length)).map(n => n.outerHTML)'),
    [], 'all that can be used has a name');
is(value('[...document.querySelectorAll("table")].filter(t => !t.caption)'
    . '.length'), 0, 'every table has a caption');
is(value('[...document.querySelectorAll("[aria-live]")].length'), 1,
    'one place announces');


# many

my $pipe = http($n);
for (my $i = 0; $i < 10_000; $i += 100) {
    $pipe->send_raw(join '', map { $pipe->bytes_of(GET => '/',
        headers => { 'X-Tenant' => "many$_" }) } $i .. $i + 99);
    $pipe->read_response for 1 .. 100;
}
$a->on('/', 500);
call('many9999');
$a->on('/', { body => 'a' });

visit('/html');
comes("$fresh && $rows.length === 25", 'a page of very many');
like(value('document.querySelector("#facts").innerText'),
    qr/Breakers\s+10,\d\d\d/, 'they are counted');
like(value("$rows.slice(0, 3).map(r => r.innerText).join()"), qr/many9999/,
    'the open one is at the top');
value('window.longest = 0; window.at = performance.now(); (function next() { '
    . 'const now = performance.now(); longest = Math.max(longest, now - at); '
    . 'at = now; setTimeout(next, 0); })(); 0');
value('document.querySelector("#limit").value = "100"; '
    . 'document.querySelector("#limit").dispatchEvent(new Event("change")); 0');
comes("$rows.length === 100", 'more on a page');
browser(focus => selector => '#next');
browser(press => key => 'Enter');
comes('/^101 to 200$/.test(document.querySelector("#range").textContent)',
    'the next page');
ok(!value("$rows.some(r => r.innerText.includes('many9999'))"),
    'has others');
browser(press => key => 'Enter');
comes('/^201 to 300$/.test(document.querySelector("#range").textContent)',
    'and the one after');
is(value('document.activeElement.id'), 'next', 'the button has the focus');
browser(click => selector => '#previous');
browser(click => selector => '#previous');
comes('/^1 to 100$/.test(document.querySelector("#range").textContent) && '
    . "$rows.slice(0, 3).some(r => r.innerText.includes('many9999'))",
    'and back');
cmp_ok(value('longest'), '<', 500 * factor, 'the page is never stuck');
fine('many');

browser('said');
print {$to} "{\"op\":\"end\"}\n";
close $to;
waitpid $pid, 0;
is($?, 0, 'the browser ends');
$pid = 0;

done_testing();
