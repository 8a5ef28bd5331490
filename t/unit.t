# Runs the unit tests of src/engine and src/llm, which "make unit" has built.

use FindBin;
use lib "$FindBin::Bin/lib";
use Resilience::Test;

use File::Basename qw(basename);

my $dir = $ENV{TEST_UNIT_DIR} // "$FindBin::Bin/../build/unit";
my @programs = grep { -f && -x } glob "$dir/*";
my %source = map { basename($_, '.c') => 1 } glob "$FindBin::Bin/unit/*.c";

# what is left of a test that is gone does not count
@programs = grep { $source{ basename $_ } } @programs;
ok(scalar @programs, 'there are unit tests') || diag("none in $dir");
my %built = map { basename($_) => 1 } @programs;
ok($built{$_}, "$_ is built") for grep { !$built{$_} } sort keys %source;

$ENV{ASAN_OPTIONS} //= 'detect_leaks=1:detect_stack_use_after_return=1';
$ENV{UBSAN_OPTIONS} //= 'halt_on_error=1:print_stacktrace=1';

for my $program (@programs) {
    subtest basename($program) => sub { run($program) };
}
done_testing;


sub run {
    my ($program) = @_;
    my $pid = open my $out, '-|', $program or die "$program: $!";
    my ($plan, $last, $bail, $timeout, $failed) = (undef, 0);

    local $SIG{ALRM} = sub {
        $timeout = 1;
        kill 'KILL', $pid;
    };
    alarm 120 * factor();
    while (defined(my $line = <$out>)) {
        chomp $line;
        if ($line =~ /^(not )?ok\b(?: +(\d+))?(?: +-)? *(.*)/) {
            $last++;
            my ($not, $n, $name) = ($1, $2, $3);
            my $skip = $name =~ s/ *# *skip\b *(.*)//i ? $1 : undef;
            if (defined $skip) { pass("$name (skipped: $skip)") }
            else               { ok(!$not, $name) }
            $failed = $not;
            is($n, $last, 'number of the test') if defined $n && $n != $last;
        }
        elsif ($line =~ /^1\.\.(\d+)/)       { $plan = $1 }
        elsif ($line =~ /^Bail out!\s*(.*)/) { $bail = $1 }
        # what follows a failure explains it
        elsif ($failed)                       { diag($line =~ s/^# ?//r) }
        else                                  { note($line =~ s/^# ?//r) }
    }
    close $out;
    my $status = $?;
    alarm 0;

    fail("bailed out: $bail") if defined $bail;
    fail('took too long') if $timeout;
    is($status, 0, 'exit status');
    is($plan, $last, 'as many tests as planned');
}
