# The harness itself: a plain nginx, the client, the scripted upstream.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;

my $proxy = <<'CONF';
    server {
        listen 127.0.0.1:%%PORT%%;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        client_max_body_size 0;
        location / {
            proxy_pass http://127.0.0.1:%%U%%;
        }
        location /kept {
            root %%PREFIX%%;
        }
    }
CONF


subtest 'an nginx starts, answers, stops' => sub {
    my $n = nginx($proxy, module => 0, vars => { U => 9 },
        files => { kept => "a file\n", 'sub/dir' => 'x' },
        env => { TEST_HARNESS => 'seen' }, main => 'env TEST_HARNESS;');

    ok($n->alive, 'alive');
    is(scalar(my @w = $n->workers), 2, 'two workers');
    my $r = http($n)->get('/kept');
    is($r->status, 200, 'status');
    is($r->body, "a file\n", 'a file of ours');
    ok(-f $n->prefix . '/sub/dir', 'a file in a directory');
    ok($n->wait_access_log(qr{"GET /kept}), 'access log');
    ok($n->wait_log(qr/start worker process/), 'error log');
    isnt($n->port, $n->port(2), 'two ports');
    ok(!refused($n->port), 'listens');
    ok(refused($n->port(2)), 'a port that nobody listens on refuses');

    my $prefix = $n->prefix;
    ok($n->stop, 'stops cleanly');
    ok(!kill(0, @w), 'the workers are gone');
    ok(refused($n->port), 'the port is closed');
    ok($n->start, 'starts again on the same port');
    is(http($n)->get('/kept')->status, 200, 'answers again');
    undef $n;
    ok(!-e $prefix, 'its files are removed');
};

subtest 'reload' => sub {
    my $say = sub { <<"CONF" };
        server {
            listen 127.0.0.1:%%PORT%%;
            location = / { return 200 "$_[0]"; }
        }
CONF
    my $n = nginx($say->('one'), module => 0, workers => 1);
    my $c = http($n);
    is($c->get('/')->body, 'one', 'before');
    my @old = $n->workers;

    $n->conf($say->('two'));
    ok($n->reload(gone => 1), 'reload');
    my @new = $n->workers;
    is(scalar @new, 1, 'one worker');
    isnt("@new", "@old", 'another one');
    is($c->get('/')->body, 'two', 'after');

    $n->expect_log(qr/unexpected end of file/);
    $n->conf('server {');
    ok(!$n->reload, 'a configuration that nginx refuses');
    is("@{[ $n->workers ]}", "@new", 'nothing changed');
    ok($n->stop, 'that was allowed');
};

subtest 'nginx -t' => sub {
    config_ok('server { }', undef, 'a good configuration', module => 0);
    config_error("server {\n    foo;\n}", qr/"foo" in \S+http\.conf:2$/m,
        'a bad one', module => 0);
    config_error('', qr/"bar" in \S+main\.conf:1$/m, 'main', module => 0,
        main => 'bar;');

    ok(!eval { nginx('nonsense;', module => 0); 1 }, 'new croaks');
    like($@, qr/unknown directive "nonsense"/, 'and says why');
};

subtest 'trouble is seen' => sub {
    for my $line ('2000/01/01 00:00:00 [alert] 1#1: *3 open socket #5 left '
                      . 'in connection 4',
                  '2000/01/01 00:00:00 [emerg] 1#1: bind() failed',
                  '2000/01/01 00:00:00 [alert] 1#1: worker process 2 exited '
                      . 'on signal 11',
                  '==1==ERROR: AddressSanitizer: heap-use-after-free',
                  'a.c:1:2: runtime error: signed integer overflow')
    {
        my $n = nginx('', module => 0, start => 0);
        open my $log, '>>', $n->prefix . '/error.log' or die;
        print {$log} "2000/01/01 00:00:00 [notice] 1#1: fine\n$line\n";
        close $log;
        is_deeply([ $n->problems ], [ $line ], substr $line, 0, 72);
        $n->expect_log(qr/^\Q$line\E$/);
        is_deeply([ $n->problems ], [], 'allowed');
    }

    my $n = nginx($proxy, module => 0, vars => { U => 9 }, workers => 1);
    my ($pid) = $n->workers;
    kill 'KILL', $pid;
    ok($n->wait_log(qr/worker process $pid exited on signal 9/), 'a killed '
        . 'worker');
    is(scalar(my @p = $n->problems), 1, 'is a problem');
    ok(Resilience::Nginx::wait_until(5, sub {
        my ($new) = $n->workers;
        return $new && $new != $pid && $n->ready;
    }), 'nginx starts another');
    $n->expect_log(qr/process $pid exited on signal 9/);
    ok($n->stop, 'and may be allowed');

    # what stop() says, in a test of its own
    my $lib = "$FindBin::Bin/lib";
    my $run = sub {
        my ($code) = @_;
        my $pid = open my $out, '-|' // die;
        if ($pid == 0) {
            open STDERR, '>&', \*STDOUT;
            exec $^X, "-I$lib", '-MResilience::Test', '-e', $code;
        }
        my $text = do { local $/; <$out> };
        close $out;
        my $status = $?;
        remove_kept($text);
        return ($status, $text);
    };
    my $start = 'my $n = nginx("", module => 0, workers => 1);';
    my ($status, $text) = $run->(
        "$start kill 9, \$n->workers; \$n->wait_log(qr/on signal 9/);"
        . ' ok(1); done_testing;');
    isnt($status, 0, 'a dead worker fails the test');
    like($text, qr/exited on signal 9/, 'and it says so');
    like($text, qr/files are kept in/, 'and where');

    ($status, $text) = $run->(
        "$start print 'pid ', \$n->pid, ' ', \$n->workers, qq{\\n}; die 'x';");
    isnt($status, 0, 'a test that dies');
    my @pids = $text =~ /^pid (\d+) (\d+)/m;
    is(scalar @pids, 2, 'had an nginx');
    ok(!kill(0, @pids), 'and leaves none behind');

    ($status, $text) = $run->("\$| = 1; $start"
        . "print 'pid ', \$n->pid, ' ', \$n->workers, qq{\\n};"
        . "print 'files are kept in ', \$n->prefix, qq{\\n}; kill 9, \$\$;");
    @pids = $text =~ /^pid (\d+) (\d+)/m;
    ok($n->wait_gone(@pids, 10), 'nor does one that is killed')
        if (POSIX::uname())[4] =~ /^(?:x86_64|aarch64)$/;
};

my $u = upstream();
my $n = nginx($proxy, module => 0, vars => { U => $u->port }, workers => 1);

sub direct { $u->on('/', $_[0]); return http($u)->get('/') }


subtest 'plain answers' => sub {
    my $r = direct({ status => 201, headers => { 'X-A' => [ 1, 2 ] },
                     body => { a => 1 } });
    is($r->status, 201, 'status');
    is($r->reason, 'Created', 'reason');
    is(scalar $r->header('x-a'), '1, 2', 'a header twice');
    is_deeply($r->json, { a => 1 }, 'JSON');
    is($r->header('content-type'), 'application/json', 'type');
    is($r->framing, 'length', 'framing');
    ok($r->complete, 'complete');

    $r = direct({ body => 'abc', framing => 'chunked' });
    is($r->framing, 'chunked', 'chunked');
    is($r->body, 'abc', 'body');
    ok($r->complete, 'complete');

    $r = direct({ body => 'abc', http10 => 1 });
    is($r->version, '1.0', 'HTTP/1.0');
    is($r->body, 'abc', 'body');
    ok($r->complete, 'complete');

    $r = direct({ body => 'abc', framing => 'close' });
    is($r->framing, 'close', 'until close');
    is($r->body, 'abc', 'body');
    ok($r->complete, 'complete');

    $r = direct(204);
    is($r->status, 204, 'status');
    is($r->framing, 'none', 'no body');

    $u->on('/', { body => 'abc' });
    my $c = http($u);
    $r = $c->head('/');
    is($r->body, '', 'HEAD');
    is($r->header('content-length'), 3, 'its length');
    is($c->get('/')->body, 'abc', 'the next on the same connection');
    is($c->connects, 1, 'indeed the same');

    is(upstream(404)->port > 0, 1, 'a number is an answer');
    is(http(upstream())->get('/')->header('x-upstream'), 'no rule',
        'no rule');

    $r = http($u, version => '1.0')->get('/');
    ok($r->complete, 'a client that speaks 1.0');
};

subtest 'rules' => sub {
    my $u = upstream({ body => 'any' });
    $u->on('/a', { body => 'one', times => 2 }, { body => 'two' });
    $u->on({ path => '/a', method => 'POST' }, { body => 'post' });
    $u->on({ path => '/a', headers => { 'X-K' => 'v' } }, { body => 'k' });
    my $c = http($u);
    is(join(' ', map { $c->get('/a/b')->body } 1 .. 4), 'one one two two',
        'in turn, the last repeats');
    is($c->post('/a')->body, 'post', 'method');
    is($c->get('/a', headers => [ 'x-k' => 'v' ])->body, 'k', 'header');
    is($c->get('/b')->body, 'any', 'the shorter path');
    is($u->count('/a'), 6, 'count of a prefix');
    is($u->count(path => '/a', method => 'POST'), 1, 'and of a method');
    $u->forget;
    is($u->count, 0, 'forget');
};

subtest 'times' => sub {
    my $r = direct({ delay_ms => 120, body => 'x' });
    cmp_ok($r->time_first_byte, '>=', 0.11, 'delay');
    $r = direct({ header_delay_ms => 120, body => 'x' });
    cmp_ok($r->time_first_byte, '<', $r->time_header, 'header delay');
    cmp_ok($r->time_header, '>=', 0.11, 'as long as told');
    $r = direct({ body_delay_ms => 120, body => 'x' });
    cmp_ok($r->time_total - $r->time_header, '>=', 0.1, 'body delay');

    $r = direct({ gap_ms => 300, events => [ map { { data => $_ } } 1 .. 3 ] });
    is_deeply([ map { $_->{data} } $r->events ], [ 1, 2, 3 ], 'events');
    is($r->header('content-type'), 'text/event-stream', 'type');
    my @at = map { $_->{at} } $r->chunks;
    is(scalar @at, 3, 'each comes alone');
    cmp_ok($at[2] - $at[0], '>=', 0.5, 'with a gap');

    $r = http($n)->get('/');
    is(scalar(my @c = $r->chunks), 3, 'the same through nginx');
    cmp_ok($r->time_total, '>=', 0.85, 'no faster');
    ok($r->complete, 'complete');
};

subtest 'events' => sub {
    my $r = direct({ events => [ { comment => 'ping' },
        { event => 'a', data => { x => 1 } }, { data => "1\n2" },
        { raw => "data: [DONE]\n\n", terminal => 1 } ] });
    is_deeply([ $r->events ], [ { event => 'a', data => '{"x":1}' },
        { data => "1\n2" }, { data => '[DONE]' } ], 'parsed');
    is_deeply([ $r->comments ], [ 'ping' ], 'comment');
    is_deeply([ $r->event_json ], [ { x => 1 }, "1\n2", '[DONE]' ], 'JSON');

    $r = direct({ events => [ { data => 1 }, { data => 2, terminal => 1 } ],
                  end => 'no_terminal' });
    is(scalar(my @e = $r->events), 1, 'no terminal');
    ok($r->complete, 'with a clean end');
};

subtest 'LLM answers' => sub {
    my $c = http($u);
    my %question = (model => 'm1', messages => []);
    $u->on('/', { openai => { content => 'one two three' } });
    my $r = $c->post('/v1/chat/completions', { %question });
    is($r->text, 'one two three', 'OpenAI');
    is($r->json->{model}, 'm1', 'model');
    $r = $c->post('/', { %question, stream => JSON::PP::true,
        stream_options => { include_usage => JSON::PP::true } });
    is($r->text, 'one two three', 'streamed');
    is(($r->events)[-1]{data}, '[DONE]', 'its end');
    is(($r->event_json)[-2]{usage}{completion_tokens}, 3, 'usage');

    $u->on('/', { openai_error => { status => 429, code => 'c' } });
    $r = $c->post('/', {});
    is($r->status, 429, 'error');
    is($r->json->{error}{code}, 'c', 'its code');

    $u->on('/', { anthropic => { content => 'one two three' } });
    is($c->post('/', { %question })->text, 'one two three', 'Anthropic');
    $r = $c->post('/', { %question, stream => JSON::PP::true });
    is($r->text, 'one two three', 'streamed');
    is(($r->events)[-1]{event}, 'message_stop', 'its end');

    $u->on('/', { anthropic_error => { status => 529 } });
    is($c->post('/', {})->json->{error}{type}, 'overloaded_error', 'error');

    $u->on('/', { openai => { stream => 1 }, stall_after_events => 2 });
    my $s = http($u)->start(GET => '/');
    ok($s->wait_events(2), 'two events');
    ok($u->wait_stalled(1), 'then nothing');
    ok(!$s->read_until_end(0.1 / factor()), 'no end');
    is($s->error, 'timeout', 'said so');
    $s->close;
    ok($u->wait_aborted(1), 'an abort is recorded');
};

subtest 'faults' => sub {
    my @fault = (
        [ { reset_before_header => 1 }, 'reset', undef, '' ],
        [ { close_before_header => 1 }, 'closed', undef, '' ],
        [ { reset_in_header => 1 }, 'reset', undef, '' ],
        [ { close_in_header => 1 }, 'closed', undef, '' ],
        [ { body => 'abcdef', reset_after_bytes => 3 }, 'reset', 200, 'abc' ],
        [ { body => 'abcdef', close_after_bytes => 3 }, 'closed', 200, 'abc' ],
        [ { body => 'abcdef', framing => 'chunked', close_after_bytes => 3 },
          'closed', 200, 'abc' ],
        [ { body => 'abcdef', framing => 'chunked', end => 'close' },
          'closed', 200, 'abcdef' ],
        [ { body => 'abcdef', framing => 'close', end => 'rst' },
          'reset', 200, 'abcdef' ],
        [ { events => [ { data => 1 }, { data => 2 } ],
            close_after_events => 1 }, 'closed', 200, "data: 1\n\n" ],
        [ { events => [ { data => 1 }, { data => 2 } ],
            reset_after_events => 1 }, 'reset', 200, "data: 1\n\n" ],
        [ { events => [ { data => 1 } ], end => 'close' }, 'closed', 200,
          "data: 1\n\n" ],
        [ { silent => 1 }, 'timeout', undef, '' ],
        [ { body => 'abcdef', stall_after_bytes => 3 }, 'timeout', 200,
          'abc' ],
    );
    my $j = JSON::PP->new->canonical;
    for my $case (@fault) {
        my ($answer, $error, $status, $body) = @$case;
        my $name = $j->encode($answer);
        $u->on('/', $answer);
        my $r = http($u)->get('/', timeout => $error eq 'timeout'
            ? 0.15 / factor() : 5);
        is($r->error, $error, $name);
        is($r->status, $status, ' status');
        is($r->body, $body, ' body');
        ok(!$r->complete, ' not complete');

        next if $error eq 'timeout';
        my $p = http($n)->get('/');
        is($p->status, $status // 502, ' through nginx');
        ok(!$p->complete, ' is cut there too')
            if $status && !($error eq 'closed' && $answer->{end});
    }
};

subtest 'the listener' => sub {
    my $u = upstream({ body => 'x' });
    my $port = $u->port;
    $u->refuse;
    ok(refused($port), 'refuses');
    $u->accept;
    is(http($u)->get('/')->body, 'x', 'accepts again');
    is($u->port, $port, 'on the same port');
    $u->close_on_accept;
    is(http($u)->get('/')->status, undef, 'closes on accept');
    $u->reset_on_accept;
    my $c = http($u);
    my $r = eval { $c->get('/') };
    ok(!$r || $r->error eq 'reset', 'resets on accept');
    $u->accept;

    $c = http($u);
    $c->get('/');
    ok($u->wait_open(1), 'one connection is open');
    is($u->drop(idle => 1), 1, 'dropped');
    ok($c->wait_closed(5), 'the client sees it');
    ok($u->wait_open(0), 'none is open');
    my @all = $u->connections;
    is($all[-1]{closed_by}, 'us', 'recorded');
    is($all[-1]{requests}, 1, 'its requests');
};

subtest 'hold and release' => sub {
    my $u = upstream({ hold => 'go', body => 'x' });
    my $s = http($u)->start(GET => '/');
    ok($u->wait_held(1), 'held');
    ok(!$s->wait_header(0.05 / factor()), 'no answer yet');
    $u->release('go');
    ok($s->read_until_end(5), 'answered after release');
    is(http($u)->get('/')->body, 'x', 'released for good');
    $u->rearm('go');
    $s = http($u)->start(GET => '/');
    ok($u->wait_held(1), 'held again');
    $s->close;
    ok($u->wait_aborted(1), 'aborted by the client');

    $u->on('/', { events => [ { data => 1 }, { data => 2, hold => 'b' } ],
                  end_hold => 'c' });
    $s = http($u)->start(GET => '/');
    ok($s->wait_events(1), 'the first event');
    ok(!$s->wait_events(2, 0.05 / factor()), 'the second is held');
    $u->release('b');
    ok($s->wait_events(2), 'and comes');
    ok(!$s->read_until_end(0.05 / factor()), 'the end is held');
    $u->release('c');
    ok($u->wait_done(2), 'done');
};

subtest 'records' => sub {
    my $u = upstream({ body => 'x' });
    my $n = nginx($proxy, module => 0, vars => { U => $u->port });
    my $c = http($n);
    my $body = join '', map { chr(65 + $_ % 23) } 1 .. 100_000;
    $c->post('/a?b=c', body => $body, headers => [ 'X-A' => 1, 'X-A' => 2 ]);
    my $r = $u->last_request;
    is($r->{method}, 'POST', 'method');
    is($r->{uri}, '/a?b=c', 'URI');
    is($r->{header}{'x-a'}, '1, 2', 'headers');
    is($r->{body_length}, length $body, 'length');
    is($r->{sha256}, sha256_hex($body), 'digest');
    is($r->{body}, undef, 'too long to be kept');

    $u->keep_body(200_000);
    $c->post('/', body => $body, chunked => 1000);
    is($u->last_request->{body}, $body, 'kept, and sent in chunks');
    ok($u->last_request->{received}, 'received');
    is(http($u)->post('/', body => $body, chunked => 999)->status, 200,
        'chunks without nginx');
    is($u->last_request->{body}, $body, 'the same');
    is($u->last_request->{conn_request}, 1, 'first of its connection');

    my $big = join '', map { pack 'N', $_ * 2654435761 % 2**32 } 0 .. 262143;
    $big x= 20;
    is(length $big, 20 << 20, '20 MB');
    $u->on('/', { body => 'y' x 1000, body_repeat => 20_000 });
    $r = $c->post('/', body => $big, timeout => 60);
    is($r->status, 200, 'accepted');
    is(length $r->body, 20_000_000, 'and as much back');
    ok($r->complete, 'complete');
    is($u->last_request->{sha256}, sha256_hex($big), 'digest');
    ok($n->stop, 'no trouble');
};

subtest 'a slow reader, pipelining, aborts' => sub {
    my $u = upstream({ body => 'y' x 1000, body_repeat => 40_000 });
    my $n = nginx($proxy, module => 0, vars => { U => $u->port },
        workers => 1);
    my $s = http($n, rcvbuf => 4096)->start(GET => '/');
    ok($u->wait_arrived(1), 'asked');
    ok($s->wait_bytes(1000), 'some of it');
    ok(!$u->wait_done(1, 0.2 / factor()), 'the upstream has to wait');
    ok($s->read_until_end(20), 'until all is read');
    is(length $s->body, 40_000_000, 'all');

    $u->on('/', { body => 'a' }, { body => 'b' }, { body => 'c' });
    my $c = http($n);
    $c->send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n" x 3);
    is(join('', map { $c->read_response->body } 1 .. 3), 'abc', 'pipelined');

    $u->on('/', { silent => 1 });
    $u->forget;
    $c = http($n);
    $c->start(GET => '/');
    ok($u->wait_arrived(1), 'asked');
    $c->reset;
    ok($u->wait_aborted(1), 'a reset goes through');
    $c = http($n);
    $c->start(GET => '/');
    ok($u->wait_arrived(2), 'asked');
    $c->close;
    ok($u->wait_aborted(2), 'and a close');
    ok($n->stop, 'no trouble');
};

subtest 'an early answer, 100 Continue' => sub {
    my $u = upstream({ status => 413, early => 1, close => 1 });
    my $r = http($u)->post('/', body => 'x' x (8 << 20));
    is($r->status, 413, 'answered before the body is there');
    $u->on('/', { body => 'ok' });
    $r = http($u)->post('/', body => 'x',
        headers => { Expect => '100-continue' });
    is($r->body, 'ok', 'answer');
    is(($r->informational)[0]{status}, 100, 'with a 100 before it');
};

undef $n;
done_testing;


sub refused {
    my ($port) = @_;
    return !IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                  PeerPort => $port, Timeout => 5);
}

sub remove_kept {
    my ($text) = @_;
    for my $dir ($text =~ m{are kept in (/\S*/resilience\.\w{8})$}mg) {
        File::Path::remove_tree($dir);
    }
}
