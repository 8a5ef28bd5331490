#!/usr/bin/env perl

# Tests for the examples, those of the README and of the documentation among
# them: nginx accepts each without a warning.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

my $root = "$FindBin::Bin/..";

umask 027;                      # key files are not for everyone

for my $path (sort glob "$root/examples/*.conf") {
    my ($name) = $path =~ m{([^/]+)$};
    accepted(slurp($path), $name);
}

my ($readme) = slurp("$root/README.md") =~ /^```nginx\n(.*?)^```$/ms;
accepted($readme, 'README.md');

documented(slurp("$root/docs/directives.md"));

done_testing();


# What is outside of http {} is written by Resilience::Nginx. No name is looked
# up, and no file is read, that may not be there.

sub accepted {
    my ($text, $name) = @_;

    $text =~ /^load_module modules\/ngx_http_resilience_module\.so;$/m
        or return fail("$name: no load_module");
    $text =~ /^http \{\n(.*)^\}\n\z/ms
        or return fail("$name: no http");
    $text = $1;

    $text =~ s/(resilience_provider \S+ *\{)([^}]*)/$1 . endpoint($2) . $2/ge;
    $text =~ s{https://[\w.]+\.[a-z]+}{https://127.0.0.1}g;
    $text = movable($text);
    $text =~ s{ http2;}{; http2 on;}g if Resilience::Nginx->version
        =~ m{nginx/1\.(\d+)\.(\d+)} && ($1 > 25 || $1 == 25 && $2);

    config_ok($text, undef, $name, files => {
        map { $_ => "key\n" } qw(keys/openai keys/openrouter) });
}

# no path of the system's is touched
sub movable {
    my ($text) = @_;
    $text =~ s{/(?:etc|var/log)/nginx/}{%%PREFIX%%/}g;
    $text =~ s{/var/cache/nginx/}{%%PREFIX%%/}g;
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
        $place = $+{chapter} =~ /Inside of a (\w+)/ ? $1 : 'http'
            if defined $+{chapter};
        $place = $+{context} if defined $+{context};

        next unless defined $+{example};
        config_ok(placed($place, $+{example}), undef, "docs: $name",
                  files => { 'busy.json' => '{}', map { $_ => "key\n" }
                      qw(keys/openai keys/openrouter keys/anthropic
                         keys/azure) });
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

    if ($place eq 'policy') {
        $http = "resilience_policy test { $example }";
    }
    elsif ($place eq 'chain') {
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

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}
