#!/usr/bin/env perl

# Tests for the Debian package: into a Debian with nothing but apt it installs
# with the nginx that it needs, examples/minimal.conf answers a request there
# through TLS, nginx runs the gateway of kubernetes.yaml as www-data, and after
# apt purge nothing of it is left. "make deb-test" builds the package and asks
# for this; it takes longer than a test may.

use strict;
use warnings;

use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";
my $deb = $ENV{TEST_DEB};

plan skip_all => 'TEST_DEB names no package: "make deb-test" does'
    unless $deb;
plan skip_all => 'only root can chroot' if $>;
-f $deb or BAIL_OUT("$deb is not there");

my $name = 'libnginx-mod-http-resilience';
my $base = "$root/build/deb-root/base";

# a system of its own, thrown away afterwards

system("$root/scripts/deb-root", $base) == 0
    or plan skip_all => 'the packages of a Debian could not be had';

my $dir = "$root/build/deb-root/test.$$";
system('cp', '-a', $base, $dir) == 0 or BAIL_OUT('cp failed');
END {
    if ($dir && -d $dir) {
        local $?;
        system('rm', '-rf', '--one-file-system', $dir);
    }
}

my ($said, $status);

# in it, with a network and processes of its own unless apt needs ours
sub run {
    my ($script, %opt) = @_;
    my @command = ('chroot', $dir, 'env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
        'DEBIAN_FRONTEND=noninteractive', 'LC_ALL=C', 'sh', '-ec', $script);
    unshift @command, qw(unshare --net --pid --fork --mount), "--mount-proc=$dir/proc"
        unless $opt{network};
    open my $out, '-|', @{[ 'sh', '-c', 'exec "$@" 2>&1 </dev/null', 'sh',
                            @command ]} or die $!;
    local $/;
    $said = <$out> // '';
    close $out;
    $status = $?;
    return $status == 0;
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}

sub spew {
    my ($path, $text) = @_;
    open my $fh, '>', "$dir/$path" or die "$path: $!";
    print {$fh} $text;
    close $fh;
}

sub works {
    my ($script, $what, %opt) = @_;
    return ok(run($script, %opt), $what) || diag($said);
}


ok(!run('command -v nginx'), 'a system without nginx');
system('cp', $deb, "$dir/tmp/package.deb") == 0 or BAIL_OUT('cp failed');
works('apt-get install -y /tmp/package.deb', 'apt install', network => 1)
    or BAIL_OUT('it cannot be installed');
run("dpkg-query -W -f '\${db:Status-Status} \${Depends}' $name");
like($said, qr/^installed .*\bnginx-abi-[\d.]+-\d+/, 'for this nginx and no other');
run('dpkg --verify ' . $name);
is($said, '', 'all of it is there');

# as Debian's own modules

works('nginx -t', 'nginx -t');
run('nginx -T');
like($said, qr{^load_module modules/ngx_http_resilience_module\.so;}m,
    'it is loaded');
run('readlink -e /etc/nginx/modules-enabled/50-mod-http-resilience.conf');
is($said, "/usr/share/nginx/modules-available/mod-http-resilience.conf\n",
    'by a link');
works("zcat /usr/share/man/man7/ngx_http_resilience_module.7.gz "
    . "| grep -q resilience_pass", 'a manual page');
# a container's dpkg may be told to leave out what is in /usr/share/doc
run("dpkg -L $name");
like($said, qr{^/usr/share/doc/$name/$_}m, $_)
    for qw(examples/minimal.conf directives.md copyright);

# examples/minimal.conf as it is, with an OpenAI of ours

spew('etc/hosts', "127.0.0.1 localhost api.openai.com openrouter.ai\n");
system('cp', "$root/examples/minimal.conf", "$dir/etc/nginx/") == 0 or die;
spew('etc/nginx/provider.conf', <<'END');
pid /run/provider.pid;
events {}
http {
    access_log /var/log/nginx/provider.log;
    server {
        listen 127.0.0.1:443 ssl;
        ssl_certificate /tmp/tls/cert;
        ssl_certificate_key /tmp/tls/key;
        default_type application/json;
        location / { return 200 '{"choices":[{"message":{"content":"$http_authorization"},"finish_reason":"stop"}]}'; }
    }
}
END

