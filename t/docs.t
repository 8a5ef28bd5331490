#!/usr/bin/env perl

# Tests for docs/directives.md: each directive, parameter and variable that the
# sources know is there with its syntax, default, context and an example, and
# no other; each link of the documentation leads somewhere.

use strict;
use warnings;

use File::Basename qw(dirname);
use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";
my $docs = slurp("$root/docs/directives.md");

# a directive of its own in the command table, those of policies and chains in
# tables of handlers
my %known;
for my $path (glob "$root/src/*.c") {
    my $text = slurp($path);
    $known{$1} = 1
        while $text =~ /\{ ngx_string\("((?:resilience|llm)_\w+)"\),\n\s*NGX_/g;
    next unless $path =~ /_(?:policy|chain)\.c$/;
    $known{$1} = 1
        while $text =~ /\{ ngx_string\("(\w+)"\),\s*ngx_http_resilience_\w+,/g;
}
cmp_ok(scalar keys %known, '>', 30, 'directives in the sources');

my %section;
for my $text (split /^(?=##+ )/m, $docs) {
    my ($title) = $text =~ /^###? ([a-z_, ]+)\n/ or next;
    next unless $text =~ /^\| Syntax:/m;
    $section{$_} = $text for split /, /, $title;
}
is(join(' ', grep { !$section{$_} } sort keys %known), '', 'all are documented');
is(join(' ', grep { !$known{$_} } sort keys %section), '', 'and no other');

for my $name (sort keys %section) {
    my $text = $section{$name};
    like($text, qr/^\| Syntax: \|.*`\Q$name\E\b/m, "$name: syntax");
    like($text, qr/^\| Default: \| ./m, "$name: default");
    like($text, qr/^\| Context: \| ./m, "$name: context");
    like($text, qr/^```nginx\n[^`]*\b\Q$name\E\b/m, "$name: an example");
}

my $variables = slurp("$root/src/ngx_http_resilience_variables.c");
my %variable = map { $_ => 1 }
    $variables =~ /ngx_string\("((?:resilience|llm)_\w+)"\)/g;
cmp_ok(scalar keys %variable, '>', 10, 'variables in the sources');
is(join(' ', grep { $docs !~ /^\| `\$$_` \|/m } sort keys %variable), '',
    'all are documented');
is(join(' ', grep { !$variable{$_} } $docs =~ /^\| `\$(\w+)` \|/mg), '',
    'and no other');

# links within the documentation
my %anchors;
for my $path ("$root/README.md", glob "$root/docs/*.md") {
    my $text = slurp($path) =~ s/^```.*?^```//gmsr;
    my ($name) = $path =~ m{([^/]+)$};
    my @broken;

    while ($text =~ /\]\(([^)\s]+)\)/g) {
        my $link = $1;
        next if $link =~ m{^https?:};
        my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
        my $to = $file eq '' ? $path : dirname($path) . "/$file";
        push @broken, $link if !-e $to
            || defined $anchor && !anchors($to)->{$anchor};
    }
    is(join(' ', @broken), '', "$name: links");
}

done_testing();

# as GitHub makes them of titles
sub anchors {
    my ($path) = @_;
    return $anchors{$path} //= { map {
        my $title = lc;
        $title =~ s/[^\w\- ]//g;
        $title =~ tr/ /-/;
        ($title => 1);
    } slurp($path) =~ /^#+ (.*)$/mg };
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}
