// A service in C++: answers GET /sum/TEXT with the SHA-256 of TEXT and the length of TEXT deflated; `service --probe` asks it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

static const int PORT = 8080;

static std::string digest(const std::string &text) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_Digest(text.data(), text.size(), sum, &length, EVP_sha256(), nullptr) != 1) throw std::runtime_error("digest");
    std::ostringstream out;
    for (unsigned int i = 0; i < length; i++) out << std::hex << std::setw(2) << std::setfill('0') << int(sum[i]);
    return out.str();
}

static size_t deflated(const std::string &text) {
    uLongf length = compressBound(text.size());
    std::vector<Bytef> out(length);
    if (compress2(out.data(), &length, reinterpret_cast<const Bytef *>(text.data()), text.size(), 9) != Z_OK)
        throw std::runtime_error("deflate");
    return length;
}

static std::string answer(const std::string &path) {
    std::map<std::string, std::string> pages = {{"/", "a service in C++\n"}};
    if (auto page = pages.find(path); page != pages.end()) return page->second;
    if (path.rfind("/sum/", 0) != 0) throw std::out_of_range(path);
    std::string text = path.substr(5);
    return digest(text) + " " + std::to_string(deflated(text)) + "\n";
}

static int connected(bool listening) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(PORT);
    at.sin_addr.s_addr = htonl(listening ? INADDR_ANY : INADDR_LOOPBACK);
    auto *address = reinterpret_cast<sockaddr *>(&at);
    int done = listening ? bind(fd, address, sizeof at) || listen(fd, 16) : connect(fd, address, sizeof at);
    if (done != 0) throw std::runtime_error("no socket");
    return fd;
}

static int probe() {
    int fd = connected(false);
    std::string request = "GET /sum/probe HTTP/1.0\r\n\r\n", reply;
    if (write(fd, request.data(), request.size()) < 0) return 1;
    char part[4096];
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) reply.append(part, n);
    std::cout << reply.substr(reply.find("\r\n\r\n") + 4);
    return reply.rfind("HTTP/1.0 200", 0) == 0 ? 0 : 1;
}

int main(int argc, char **argv) try {
    if (argc > 1 && std::string(argv[1]) == "--probe") return probe();
    signal(SIGTERM, [](int) { _exit(0); });
    signal(SIGPIPE, SIG_IGN);
    int listener = connected(true);
    for (;;) {
        int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        char request[4096] = {};
        if (fd < 0 || read(fd, request, sizeof request - 1) <= 0) {
            close(fd);
            continue;
        }
        std::istringstream words(request);
        std::string method, path, status = "200 OK", body;
        words >> method >> path;
        try {
            body = answer(path);
        } catch (const std::exception &error) {
            status = "404 Not Found";
            body = std::string("nothing at ") + error.what() + "\n";
        }
        std::string reply = "HTTP/1.0 " + status + "\r\nContent-Type: text/plain\r\n\r\n" + body;
        if (write(fd, reply.data(), reply.size()) < 0) std::cerr << "a client has gone\n";
        close(fd);
    }
} catch (const std::exception &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
