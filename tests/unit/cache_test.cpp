// Objects on disk: found again by the very key, by nothing else, and never half-written.
#include "codegen/cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "codegen/clang.h"

namespace shardc::codegen {
namespace {

namespace fs = std::filesystem;

class Cache : public ::testing::Test {
 protected:
  Cache() : folder_(fs::temp_directory_path() / ("shardc-cache-" + std::to_string(getpid()))) {}
  ~Cache() override { fs::remove_all(folder_); }

  ObjectCache cache(std::uint64_t most_bytes = 1 << 20) const {
    return ObjectCache(folder_ / "deep", most_bytes);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(folder_ / "deep")) all.push_back(entry.path());
    return all;
  }

  fs::path folder_;
};

TEST_F(Cache, FindsWhatWasKept) {
  const std::string object(
      "\x7f"
      "ELF\0 \n",
      7);
  EXPECT_EQ(cache().find("key"), std::nullopt);
  cache().keep("key", object);
  cache().keep("", "of the empty key");
  EXPECT_EQ(cache().find("key"), object);
  EXPECT_EQ(cache().find(""), "of the empty key");
  EXPECT_EQ(cache().find("other"), std::nullopt);
  cache().keep("key", "newer");
  EXPECT_EQ(cache().find("key"), "newer");
  EXPECT_EQ(files().size(), 2U);
}

// Whatever happens to a file, what comes out is what went in, or nothing.
TEST_F(Cache, DamagedFilesHoldNothing) {
  cache().keep("key", std::string(100, 'x'));
  const fs::path path = files().at(0);
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    std::ofstream(path, std::ios::binary) << damaged;
    EXPECT_EQ(cache().find("key"), std::nullopt) << i;
    std::ofstream(path, std::ios::binary) << bytes.substr(0, i);
    EXPECT_EQ(cache().find("key"), std::nullopt) << i;
  }
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(cache().find("key"), std::string(100, 'x'));
}

// Two keys of one hash: the file says whose it is.
TEST_F(Cache, AnEntryOfAnotherKeyIsNotTaken) {
  cache().keep("one", "1");
  const fs::path path = files().at(0);
  cache().keep("two", "2");
  for (const fs::path& other : files())
    if (other != path) fs::rename(other, path);
  EXPECT_EQ(cache().find("one"), std::nullopt);
}

TEST_F(Cache, MayBeSharedByThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const std::string key = "key " + std::to_string(i % 5);
        cache().keep(key, std::string(10'000, static_cast<char>('a' + i % 5)));
        const auto found = cache().find(key);
        EXPECT_EQ(found, std::string(10'000, static_cast<char>('a' + i % 5)));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(files().size(), 5U);
}

TEST_F(Cache, ForgetsWhatIsOldest) {
  const ObjectCache small = cache(3'000);
  for (int i = 0; i < 6; ++i) {
    small.keep("key " + std::to_string(i), std::string(900, 'x'));
    for (const fs::path& path : files())
      fs::last_write_time(path, fs::last_write_time(path) - std::chrono::seconds(10));
  }
  EXPECT_EQ(small.find("key 0"), std::nullopt);
  EXPECT_NE(small.find("key 5"), std::nullopt);
  EXPECT_LE(files().size(), 3U);
}

TEST_F(Cache, ThatCannotBeWrittenHoldsNothing) {
  std::ofstream(folder_.string()) << "a file, not a folder";
  cache().keep("key", "object");
  EXPECT_EQ(cache().find("key"), std::nullopt);
  fs::remove(folder_);
  ObjectCache().keep("key", "object");
  EXPECT_EQ(ObjectCache().find("key"), std::nullopt);
}

TEST(CompilationKey, HoldsAllThatMatters) {
  const std::string key = compilation_key("int x;", "a.cpp", {});
  EXPECT_EQ(key, compilation_key("int x;", "a.cpp", {}));
  EXPECT_NE(key, compilation_key("int y;", "a.cpp", {}));
  EXPECT_NE(key, compilation_key("int x;", "a.cpp", {.march = "x86-64"}));
  EXPECT_NE(key, compilation_key("int x;", "a.cpp", {.opt_level = 1}));
  EXPECT_NE(key.find(runtime_header()), std::string::npos);
}

}  // namespace
}  // namespace shardc::codegen
