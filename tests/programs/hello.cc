// Dynamically linked C++: libstdc++ (iostream), libgcc_s (unwinding), a thread.
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

int main() {
  std::string word;
  std::thread thread([&word] {
    try {
      throw std::runtime_error("c++");
    } catch (const std::exception &error) {
      word = error.what();
    }
  });
  thread.join();
  std::cout << "hello from " << word << std::endl;
  return 0;
}
