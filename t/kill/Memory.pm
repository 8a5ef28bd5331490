package Memory;

# The shared zone as seen from outside: what a worker that dies in the middle
# of something leaves behind can be written there.
#
# Found by what it must look like: the zone's mapping by its size, the module's
# part by the pointers that nginx keeps at the end of the slab pool's head, and
# the table by its capacity.

use strict;
use warnings;
no warnings 'portable';

# of a process, a zone's size and the capacity that the status tells; undef if
# its memory may not be written
sub new {
    my ($class, $pid, $size, $capacity) = @_;

    open my $maps, '<', "/proc/$pid/maps" or return;
    my ($base) = map { /^(\w+)-(\w+) rw-s /
                       && hex($2) - hex($1) == $size ? hex $1 : () } <$maps>;
    return unless $base;
    open my $fh, '+<:raw', "/proc/$pid/mem" or return;

    my $self = bless { fh => $fh, base => $base, size => $size }, $class;
    my @pool = map { $self->word($base + 8 * $_) } 0 .. 63;
    my ($data) = grep { $pool[$_ + 1] == $base && $pool[$_] > $base
                        && $pool[$_] < $base + $size } 0 .. 62;
    my $shared = $self->{shared} = $pool[$data];

    for my $at (map { $shared + 8 * $_ } 0 .. 511) {
        my $to = $self->word($at);
        next if $to < $base || $to >= $base + $size - 4;
        if ($self->half($to) == $capacity) {
            $self->{table} = $to;
            return $self;
        }
    }
    return;
}

sub get {
    my ($self, $at, $bytes) = @_;
    sysseek $self->{fh}, $at, 0 or die "seek: $!";
    sysread($self->{fh}, my $data, $bytes) == $bytes or die "read: $!";
    return $data;
}

sub put {
    my ($self, $at, $data) = @_;
    sysseek $self->{fh}, $at, 0 or die "seek: $!";
    syswrite($self->{fh}, $data) == length $data or die "write: $!";
}

sub word { unpack 'Q', $_[0]->get($_[1], 8) }
sub half { unpack 'L', $_[0]->get($_[1], 4) }

# who holds the lock, the first word of all; with a pid: he does
sub lock {
    my ($self, $pid) = @_;
    $self->put($self->{base}, pack 'Q', $pid) if defined $pid;
    return $self->word($self->{base});
}

# writes a provider's count of attempts in flight, which stands behind its name,
# the name's length and its number, if it has that value; returns how many did
sub provider {
    my ($self, $name, $value, $new) = @_;
    for my $at (map { $self->{shared} + 8 * $_ } 0 .. 511) {
        my $to = $self->word($at);
        next if $to < $self->{base}
            || $to >= $self->{base} + $self->{size} - 1024;
        my $text = $self->get($to, 64);
        next if $text ne $name . "\0" x (64 - length $name);
        my @at = grep { $self->word($_) == $value }
                 map { $to + 64 + 8 * $_ } 0 .. 2;
        $self->put($_, pack 'Q', $new) for @at;
        return scalar @at;
    }
    return 0;
}

# members of res_table_t
my %at = (used => 4, busy => 20, rebuilt => 24, head0 => 48, head1 => 52,
          tail0 => 56, tail1 => 60);

sub table {
    my ($self, $member, $value) = @_;
    my $at = $self->{table} + $at{$member};
    $self->put($at, pack 'L', $value) if defined $value;
    return $self->half($at);
}

1;
