// exceptions and iostreams: libstdc++ and libgcc_s
#include <iostream>
#include <stdexcept>

int main() {
    try {
        throw std::runtime_error("hello c++");
    } catch (const std::exception &error) {
        std::cout << error.what() << '\n';
    }
}
