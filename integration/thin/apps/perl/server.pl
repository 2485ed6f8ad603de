#!/usr/bin/perl
# A little HTTP server that runs CGI programs (RFC 3875). `server.pl --probe` asks it.
use strict;
use warnings;
use IO::Socket::INET;

my $PORT = 8080;

if (@ARGV && $ARGV[0] eq '--probe') {
    my $peer = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$PORT") or exit 1;
    print $peer "GET /cgi-bin/sum?text=probe HTTP/1.0\r\n\r\n";
    my $reply = join '', <$peer>;
    $reply =~ s/^.*?\r?\n\r?\n//s;
    print $reply;
    exit($reply =~ /^[0-9a-f]{64}/ ? 0 : 1);
}

$SIG{TERM} = sub { exit 0 };
$SIG{CHLD} = 'DEFAULT';
my $listener = IO::Socket::INET->new(LocalPort => $PORT, Listen => 16, ReuseAddr => 1) or die "listen: $!";
while (my $client = $listener->accept) {
    my ($method, $target) = split ' ', (<$client> // '');
    while (defined(my $line = <$client>)) { last if $line =~ /^\r?$/ }
    my ($path, $query) = split /\?/, ($target // ''), 2;
    if (defined $path && $path =~ m{^/cgi-bin/([a-z]+)$} && -x "/srv/cgi-bin/$1") {
        local %ENV = (PATH => $ENV{PATH}, QUERY_STRING => $query // '', REQUEST_METHOD => $method, GATEWAY_INTERFACE => 'CGI/1.1');
        my $body = qx{/srv/cgi-bin/$1};
        print $client $? ? "HTTP/1.0 500 Internal Server Error\r\n\r\n" : "HTTP/1.0 200 OK\r\n", $body;
    } else {
        print $client "HTTP/1.0 404 Not Found\r\n\r\nnothing here\n";
    }
    close $client;
}
