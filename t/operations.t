#!/usr/bin/env perl

# Tests for docs/operations.md: whatever the module can log at warn or above is
# explained there, and nothing is that it cannot log.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";

# mistakes of the configuration: nginx -t has them with file and line
my %exempt = map { $_ => 1 } (
    'unknown chain or provider "%V" in "resilience_pass" in %s:%ui',
    'unknown provider "%V" in chain "%V" in %s:%ui',
    'unknown policy "%V" in %s:%ui',
    '"llm_key" of provider "%V" in %s:%ui is too long or has a character that '
        . 'no header may have',
);

my %macro = (ngx_open_file_n => 'open()', ngx_read_fd_n => 'read()',
             ngx_close_file_n => 'close()', ngx_delete_file_n => 'unlink()');

# { level, format, place } of each call
my @logged;
for my $path (sort glob "$root/src/*.c") {
    my $text = slurp($path);
    my ($file) = $path =~ m{([^/]+)$};

    while ($text =~ /\b(ngx_(?:conf_)?log_error)\( ( (?: [^()"] | "(?:\\.|[^"\\])*"
                     | (\( (?: [^()"] | "(?:\\.|[^"\\])*" | (?3) )* \)) )* ) \);/gx)
    {
        my ($function, $args) = ($1, $2);
        my ($level) = $args =~ /^\s*(?:NGX_LOG_)?(\w+)/;
        my $format = '';
        $format .= defined $1 ? $1 : $macro{$2}
            while $args =~ /"((?:\\.|[^"\\])*)"|\b(ngx_\w+_n)\b/g;
        $format =~ s/\\(.)/$1/g;
        push @logged, { level => lc $level, format => $format,
                        place => $file, conf => scalar $function =~ /conf/ };
    }
}
cmp_ok(scalar @logged, '>', 100, 'calls were found');
is(join(' ', map { $_->{place} } grep { $_->{format} eq '' } @logged), '',
    'each with what it says');

my $calls = 0;
$calls += () = slurp($_) =~ /\bngx_(?:conf_)?log_error\(/g
    for glob "$root/src/*.c";
is(scalar @logged, $calls, 'all of them');

# what is no more than a notice is none of this; "level" is chosen by a caller
my @wanted = grep {
    !$exempt{ $_->{format} } && ($_->{conf} ? $_->{level} eq 'warn'
        : $_->{level} =~ /^(?:warn|err|crit|alert|emerg|level)$/)
} @logged;

my ($table) = slurp("$root/docs/operations.md")
    =~ /^## From a log line.*?\n(\| level .*?)\n\n/ms;
my @rows = map { /^\| `(\w+)` \| `([^`]+)` \|/ ? { level => $1, message => $2 }
                                               : () } split /\n/, $table // '';
cmp_ok(scalar @rows, '>', 10, 'messages are explained');

my %used;
for my $call (@wanted) {
    my $regex = join '.+', map { quotemeta }
        split /%(?:V|\*?s|P|M|u?[iDLzd])/, $call->{format}, -1;
    my $level = { err => 'error', level => '(?:error|warn)' }->{ $call->{level} }
        // $call->{level};
    my @found = grep { $_->{message} =~ /^$regex$/ } @rows;
    ok((grep { $_->{level} =~ /^$level$/ } @found),
        "$call->{place}: $call->{format}")
        or diag('level ' . $level, map { ", it is said to be $_->{level}" }
                                   @found);
    $used{ $_->{message} } = 1 for @found;
}

is(join("\n", grep { !$used{$_} } map { $_->{message} } @rows), '',
    'nothing is explained that is never said');

done_testing();

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}