works(<<'END', 'minimal.conf and a provider of ours');
mkdir /etc/nginx/keys /tmp/tls
umask 027
echo key-one > /etc/nginx/keys/openai
echo key-two > /etc/nginx/keys/openrouter
chgrp -R www-data /etc/nginx/keys
chmod 750 /etc/nginx/keys
openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/tls/key -out /tmp/tls/cert \
    -days 2 -subj /CN=api.openai.com -addext subjectAltName=DNS:api.openai.com
cp -p /etc/ssl/certs/ca-certificates.crt /tmp/tls/before
nginx -t -c /etc/nginx/minimal.conf
END
unlike($said, qr/\[(?:warn|error|emerg)\]/, 'it has nothing to say');

my $ask = <<'END';
ip link set lo up
nginx -c /etc/nginx/provider.conf
nginx -c "$conf"
ask() {
    perl -MIO::Socket::INET -e '
        my $s = IO::Socket::INET->new("127.0.0.1:8080") or die "connect: $!";
        my $body = q({"model":"gpt-5","messages":[]});
        print $s "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n",
            "Content-Type: application/json\r\nConnection: close\r\n",
            "Content-Length: ", length $body, "\r\n\r\n$body";
        print <$s>'
}
END
run("conf=/etc/nginx/minimal.conf\n$ask\nask");
like($said, qr/^HTTP\/1\.1 502/m, 'a certificate that no one knows is refused');
works('cat /tmp/tls/cert >> /etc/ssl/certs/ca-certificates.crt', 'it is known');
run("conf=/etc/nginx/minimal.conf\n$ask\nask");
like($said, qr/^HTTP\/1\.1 200.*"Bearer key-one"/ms, 'a request through it')
    or diag($said);

# that of kubernetes.yaml, as in a container

SKIP: {
    eval { require YAML::PP; 1 } or skip 'no YAML::PP', 3;
    my ($map) = grep { $_->{kind} eq 'ConfigMap' }
        YAML::PP->new->load_file("$root/examples/kubernetes.yaml");
    my $conf = $map->{data}{'nginx.conf'};
    spew('etc/nginx/gateway.conf', $conf);
    # a container's standard output belongs to its user, too
    my $as = 'setpriv --reuid 33 --regid 33 --clear-groups';
    my $out = '/var/lib/nginx/out';
    works("chown -R www-data: /var/lib/nginx\n"
        . "install -o www-data -g www-data -m 600 /dev/null $out\n"
        . "$as nginx -e stderr -t -c /etc/nginx/gateway.conf >$out 2>&1 "
        . "|| { cat $out; exit 1; }; cat $out",
        'kubernetes.yaml as www-data');
    unlike($said, qr/\[(?:warn|error|emerg)\]/, 'it has nothing to say');
    (my $start = $ask) =~ s{nginx -c "\$conf"}
        {$as nginx -e stderr -g 'daemon off;' -c "\$conf" >$out 2>&1 &};
    run("conf=/etc/nginx/gateway.conf\n$start\n" . <<'END');
for i in $(seq 200); do ask 2>/dev/null && break; sleep 0.05; done
kill -QUIT $(cat /var/lib/nginx/nginx.pid)
wait
ls -l /var/lib/nginx/breakers
END
    like($said, qr/^HTTP\/1\.1 200.*"Bearer key-one".*-rw------- /ms,
        'a request through it, its state is for nobody else') or diag($said);
}

# nothing is left of it

works(<<'END', 'tidied up');
mv /tmp/tls/before /etc/ssl/certs/ca-certificates.crt
rm -rf /tmp/tls /tmp/package.deb /etc/nginx/keys /etc/nginx/*.conf.orig
rm /etc/nginx/minimal.conf /etc/nginx/gateway.conf /etc/nginx/provider.conf
END
works("apt-get purge -y $name", 'apt purge', network => 1);
run("find / -xdev -iname '*resilience*' ! -path '/proc/*'");
is($said, '', 'no file is left');
run("dpkg-query -W -f '\${db:Status-Status}' $name");
unlike($said, qr/^(?:installed|config-files)/, 'dpkg has forgotten it');
run('find /etc/nginx -xtype l');
is($said, '', 'no link leads nowhere');
works('nginx -t', 'nginx goes on without it');

done_testing();
