#!/usr/bin/env perl

# Tests for the examples, those of the README and of the documentation among
# them: nginx accepts each without a warning, and those of examples/ do what
# they say (t/demo.t plays the demo's).

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use JSON::PP ();

my $root = "$FindBin::Bin/..";

umask 027;                      # key files are not for everyone

for my $path (sort glob "$root/examples/*.conf") {
    my ($name) = $path =~ m{([^/]+)$};
    accepted(slurp($path), $name);
}

my $kubernetes = kubernetes();
accepted($kubernetes, 'kubernetes.yaml');
dockerfile();

my ($readme) = slurp("$root/README.md") =~ /^```nginx\n(.*?)^```$/ms;
accepted($readme, 'README.md');

documented(slurp("$root/docs/$_.md")) for qw(directives operations security);

minimal();
multi_tenant();
local_first();
gateway($kubernetes);

done_testing();


# What is outside of http {} is written by Resilience::Nginx, if it is not in
# the way there. No name is looked up, and no file is read, that may not be
# there.

my %files;
BEGIN {
    %files = ('clients.map' => qq("team-a" 1;\n"team-b" 1;\n),
              'lib/README' => '', 'busy.json' => '{}',
              map { $_ => "key\n" } qw(keys/openai keys/openrouter
                                       keys/anthropic keys/azure));
}

