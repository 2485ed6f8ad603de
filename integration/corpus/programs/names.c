// users and hosts as NSS gives them: its modules are opened by name, from what nsswitch.conf says
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>

int main(void) {
    struct passwd *user = getpwuid(1);
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    char host[64];
    if (!user || getaddrinfo("localhost", "https", &hints, &found))
        return 1;
    if (getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST))
        return 2;
    struct servent *service = getservbyname("https", "tcp");
    printf("%s %s %s\n", user->pw_name, host, service ? service->s_name : "none");
    return 0;
}
