package Resilience::Metrics;

use strict;
use warnings;

use Carp qw(croak);
use FindBin;
use IPC::Open3 qw(open3);
use Symbol qw(gensym);

use Resilience::Http;

my $root = "$FindBin::Bin/..";

# scrape($nginx, $path): the values of a page, by what stands before them
sub scrape {
    my ($class, $port, $path) = @_;
    my $r = Resilience::Http->new($port)->get($path // '/metrics');
    $r->status == 200 or croak 'no metrics: ' . $r->status;
    return $class->parse($r->body, $r);
}

sub parse {
    my ($class, $text, $answer) = @_;
    my $self = bless { text => $text, answer => $answer, value => {},
                       samples => [], bad => [], help => {}, type => {} },
                     $class;
    my $string = qr/"(?:[^"\\\n]|\\[\\"n])*"/;

    $text =~ /\n\z/ or push @{ $self->{bad} }, 'no end of the last line';

    for (split /\n/, $text) {
        if (/^# HELP (\w+) (\S.*)$/) {
            push @{ $self->{bad} }, $_ if $self->{help}{$1};
            $self->{help}{$1} = $2;
        }
        elsif (/^# TYPE (\w+) (counter|gauge|histogram)$/) {
            push @{ $self->{bad} }, $_
                if $self->{type}{$1} || !$self->{help}{$1};
            $self->{type}{$1} = $2;
        }
        elsif (/^(\w+)((?:\{\w+=$string(?:,\w+=$string)*\})?) (\d+(?:\.\d+)?)$/)
        {
            my ($name, $labels, $value) = ($1, $2, $3);
            my $family = $name =~ s/_(?:bucket|sum|count)$//r;
            push @{ $self->{bad} }, $_
                if exists $self->{value}{"$name$labels"}
                   || !($self->{type}{$name}
                        || ($self->{type}{$family} // '') eq 'histogram');
            $self->{value}{"$name$labels"} = $value;
            push @{ $self->{samples} },
                 [ $name, { labels($labels) }, $value ];
        }
        else {
            push @{ $self->{bad} }, $_;
        }
    }
    return $self;
}

sub labels {
    my ($text) = @_;
    my %label;
    while ($text =~ /(\w+)="((?:[^"\\]|\\.)*)"/g) {
        my ($name, $value) = ($1, $2);
        $value =~ s/\\(.)/$1 eq 'n' ? "\n" : $1/ge;
        $label{$name} = $value;
    }
    return %label;
}

sub bad    { @{ $_[0]{bad} } }                  # lines that are none
sub text   { $_[0]{text} }
sub answer { $_[0]{answer} }
sub names  { sort keys %{ $_[0]{help} } }       # of families
sub type   { $_[0]{type}{ $_[1] } }

# those samples of a name that have these labels: [ name, labels, value ]
sub samples {
    my ($self, $name, %want) = @_;
    return grep {
        my $label = $_->[1];
        $_->[0] eq $name
            && !grep { ($label->{$_} // '') ne $want{$_} } keys %want
    } @{ $self->{samples} };
}

# their sum; undef if there is none
sub sum {
    my ($self, $name, %want) = @_;
    my $sum;
    $sum += $_->[2] for $self->samples($name, %want);
    return $sum;
}

# { value of a label => sum }, those that are not 0
sub by {
    my ($self, $label, $name, %want) = @_;
    my %by;
    $by{ $_->[1]{$label} } += $_->[2] for $self->samples($name, %want);
    delete @by{ grep { !$by{$_} } keys %by };
    return \%by;
}

# promtool(args, input): (exit status, what it said)
sub promtool {
    my ($input, @args) = @_;
    my ($tool) = grep { -x } "$root/build/promtool",
        map { "$_/promtool" } split /:/, $ENV{PATH};
    croak 'no promtool, run scripts/install test' if !$tool;

    local $SIG{PIPE} = 'IGNORE';
    my $pid = open3(my $in, my $out, undef, $tool, @args);
    print {$in} $input if defined $input;
    close $in;
    my $said = do { local $/; <$out> };
    waitpid $pid, 0;
    return ($?, $said // '');
}

1;

__END__

=head1 NAME

Resilience::Metrics - what a location with "resilience_status prometheus" says

=head1 SYNOPSIS

    my $m = Resilience::Metrics->scrape($nginx, '/metrics');
    is($m->sum('resilience_calls_total', chain => 'c'), 3, 'calls');
    is_deeply($m->by(class => 'resilience_attempts_total'), { success => 3 });
    my ($status, $said) = Resilience::Metrics::promtool($m->text,
                                                        'check', 'metrics');

=cut