sub accepted {
    my ($text, $name) = @_;

    $text =~ /^load_module modules\/ngx_http_resilience_module\.so;$/m
        or return fail("$name: no load_module");
    my ($main, $http) = parts($text) or return fail("$name: no http");

    $http =~ s/(resilience_provider \S+ *\{)([^}]*)/$1 . endpoint($2) . $2/ge;
    $http =~ s{https://[\w.]+\.[a-z]+}{https://127.0.0.1}g;
    $http =~ s{ http2;}{; http2 on;}g if Resilience::Nginx->version
        =~ m{nginx/1\.(\d+)\.(\d+)} && ($1 > 25 || $1 == 25 && $2);

    config_ok($http, undef, $name, main => $main, files => \%files);
}

# what is outside of http {}, and what is inside, with paths and ports of ours
sub parts {
    my ($text) = @_;
    my ($main, $http) = $text =~ /^(.*?)^events \{.*?^http \{\n(.*)^\}\n\z/ms
        or return;

    $main =~ s/^(?:load_module|worker_processes|error_log|pid)\s[^;]*;//mg;
    $http =~ s{\b(listen +)(?:127\.0\.0\.1:)?8080\b}{${1}127.0.0.1:%%PORT%%}g;
    $http =~ s{\b(listen +)(?:127\.0\.0\.1:)?8081\b}{${1}127.0.0.1:%%PORT2%%}g;
    return ($main, movable($http));
}

# an nginx with that configuration, and a scripted upstream for each provider
sub running {
    my ($text) = @_;
    my ($main, $http) = parts($text);
    my (%upstream, %port);

    for my $name ($http =~ /resilience_provider (\S+) \{/g) {
        $upstream{$name} = upstream();
        $port{ uc $name } = $upstream{$name}->port;
    }

    $http =~ s/resilience_endpoint +\S+;//g;
    $http =~ s{(resilience_provider (\S+) \{)}
              {$1 resilience_endpoint http://127.0.0.1:%%\U$2\E%%;}g;

    my $n = nginx($http, main => $main, files => \%files, vars => \%port);
    return ($n, %upstream);
}

# no path of the system's is touched; the port is that of another server
sub movable {
    my ($text) = @_;
    $text =~ s{/var/lib/nginx/}{%%PREFIX%%/lib/}g;
    $text =~ s{/var/log/nginx/calls\.log|/dev/stdout}{%%PREFIX%%/access.log}g;
    $text =~ s{/(?:etc|var/log|var/cache)/nginx/}{%%PREFIX%%/}g;
    $text =~ s{unix:/run/}{unix:%%PREFIX%%/}g;
    $text =~ s{\b(listen +)(?:127\.0\.0\.1:)?8080\b}{${1}127.0.0.1:%%PORT2%%};
    return $text;
}

# a provider that says no address has its dialect's
sub endpoint {
    my ($body) = @_;
    return $body =~ /resilience_endpoint|_pass/
        ? '' : ' resilience_endpoint https://127.0.0.1;';
}

# The examples of the documentation stand where their section says; what they
# refer to is defined, unless it is by them.

sub documented {
    my ($text) = @_;
    my ($place, $name) = ('http', '');

    while ($text =~ /^(?: \#\#\ (?<chapter>\N+) | \#\#\#\ (?<name>\N+)
                        | \|\ Context:\ \|\ (?<context>\N+)\ \|
                        | ```nginx\n(?<example>.*?)^``` )$/gmsx)
    {
        $name = $+{name} // $+{chapter} // $name;
        $place = 'http' if defined $+{chapter};
        $place = $+{context} if defined $+{context};

        next unless defined $+{example};
        config_ok(placed($place, $+{example}), undef, "docs: $name",
                  files => \%files);
    }
}

sub placed {
    my ($place, $example) = @_;
    my $address = 'resilience_endpoint http://127.0.0.1;';

    $example = movable($example);
    $example =~ s{https://[\w.]+\.[a-z]+}{https://127.0.0.1}g;
    $example =~ s{^(resilience_provider claude \{)}{$1 $address};

    my $location = '';
    my $http = $example;

    if ($place =~ /resilience_policy/) {
        $http = "resilience_policy test { $example }";
    }
    elsif ($place =~ /resilience_chain/) {
        my $provider = $example =~ /^provider/m ? '' : 'provider openai;';
        $http = "resilience_chain test { $provider $example }";
    }
    elsif ($place =~ /resilience_provider/ && $example !~ /^resilience_/) {
        $http = "resilience_provider test { $address $example }";
    }
    elsif ($example =~ /^location/) {
        ($http, $location) = ('', $example);
    }

    my %need = (
        'policy chat'         => 'preset llm_chat;',
        'policy patient'      => 'preset llm_batch;',
        'provider openai'     => "llm_dialect openai; $address",
        'provider openrouter' => "llm_dialect openai; $address",
        'provider local'      => $address,
        'chain chat'          => 'provider openai;',
    );

    for my $what (sort keys %need) {
        next if $http =~ /resilience_\Q$what\E \{/;
        $http .= "\nresilience_$what { $need{$what} }";
    }

    return "$http\nserver { listen 127.0.0.1:%%PORT%%; $location\n}\n";
}


# examples/ at work

sub ask {
    my ($n, $path, %headers) = @_;
    return http($n)->post($path, { model => 'gpt-5', max_tokens => 10,
        messages => [ { role => 'user', content => 'hi' } ] },
        headers => \%headers);
}

sub minimal {
    my ($n, %u) = running(slurp("$root/examples/minimal.conf"));
    $u{openai}->on('/', { status => 402 });
    $u{openrouter}->on('/', { openai => { content => 'from the second' } });

    my $r = ask($n, '/v1/chat/completions');
    is($r->text, 'from the second', 'minimal.conf: a fallback');
    is($u{openrouter}->last_request->{header}{authorization}, 'Bearer key',
        'with its own key');
    like($u{openrouter}->last_request->{body}, qr{"openai/gpt-5"},
        'and its own model');
    is(http($n)->get('/status')->json->{providers}[0]{failures}{quota}, 1,
        'the status tells');
}

sub multi_tenant {
    my ($n, %u) = running(slurp("$root/examples/multi-tenant.conf"));
    my @chat = ($n, '/v1/chat/completions');
    $_->on('/', { openai => { content => 'hello' } })
        for @u{qw(openai openrouter)};
    $u{anthropic}->on('/', { anthropic => { content => 'bonjour' } });

    is(ask(@chat)->status, 401, 'multi-tenant.conf: no key');
    is(ask(@chat, Authorization => 'Bearer team-z')->status, 401, 'unknown key');
    is(ask($n, '/v1/messages', 'x-api-key' => 'team-z')->status, 401,
        'for Anthropic, too');
    is($_->count, 0, 'and nobody was asked') for values %u;

    is(ask(@chat, Authorization => 'Bearer team-a')->text, 'hello', 'team-a');
    is(ask(@chat, Authorization => 'Bearer team-b')->text, 'hello', 'team-b');
    is(ask($n, '/v1/messages', 'x-api-key' => 'team-a')->text, 'bonjour',
        'with Anthropic');
    unlike(join("\n", map { "@{ $_->[0] } @{ $_->[1] }" }
                map { [ [ %{ $_->{header} } ], [ $_->{body} // '' ] ] }
                map { $_->requests } values %u), qr/team-/,
        'no provider sees a key of the gateway');

    my $s = http($n->port(2))->get('/status');
    unlike($s->body, qr/team-/, 'nor does the status show one');
    my %tenants = map { $_->{tenant} => 1 } @{ $s->json->{breakers} };
    is(scalar keys %tenants, 2, 'two teams');
    is(scalar(grep { /^[0-9a-f]{16}$/ } keys %tenants), 2, 'hashed');
    ok($n->wait_access_log(qr/ [0-9a-f]{16} 200 success "openai:success/),
        'the log names them so');
    unlike(join("\n", $n->access_log, $n->log), qr/team-/, 'and not otherwise');

    is(http($n)->get('/status')->status, 404, 'the status is not for clients');
    is(http($n->port(2))->post('/admin?provider=openai&action=open', {})
        ->status, 200, 'a provider is taken out');
    ask(@chat, Authorization => 'Bearer team-b');
    is($u{openrouter}->count, 1, 'and the next one asked');
    like(http($n->port(2))->get('/metrics')->body,
        qr/^resilience_attempts_total\{/m, 'metrics');
}

sub local_first {
    my ($n, %u) = running(slurp("$root/examples/local-first.conf"));
    my @chat = ($n, '/v1/chat/completions');
    $u{ollama}->on('/', { openai => { content => 'local' } });
    $u{openai}->on('/', { openai => { content => 'cloud' } });

    my $r = ask(@chat);
    is($r->text, 'local', 'local-first.conf: the local model');
    is($r->header('x-resilience-provider'), 'ollama', 'as the header says');
    like($u{ollama}->last_request->{body}, qr/"llama3.2"/, 'by its own name');

    # four calls are enough for it
    $u{ollama}->on('/', { openai => { content => 'local' }, hold => 'busy' });
    my @busy = map {
        my $c = http($n);
        [ $c, $c->start(POST => '/v1/chat/completions',
                        json => { model => 'gpt-5', messages => [] }) ];
    } 1 .. 4;
    ok($u{ollama}->wait_held(4), 'it is busy');
    is(ask(@chat)->text, 'cloud', 'the fifth call goes on');
    like($u{openai}->last_request->{body}, qr/"gpt-5-mini"/, 'by that name');
    $u{ollama}->release('busy');
    ok($_->[1]->read_until_end(5), 'the others are answered') for @busy;
    $u{ollama}->on('/', { openai => { content => 'local' } });

    is(ask($n, '/local/v1/chat/completions')->text, 'local', 'private');
    is($u{ollama}->last_request->{uri}, '/v1/chat/completions', 'its path');

    $u{ollama}->refuse;
    $u{ollama}->drop;
    my $sent = $u{openai}->count;
    $r = ask($n, '/local/v1/chat/completions');
    is($r->status, 503, 'it is not there');
    like($r->body, qr/the local model is busy/, 'so it is said');
    is(ask(@chat, 'X-Resilience-Fallback' => 'off')->status, 502, 'declined');
    is($u{openai}->count, $sent, 'nothing leaves the machine');
    is(ask(@chat)->text, 'cloud', 'unless it may');
}

sub gateway {
    my ($n, %u) = running($_[0]);
    $u{openai}->on('/', { status => 503, times => 3 });
    $u{openrouter}->on('/', { openai => { content => 'cluster' } });
    is(ask($n, '/v1/chat/completions')->text, 'cluster',
        'kubernetes.yaml: a fallback');
    is(http($n->port(2))->get('/status?limit=1')->status, 200, 'ready');
    is(http($n)->get('/status')->status, 404, 'not for clients');
    ok($n->wait_access_log(qr/ 200 success "openai:overloaded/), 'logged');
    $n->stop;
    ok(-s $n->prefix . '/lib/breakers', 'the state is kept');
}


# Its manifests are what a cluster would take, as far as they can be looked at
# here, and a pod has the time to end that its nginx may take.

sub kubernetes {
    eval { require YAML::PP; 1 } or return fail("no YAML::PP: $@");
    # 1.1, as clusters read it: 0440 is octal
    my %kind = map { $_->{kind} => $_ }
               YAML::PP->new(schema => [ 'YAML1_1' ])
                   ->load_file("$root/examples/kubernetes.yaml");
    is(join(' ', sort keys %kind), 'ConfigMap Deployment Service',
        'kubernetes.yaml: kinds');

    my $pod = $kind{Deployment}{spec}{template}{spec};
    my ($nginx) = @{ $pod->{containers} };
    my $conf = $kind{ConfigMap}{data}{'nginx.conf'};
    my $labels = $kind{Deployment}{spec}{template}{metadata}{labels};

    is_deeply($kind{Service}{spec}{selector}, $labels, 'the Service finds it');
    is_deeply($kind{Deployment}{spec}{selector}{matchLabels}, $labels,
        'so does the Deployment');

    my %port = map { $_->{name} => $_->{containerPort} } @{ $nginx->{ports} };
    like($conf, qr/listen $port{$_};/, "nginx listens on $_") for keys %port;
    is($kind{Service}{spec}{ports}[0]{targetPort}, 'http', 'the port');
    my $probe = $nginx->{readinessProbe}{httpGet};
    is($probe->{port}, 'status', 'readiness');
    like($conf, qr/location = \Q@{[ $probe->{path} =~ s{\?.*}{}r ]}\E +\{/,
        'is the status');

    my ($cut) = $conf =~ /^worker_shutdown_timeout (\d+)s;/m;
    my ($command, $sleep) = @{ $nginx->{lifecycle}{preStop}{exec}{command} };
    is($command, 'sleep', 'preStop');
    cmp_ok($pod->{terminationGracePeriodSeconds}, '>', $cut + $sleep,
        'time to end');

    my %volume = map { $_->{name} => $_ } @{ $pod->{volumes} };
    my %mount = map { $_->{mountPath} => $_->{name} }
                @{ $nginx->{volumeMounts} };
    ok($volume{$_}, "$_ is a volume") for values %mount;
    is($volume{ $mount{'/etc/nginx/keys'} }{secret}{defaultMode}, 0440,
        'keys are not for everyone');
    like($conf, qr{^ *llm_key_file +/etc/nginx/keys/openai;$}m, 'and files');
    is($volume{ $mount{'/etc/nginx/nginx.conf'} }{configMap}{name},
        $kind{ConfigMap}{metadata}{name}, 'nginx.conf');
    is($mount{$_}, 'state', "$_ can be written")
        for map { m{^(.*)/} } $conf =~ /(?:^pid |state=)([^;]*);/mg;
    return $conf;
}

# There may be no docker here: what it copies is there, and what it runs.

sub dockerfile {
    my $text = slurp("$root/examples/Dockerfile");
    $text =~ s/^\s*#.*\n//mg;
    $text =~ s/\\\n\s*/ /g;
    my %known = map { $_ => 1 } qw(FROM WORKDIR COPY RUN USER EXPOSE STOPSIGNAL
                                   CMD);
    my ($install) = slurp("$root/scripts/install")
        =~ /^package_of\(\) \{(.*?)^\}/ms;
    my (%stage, %copied, @user);

    for my $line (grep { /\S/ } split /\n/, $text) {
        my ($word, $rest) = $line =~ /^([A-Z]+) (\S.*)$/
            or return fail("Dockerfile: $line");
        $known{$word} or fail("Dockerfile: $word");

        if ($word eq 'FROM') {
            $rest =~ /^debian:bookworm-slim(?: AS (\w+))?$/
                or fail("Dockerfile: $rest");
            $stage{$1} = 1 if $1;
        }
        elsif ($word eq 'COPY') {
            my @paths = split ' ', $rest;
            pop @paths;
            for my $path (@paths) {
                ok(-e "$root/$path", "Dockerfile: $path is there");
                $copied{$path} = 1;
            }
        }
        elsif ($word eq 'RUN' && $rest =~ m{^(scripts/\S+)(.*)}) {
            my ($script, $args) = ($1, $2);
            ok($copied{$script}, "Dockerfile: $script was copied");
            next if $script ne 'scripts/install';
            like($install, qr/^ *\Q$_\E\) +echo /m, "$_ can be installed")
                for split ' ', $args;
        }
        elsif ($word eq 'RUN') {
            like($rest, qr/from=(\w+),source=\/out/, 'from the first stage');
            like($rest, qr/apt-get install -y \/out\/[\w-]+_\*\.deb/,
                'the package is installed');
            my ($file) = $rest =~ m{/out/([\w-]+)_};
            like(slurp("$root/debian/control"), qr/^Package: \Q$file\E$/m,
                'it is ours');
        }
        elsif ($word eq 'USER') {
            like($rest, qr/^[1-9]\d*:[1-9]\d*$/, 'not root');
        }
        elsif ($word eq 'CMD') {
            ok(eval { JSON::PP::decode_json($rest) }, 'a list in JSON');
        }
    }
    like($text, qr/^STOPSIGNAL SIGQUIT$/m, 'a graceful end');
    unlike($text, qr/^(?:COPY|ADD) .*(?:\.env|keys|\.git)\b/m, 'no secrets');

    # what the package is built of is there
    my ($list) = slurp("$root/scripts/build-deb") =~ /"\$root"\/\{(.*?)\}/;
    ok($copied{$_}, "Dockerfile: $_ was copied") for split /,/, $list;
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}
